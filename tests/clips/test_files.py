"""Tests of `clips.formats`, `clips.files` and `clips.writing`: what is written can be read again."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from answer.settings import Filters, SettingsError
from clips import writing
from clips.files import CLIP_EFFECTS, EXPORTS, check_clip_export, export_clip, frame_of
from clips.formats import coco_pieces, counts_csv, mot_pieces, tracks_csv
from clips.result import ClipResult, ClipView
from photo.clips import open_clip
from photo.errors import ImageError
from tests.clips.samples import look, result
from tests.samples import CAR
from tests.small_clips import moving_frames, write_clip
from visualize import Style

EFFECTS_OUTSIDE = {"spotlight", "blur_background", "color_background"}


def square(k: int) -> tuple[float, float, float, float]:
    """Returns the box of the red square in frame `k` of `moving_frames`."""
    return 4 + 2 * k, 18, 16 + 2 * k, 30


@pytest.fixture
def clip(tmp_path: Path) -> ClipResult:
    """A clip whose red square was found in each frame but the fourth, beside a car without a track."""
    path = write_clip(tmp_path / "squares.avi", moving_frames(8))
    looks = [look(k, {} if k == 3 else {1: square(k)}) for k in range(8)]
    looks[5] = look(5, {1: square(5), 0: (40, 2, 60, 10)}, kinds={0: CAR})
    return result(looks, path)


@pytest.fixture(autouse=True)
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ffmpeg", lambda: None)


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    with open_clip(path, 1024) as opened:
        return [frame.pixels for group in opened.frames() for frame in group]


def test_coco_has_videos_tracks_and_exact_masks(clip: ClipResult, tmp_path: Path) -> None:
    whole = json.loads("".join(coco_pieces(ClipView(clip), "squares.avi")))
    assert whole["videos"] == [{"id": 1, "name": "squares.avi", "width": 64, "height": 48, "fps": 10.0}]
    assert whole["tracks"] == [{"id": 1, "category_id": 1, "video_id": 1}]
    assert [image["frame_index"] for image in whole["images"]] == list(range(8))
    assert [each["image_id"] for each in whole["annotations"]] == [1, 2, 3, 5, 6, 6, 7, 8]
    assert [each.get("track_id") for each in whole["annotations"]].count(1) == 7
    file = tmp_path / "a.json"
    file.write_text(json.dumps(whole))
    coco = COCO(file)
    mask = coco.annToMask(coco.loadAnns([1])[0])
    assert np.array_equal(mask, ClipView(clip).shown(0).mask(0))


def test_motchallenge_has_a_line_for_each_sighting(clip: ClipResult) -> None:
    lines = "".join(mot_pieces(ClipView(clip))).splitlines()
    assert len(lines) == 7 and lines[0] == "1,1,4.00,18.00,12.00,12.00,0.900000,-1,-1,-1"
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3", "5", "6", "7", "8"]


def test_tables_are_csv(clip: ClipResult) -> None:
    counts = list(csv.reader(io.StringIO(counts_csv(ClipView(clip)))))
    assert counts[0] == ["frame", "seconds", "person", "car"]
    assert counts[4] == ["3", "0.3", "0", "0"] and counts[6] == ["5", "0.5", "1", "1"]
    tracks = list(csv.reader(io.StringIO(tracks_csv(ClipView(clip)))))
    assert tracks[1][:5] == ["1", "person", "0.0", "0.7", "0.7"]


def test_the_annotated_clip_plays_as_long_as_the_original(clip: ClipResult, tmp_path: Path) -> None:
    path = export_clip(ClipView(clip), "video", tmp_path)
    assert path.name == "squares-segmented.webm"
    drawn, plain = frames_of(path), frames_of(clip.path)
    assert len(drawn) == len(plain) == 8
    for k, (one, other) in enumerate(zip(drawn, plain, strict=True)):
        x1, y1, x2, y2 = map(int, square(k))
        difference = np.abs(one.astype(int) - other).mean(axis=2)
        assert difference[y1:y2, x1:x2].mean() > 25, "also in the frame in which it is lost"
        assert difference[36:, :].mean() < 8


@pytest.mark.parametrize("effect", CLIP_EFFECTS)
def test_an_effect_covers_a_lost_object_too(effect: str, clip: ClipResult, tmp_path: Path) -> None:
    path = export_clip(ClipView(clip), "video", tmp_path, effect)
    assert path.name == f"squares-{effect.replace('_', '-')}.webm"
    for k, (one, other) in enumerate(zip(frames_of(path), frames_of(clip.path), strict=True)):
        x1, y1, x2, y2 = map(int, square(k))
        inside = np.abs(one[y1:y2, x1:x2].astype(int) - other[y1:y2, x1:x2]).mean()
        assert (inside < 9) == (effect in EFFECTS_OUTSIDE), k


def test_an_object_keeps_its_colour_whatever_it_touches(clip: ClipResult) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    looks = [look(0, {4: square(0)}), look(1, {4: square(0), 3: square(4)})]
    view = ClipView(result(looks), style=Style(boxes=False, labels=False))
    colours = {tuple(frame_of(image, view.shown(k), view)[24, 8]) for k in (0, 1)}
    assert len(colours) == 1


def test_stills_show_each_track_in_its_best_frame(clip: ClipResult, tmp_path: Path) -> None:
    with zipfile.ZipFile(export_clip(ClipView(clip), "stills", tmp_path)) as archive:
        assert archive.namelist() == ["001-person.png"]
        picture = np.asarray(Image.open(archive.open("001-person.png")))
    assert picture.shape == (16, 16, 3)
    assert picture[8, 8, 0] > 180 and picture[8, 8, 1] < 80


def test_the_zip_holds_everything_and_says_how_it_was_made(clip: ClipResult, tmp_path: Path) -> None:
    view = ClipView(clip, Filters(0.6, hidden=(9,)))
    with zipfile.ZipFile(export_clip(view, "zip", tmp_path, "blur")) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        names = archive.namelist()
    assert names[:-1] == manifest["files"] == [
        "squares-coco.json", "squares-mot.txt", "squares-counts.csv", "squares-tracks.csv",
        "stills/001-person.png", "squares-blur.webm",
    ]  # fmt: skip
    assert manifest["settings"]["effect"] == "blur" and manifest["settings"]["filters"]["hidden"] == [9]
    assert manifest["clip"]["frames_looked_at"] == 8 and manifest["model"]["name"] == "fake"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["squares.avi", "squares.zip"]


@pytest.mark.parametrize("format", EXPORTS)
def test_a_clip_without_objects_is_written_too(format: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.gif", moving_frames(2))
    assert export_clip(ClipView(result([look(0, {}), look(1, {})], path)), format, tmp_path).exists()


def test_a_clip_whose_file_is_gone_is_a_sentence(clip: ClipResult, tmp_path: Path) -> None:
    clip.path.unlink()
    with pytest.raises(ImageError, match="could not be opened"):
        export_clip(ClipView(clip), "video", tmp_path)
    assert export_clip(ClipView(clip), "coco", tmp_path).exists()
    assert not list(tmp_path.glob("*.webm"))


@pytest.mark.parametrize(
    "format, effect, color, sentence",
    [
        ("avi", None, "#ffffff", "format: expected one of video, coco"),
        ("video", "cut_out", "#ffffff", "no transparent background"),
        ("video", "paint", "#ffffff", "effect: expected one of"),
        ("video", None, "red", "color: expected one such as"),
    ],
)
def test_wrong_settings_are_refused(format: str, effect: str | None, color: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        check_clip_export(format, effect, color)


def numbered(times: list[float]) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    for k, seconds in enumerate(times):
        yield seconds, np.full((2, 2, 3), k, np.uint8)


@pytest.mark.parametrize(
    "times, shown",
    [([0, 0.1, 0.2], [0, 1, 2]), ([0, 0.3, 0.4], [0, 0, 0, 1, 2]), ([0, 0.02, 0.1], [1, 2]), ([], [])],
)
def test_frames_of_uneven_duration_are_shown_at_their_time(times: list[float], shown: list[int]) -> None:
    assert [int(frame[0, 0, 0]) for frame in writing.at_rate(numbered(times), 10.0)] == shown


def test_the_rate_is_that_of_the_closest_frames() -> None:
    assert writing.rate_of(np.array([0, 0.1, 0.2, 0.9]), 2, 25) == pytest.approx(20)
    assert writing.rate_of(np.array([0.0]), 1, 25) == 25
    assert writing.rate_of(np.arange(9) / 240, 1, 240) == writing.MOST_RATE


def test_odd_sides_become_even(tmp_path: Path) -> None:
    frames = [np.full((17, 33, 3), 90, np.uint8)] * 2
    path = writing.write(lambda: frames, 10, tmp_path / "a")
    assert frames_of(path)[0].shape == (18, 34, 3)
