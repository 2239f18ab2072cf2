"""Tests tools/segment_folder.py with the model, with a server, and with fake segmenters.

The file is long because both modules are tested through one command.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock
from gradio_client.exceptions import AppError
from PIL import Image
from pycocotools.coco import COCO

import coco
from answer.formats import to_coco
from inference import SegmentationModel
from serving.scheduler import Busy, Scheduler, Visitor
from tests.conftest import ROOT
from tests.samples import CAT, make_detections
from tests.small_clips import moving_frames, write_clip
from tools import segment_folder as tool
from tools import segmenters
from tools.segment_folder import Outcome, main, photos_in, segment_folder
from tools.segmenters import PAUSES, PhotoError, Segmenter, Server, ServerError

SCENES = ROOT / "examples" / "scenes"
SETTINGS = {"model": "by hand", "score_threshold": 0.5}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Makes a folder with two drawn scenes, one of them in a subfolder, and a file that is no picture."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    shutil.copy(SCENES / "scene-1.png", folder / "b.png")
    shutil.copy(SCENES / "scene-2.png", folder / "more" / "a.png")
    (folder / "damaged.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def local(scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the local model run on the CPU, as the server's model does."""
    monkeypatch.setattr(tool, "load", lambda name: scenes_model)


def touched(folder: Path, names: Iterable[str]) -> list[str]:
    """Makes files with these names, for segmenters that do not read them. Returns the sorted names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a photo")
    return sorted(names)


class ByHand:
    """A segmenter that finds one cat in every photo, or raises the error in `faults` for the photo's name."""

    def __init__(self, folder: Path, faults: dict[str, BaseException] | None = None) -> None:
        self.folder, self.faults = folder, faults or {}
        self.seen: list[str] = []

    def __call__(self, photo: Path) -> tuple[dict[str, Any], Path | None]:
        self.seen.append(photo.name)
        if photo.name in self.faults:
            raise self.faults[photo.name]
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = self.folder / f"{photo.stem}-segmented.png"
        picture.write_bytes(photo.name.encode())
        return to_coco(make_detections([[1, 1, 9, 9]], class_ids=[CAT]), coco.CATEGORIES, photo.name), picture


def instances(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "instances.json").read_text())
    return found


def run(folder: Path, segment: Segmenter, settings: dict[str, Any] = SETTINGS) -> Outcome:
    return segment_folder(folder, photos_in(folder, folder / "out", True), folder / "out", segment, settings)


# --- With the model -----------------------------------------------------------------------------------------


def test_a_folder_becomes_one_coco_file_and_pictures(
    photos: Path, tmp_path: Path, local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(photos), str(out), "--recursive", "--model", "scenes"]) == 1  # one photo is damaged
    coco = COCO(str(out / "instances.json"))
    assert [(image["id"], image["file_name"]) for image in coco.loadImgs(coco.getImgIds())] == [
        (1, "b.png"),
        (2, "more/a.png"),
    ]
    assert len(coco.getCatIds()) == 80
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [annotation["id"] for annotation in annotations] == [*range(1, len(annotations) + 1)]
    for image_id in (1, 2):
        image, own = coco.imgs[image_id], coco.imgToAnns[image_id]
        assert own
        for annotation in own:
            mask = coco.annToMask(annotation)
            assert mask.shape == (image["height"], image["width"])
            assert mask.sum() == annotation["area"] > 0
            assert annotation["score"] >= 0.5
        with Image.open(out / "pictures" / f"{image['file_name']}-segmented.png") as picture:
            assert picture.size == (image["width"], image["height"])
    said = capsys.readouterr()
    assert "damaged.jpg: This file is not a picture that can be read here." in said.err
    assert said.out.startswith("2 of 3 photos are done, 1 failed; ")
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock",
        "instances.json",
        "journal.jsonl",
        "pictures",
    ]


def test_a_server_gives_what_the_local_model_gives(
    photos: Path, tmp_path: Path, local: None, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recursive", "--score-threshold", "0.7", "--classes", "stop sign", "clock", "kite"]
    main([str(photos), str(tmp_path / "local"), "--model", "scenes", *options])
    here = capsys.readouterr()
    assert main([str(photos), str(tmp_path / "remote"), "--server", server, *options]) == 1
    there = capsys.readouterr()
    # The server says why "auto" is another model.
    assert "could not be fetched from download.pytorch.org" in there.err
    assert [line for line in here.err.splitlines() if line.startswith("damaged")] == [
        line for line in there.err.splitlines() if line.startswith("damaged")
    ]
    assert instances(tmp_path / "local")["annotations"]
    for name in ("instances.json", "pictures/b.png-segmented.png", "pictures/more/a.png-segmented.png"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "remote" / name).read_bytes()


@pytest.mark.parametrize("remote", [False, True], ids=["local", "server"])
def test_a_clip_gets_a_coco_file_with_tracks_and_an_annotated_clip(
    remote: bool, tmp_path: Path, local: None, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    write_clip(tmp_path / "photos" / "walk.avi", moving_frames(3))
    (tmp_path / "photos" / "damaged.mp4").write_bytes(b"no clip")
    out = tmp_path / "out"
    command = [
        str(tmp_path / "photos"),
        str(out),
        "--model",
        "scenes",
        *(["--server", server] if remote else []),
    ]
    assert main(command) == 1
    said = capsys.readouterr()
    assert (
        "1 of 2 photos are done, 1 failed" in said.out and "damaged.mp4: This file is not a clip" in said.err
    )
    whole = json.loads((out / "clips" / "walk.avi-coco.json").read_text())
    assert len(whole["images"]) == 3 and whole["videos"][0]["width"] == 64
    assert len(list((out / "clips").glob("walk.avi-segmented.*"))) == 1
    assert instances(out)["images"] == []
    (out / "clips" / "walk.avi-coco.json").write_text("kept")
    main(command)
    assert (out / "clips" / "walk.avi-coco.json").read_text() == "kept", "a finished clip is not done again"


def test_a_run_goes_on_at_a_server_where_the_same_model_answers(
    photos: Path, tmp_path: Path, local: None, server: str
) -> None:
    arguments = [str(photos), str(tmp_path / "out"), "--model", "scenes"]
    (photos / "damaged.jpg").unlink()
    assert main(arguments) == 0
    made = (tmp_path / "out" / "pictures" / "b.png-segmented.png").stat().st_mtime_ns
    assert main([*arguments, "--recursive", "--server", server]) == 0
    assert (tmp_path / "out" / "pictures" / "b.png-segmented.png").stat().st_mtime_ns == made
    assert len(instances(tmp_path / "out")["images"]) == 2


def test_control_c_says_how_the_run_goes_on(
    photos: Path,
    tmp_path: Path,
    local: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = segmenters.segment_file

    def interrupted(path: Path, model: SegmentationModel, **options: Any) -> Any:
        if path.name == "a.png":
            raise KeyboardInterrupt
        return whole(path, model, **options)

    monkeypatch.setattr(segmenters, "segment_file", interrupted)
    (photos / "damaged.jpg").unlink()
    arguments = [str(photos), str(tmp_path / "out"), "--recursive", "--no-pictures"]
    assert main(arguments) == 130
    said = capsys.readouterr()
    assert said.out.startswith("1 of 2 photos are done, 0 failed; ")
    assert said.err.endswith("Stopped. The same command goes on from here.\n")
    assert [image["file_name"] for image in instances(tmp_path / "out")["images"]] == ["b.png"]
    monkeypatch.setattr(segmenters, "segment_file", whole)
    assert main(arguments) == 0
    assert [image["file_name"] for image in instances(tmp_path / "out")["images"]] == ["b.png", "more/a.png"]
    assert not (tmp_path / "out" / "pictures").exists()


# --- The folder ---------------------------------------------------------------------------------------------


def test_what_was_done_before_an_interruption_is_not_done_again(tmp_path: Path) -> None:
    names = touched(tmp_path, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    first = ByHand(tmp_path / "out" / ".partial", {"3.jpg": KeyboardInterrupt()})
    outcome = run(tmp_path, first)
    assert (outcome.photos, outcome.done, outcome.interrupted) == (4, 2, True)
    assert [image["file_name"] for image in instances(tmp_path / "out")["images"]] == names[:2]
    second = ByHand(tmp_path / "out" / ".partial")
    assert run(tmp_path, second).done == 4
    assert second.seen == names[2:]
    assert [image["file_name"] for image in instances(tmp_path / "out")["images"]] == names


def test_a_line_that_was_half_written_when_the_run_was_killed_is_dropped(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    again = ByHand(tmp_path / "out" / ".partial")
    assert run(tmp_path, again).done == 2
    assert again.seen == ["2.jpg"]
    assert run(tmp_path, again).done == 2
    assert again.seen == ["2.jpg"]


def test_a_photo_that_changed_since_is_done_again(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    (tmp_path / "1.jpg").write_bytes(b"another photo")
    os.utime(tmp_path / "2.jpg", (1, 1))
    again = ByHand(tmp_path / "out" / ".partial")
    assert run(tmp_path, again).instances == 3
    assert again.seen == ["1.jpg", "2.jpg"]


def test_a_picture_that_is_missing_is_made_again(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    (tmp_path / "out" / "pictures" / "2.jpg-segmented.png").unlink()
    again = ByHand(tmp_path / "out" / ".partial")
    assert run(tmp_path, again).instances == 2
    assert again.seen == ["2.jpg"]
    assert (tmp_path / "out" / "pictures" / "2.jpg-segmented.png").exists()


def test_a_photo_that_failed_is_tried_again(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg"])
    outcome = run(tmp_path, ByHand(tmp_path / "out" / ".partial", {"1.jpg": PhotoError("It is torn.")}))
    assert (outcome.done, outcome.failures) == (1, {"1.jpg": "It is torn."})
    again = ByHand(tmp_path / "out" / ".partial")
    assert run(tmp_path, again).failures == {}
    assert again.seen == ["1.jpg"]


def test_a_photo_that_is_gone_is_in_the_file_no_more(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    (tmp_path / "1.jpg").unlink()
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    found = instances(tmp_path / "out")
    assert [(image["id"], image["file_name"]) for image in found["images"]] == [(1, "2.jpg")]
    assert [(each["id"], each["image_id"]) for each in found["annotations"]] == [(1, 1)]


def test_if_every_photo_failed_the_file_has_categories_and_no_images(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial", {"1.jpg": PhotoError("It is torn.")}))
    found = instances(tmp_path / "out")
    assert (found["images"], found["annotations"], len(found["categories"])) == ([], [], 80)


def test_photos_of_one_stem_have_a_picture_each(tmp_path: Path) -> None:
    names = touched(tmp_path, ["a.jpg", "a.png", "deep/a.jpg"])
    run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    pictures = tmp_path / "out" / "pictures"
    assert {path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")} == {
        f"{name}-segmented.png" for name in names
    }
    assert (pictures / "a.png-segmented.png").read_text() == "a.png"


def test_a_bug_stays_loud(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg"])
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, ByHand(tmp_path / "out" / ".partial", {"1.jpg": ZeroDivisionError()}))


def test_a_server_that_is_gone_ends_the_run_without_a_list_of_failures(tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    segment = ByHand(tmp_path / "out" / ".partial", {"2.jpg": ServerError("It is gone.")})
    outcome = run(tmp_path, segment)
    assert (outcome.done, outcome.failures, outcome.stopped) == (1, {}, "It is gone.")
    assert segment.seen == ["1.jpg", "2.jpg"]
    assert len(instances(tmp_path / "out")["images"]) == 1


def test_other_settings_in_the_same_folder_are_refused(
    photos: Path, tmp_path: Path, local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "damaged.jpg").unlink()
    arguments = [str(photos), str(tmp_path / "out"), "--no-pictures"]
    assert main([*arguments, "--classes", "kite", "clock"]) == 0
    before = (tmp_path / "out" / "journal.jsonl").read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--classes", "kite", "clock", "--score-threshold", "0.6"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "other settings (score_threshold; there " in said
    assert f"delete {tmp_path / 'out' / 'journal.jsonl'} to start over" in said
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before
    # The order of the categories does not matter.
    assert main([*arguments, "--classes", "clock", "kite"]) == 0


@pytest.mark.parametrize("content", ["[1, 2]\n", "notes of somebody", "[1, 2]"])
def test_a_journal_that_is_none_is_refused_and_stays(content: str, tmp_path: Path) -> None:
    touched(tmp_path, ["1.jpg", "out/journal.jsonl"])
    (tmp_path / "out" / "journal.jsonl").write_text(content)
    with pytest.raises(tool.SettingsError, match=r"journal\.jsonl cannot be read\. Name another folder"):
        run(tmp_path, ByHand(tmp_path / "out" / ".partial"))
    assert (tmp_path / "out" / "journal.jsonl").read_text() == content


def test_photos_are_told_by_their_suffix_and_what_is_hidden_or_ours_is_passed_over(tmp_path: Path) -> None:
    touched(
        tmp_path,
        [
            "b.JPG",
            "a.webp",
            "c.heic",
            "notes.txt",
            ".d.png",
            ".cache/e.png",
            "sub/f.tiff",
            "out/pictures/g.png",
        ],
    )
    (tmp_path / "folder.png").mkdir()
    assert photos_in(tmp_path, tmp_path / "out", recursive=False) == ["a.webp", "b.JPG", "c.heic"]
    assert photos_in(tmp_path, tmp_path / "out", True) == ["a.webp", "b.JPG", "c.heic", "sub/f.tiff"]


def test_a_folder_without_photos_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touched(tmp_path, ["notes.txt", "sub/a.png"])
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"There is no photo in {tmp_path}. Photos end in .apng, ")
    assert not (tmp_path / "out").exists()


def test_a_kind_that_the_model_does_not_know_is_told_in_a_sentence(
    tmp_path: Path, local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    touched(tmp_path, ["photos/a.png"])
    arguments = [str(tmp_path / "photos"), str(tmp_path / "out"), "--model", "scenes", "--classes", "dgo"]
    assert main(arguments) == 1
    assert "classes: there is no category 'dgo'; did you mean dog" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["photos", "out", "--score-threshold", "2"],
            "score_threshold: expected a number from 0 to 1, got 2.0.",
        ),
        (["nowhere", "out"], "PHOTOS: there is no folder nowhere."),
        (["photos", "photos"], "OUT: expected a folder of its own"),
        (["photos", "photos/a.png"], "OUT: expected a folder of its own"),
        (["photos", "out", "--model", "yolo"], "invalid choice: 'yolo'"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    touched(tmp_path, ["photos/a.png"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


# --- A server that is busy or gone --------------------------------------------------------------------------


class FakeClient:
    """A fake of Gradio's client. Each call takes the next answer, and raises it if it is an error.

    Args:
        answers: The answers and errors. Calls take them from the front.
        made: A function that is called with each new client.
    """

    def __init__(
        self, answers: list[Any], made: Callable[[FakeClient], object] = lambda client: None
    ) -> None:
        self.answers, self.config = answers, {"max_file_size": 1000}
        made(self)

    def submit(self, **arguments: Any) -> FakeClient:
        return self

    def result(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    touched(tmp_path, ["1.jpg"])
    return tmp_path / "1.jpg"


def served_by(
    answers: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Server, list[float]]:
    """Returns a server that gives these answers, and a list to which it adds its pauses in seconds."""
    monkeypatch.setattr(segmenters, "Client", lambda *address, **options: FakeClient(answers))
    pauses: list[float] = []
    return Server("http://busy.example", tmp_path, pauses.append), pauses


def busy() -> AppError:
    """Returns the error that a program gets from a busy app."""
    full = Scheduler(waiting=0)
    full.slots = 0
    with pytest.raises(Busy) as raised:
        asyncio.run(full.run(Visitor("", ""), lambda job: None))
    return AppError(str(raised.value))


def test_a_busy_server_is_asked_again_after_growing_pauses(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pauses = served_by([busy(), busy(), busy(), "an answer"], monkeypatch, tmp_path)
    assert server.call("/export", photo) == "an answer"
    assert pauses == [*PAUSES[:3]]
    assert pauses == sorted(set(pauses))


def test_a_server_that_stays_busy_costs_the_photo(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pauses = served_by([busy() for _ in range(20)], monkeypatch, tmp_path)
    with pytest.raises(PhotoError, match=r"^Too many photos are waiting just now\."):
        server.call("/export", photo)
    assert pauses == [*PAUSES]


@pytest.mark.parametrize(
    "sentence",
    [
        "This picture is damaged or incomplete and could not be read. Please save or download it again.",
        "This took longer than 5 minutes and was given up. Please try a smaller photo, or try again later.",
        "Something went wrong on the server. Please try again; if it happens again, report number 12.",
    ],
)
def test_what_lies_in_the_photo_is_not_tried_again(
    sentence: str, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pauses = served_by([AppError(sentence)], monkeypatch, tmp_path)
    with pytest.raises(PhotoError) as raised:
        server.call("/export", photo)
    assert (str(raised.value), pauses) == (sentence, [])


def test_a_file_that_is_too_large_for_the_server_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(1001))
    server, pauses = served_by([], monkeypatch, tmp_path)
    with pytest.raises(PhotoError, match="This file is too large"):
        server.call("/export", tmp_path / "large.jpg")
    assert pauses == []


def test_after_a_lost_connection_a_new_client_asks(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeClient] = []
    answers = [httpx.ReadError("reset"), "an answer"]
    monkeypatch.setattr(segmenters, "Client", lambda *address, **options: FakeClient(answers, made.append))
    pauses: list[float] = []
    server = Server("http://shaky.example", tmp_path, pauses.append)
    assert server.call("/export", photo) == "an answer"
    assert (len(made), pauses) == (2, [*PAUSES[:1]])


def test_a_server_that_does_not_come_back_is_given_up(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pauses = served_by([httpx.ReadError("reset") for _ in range(20)], monkeypatch, tmp_path)
    with pytest.raises(ServerError, match=r"^The connection to http://busy\.example was lost\.$"):
        server.call("/export", photo)
    assert pauses == [*PAUSES]


def refusal(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://busy.example/upload")
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status))


def test_a_refused_upload_costs_the_photo_and_a_failing_server_is_asked_again(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pauses = served_by([refusal(503), "an answer", refusal(413)], monkeypatch, tmp_path)
    assert server.call("/export", photo) == "an answer"
    assert pauses == [*PAUSES[:1]]
    with pytest.raises(PhotoError, match=r"^The server refused this photo \(HTTP status 413\)\.$"):
        server.call("/export", photo)
    assert pauses == [*PAUSES[:1]]


def test_another_app_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_endpoint(self: FakeClient, **arguments: Any) -> FakeClient:
        raise ValueError("Cannot find a function with `api_name`: /segment.")

    server, _ = served_by([], monkeypatch, tmp_path)
    monkeypatch.setattr(FakeClient, "submit", no_such_endpoint)
    with pytest.raises(ServerError, match=r"^http://busy\.example is not this project's app"):
        server.model("auto")


def test_a_server_that_cannot_be_reached_is_told_at_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:  # a port at which nobody listens
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert main([str(photos), str(tmp_path / "out"), "--server", address]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"{address} cannot be reached (")
    assert (said.err.count("\n"), said.out) == (1, "")


def test_a_second_run_in_the_same_folder_is_told_and_disturbs_nothing(
    photos: Path, tmp_path: Path, local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / tool.PARTIAL).mkdir(parents=True)
    with FileLock(out / tool.LOCK):
        assert main([str(photos), str(out)]) == 1
    assert "Another run is writing into" in capsys.readouterr().err
    assert (out / tool.PARTIAL).exists() and not (out / tool.JOURNAL).exists()
    main([str(photos), str(out)])  # now the folder is free
    assert (out / tool.INSTANCES).exists()
