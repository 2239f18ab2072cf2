"""What becomes of requests: alone, and through the running app.

The file is long because its tests share one app and the reader of its log.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import logging
import os
import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
import torch
from gradio.context import LocalContext
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from answer.result import Result
from answer.settings import SettingsError
from inference import SegmentationModel
from network.weights import WeightsError
from photo.errors import ImageError
from serving import janitor, photos, service
from serving.models import Models
from serving.scheduler import Busy, Job, Scheduler, Visitor
from serving.service import Service
from serving.sessions import SHARED
from tests.calls import FILE_DATA
from tests.fault_server import Answer, FaultServer
from tests.loops import in_a_loop
from tests.samples import fake_model, make_detections, make_result
from tests.serving.test_scheduler import Held, until
from tests.small_clips import write_clip
from tests.truth import SCENE
from ui.links import EXAMPLES

SENTENCE = "the sentence"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """The lines that requests have left in the log."""
    caplog.set_level(logging.INFO, "requests")
    return lambda: [json.loads(r.getMessage()) for r in caplog.records if r.name == "requests"]


@pytest.fixture
def alone(scenes_model: SegmentationModel) -> Service:
    return Service(Models(lambda: (scenes_model, None)))


def ended(service: Service, work: Callable[[Job], Any]) -> BaseException | Any:
    """What a request with this work gives its client, or raises."""
    outcome: list[Any] = []

    async def test() -> None:
        try:
            async with service.request("test") as request:
                outcome.append(await request.run(work))
        except gr.Error as error:
            outcome.append(error)

    in_a_loop(test())
    return outcome[0]


def raising(error: BaseException) -> Callable[[Job], Any]:
    def work(job: Job) -> Any:
        raise error

    return work


def test_the_examples_are_looked_at_behind_the_page(
    alone: Service, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], Any]
) -> None:
    looked: queue.Queue[Path] = queue.Queue()
    keep = alone.results._keep
    monkeypatch.setattr(alone.results, "_keep", lambda key, found: (keep(key, found), looked.put(found.path)))
    alone.look_ahead([SCENE])
    model = alone.models.get()
    assert looked.get(timeout=10) == SCENE
    monkeypatch.setattr(service, "segment_file", lambda *rest: pytest.fail("the model ran"))

    async def click() -> None:
        async with alone.request("page") as request:
            result = await request.run(lambda job: request.segment(SCENE, model, job))
            assert result.cached and result.path == SCENE

    in_a_loop(click())
    assert lines()[-1]["cached"] is True


def test_on_zero_gpu_the_cpu_looks_at_the_examples(
    alone: Service, scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent = replace(scenes_model, device=torch.device("cuda"))
    ran: queue.Queue[SegmentationModel] = queue.Queue()
    models = Models(lambda: (lent, None), lambda name, device=None: scenes_model if device == "cpu" else lent)
    monkeypatch.setattr(service.zero_gpu, "ACTIVE", True)

    def segment_file(path: Path, model: SegmentationModel) -> Result:
        ran.put(model)
        return make_result(make_detections([]))

    monkeypatch.setattr(service, "segment_file", segment_file)
    Service(models).look_ahead([SCENE])
    models.get()
    assert ran.get(timeout=10) is scenes_model


def test_a_request_leaves_one_line_in_the_log(alone: Service, lines: Callable[[], Any]) -> None:
    assert ended(alone, lambda job: "an answer") == "an answer"
    (line,) = lines()
    assert line.keys() == {"id", "kind", "waited_ms", "outcome", "ms"}
    assert (line["kind"], line["outcome"]) == ("test", "ok")


@pytest.mark.parametrize(
    ("error", "said", "outcome"),
    [
        (ImageError(SENTENCE), SENTENCE, "refused: ImageError"),
        (SettingsError(SENTENCE), SENTENCE, "refused: SettingsError"),
        (WeightsError(SENTENCE), SENTENCE, "refused: WeightsError"),
        (Busy(SENTENCE), SENTENCE, "busy"),
        (MemoryError(), "ran out of memory. Please try a smaller photo", "out of memory"),
        (OSError(errno.ENOSPC, "No space left", "/x/y"), "disk is full. Please try again", "fault"),
        (KeyError("x"), "Something went wrong on the server", "fault"),
        (StopIteration(), "Something went wrong on the server", "fault"),
        (gr.Error("Your quota is used up.", print_exception=False), "Your quota is used up.", "fault"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_reaches_the_visitor_as_a_sentence(
    error: BaseException, said: str, outcome: str, alone: Service, lines: Callable[[], Any]
) -> None:
    answer = ended(alone, raising(error))
    assert isinstance(answer, gr.Error) and said in answer.message and not answer.print_exception
    assert lines()[-1]["outcome"] == outcome


def test_a_fault_says_to_engineers_where_it_was_and_to_nobody_what_the_photo_was_called(
    alone: Service, lines: Callable[[], Any]
) -> None:
    def work(job: Job) -> Any:
        return (app.FOLDER / "abc" / "Granny's secret, 50 € (1).jpg").read_bytes()

    answer = ended(alone, work)
    (line,) = lines()
    assert line["id"] in str(answer)
    assert line["error"].startswith("FileNotFoundError") and "(a file)" in line["error"]
    assert any("test_service.py" in frame and frame.endswith(" work") for frame in line["where"])
    assert "secret" not in json.dumps(line) and "secret" not in str(answer)


def test_a_fault_after_the_visitor_left_is_written_down_all_the_same(
    alone: Service, lines: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.scheduler.POLL_SECONDS", 0.01)
    held, there = Held(), [True]
    monkeypatch.setattr(service, "_is_wanted", lambda: there[0])

    def work(job: Job) -> Any:
        held(job)
        raise KeyError("late")

    async def test() -> None:
        there[0] = True
        with pytest.raises(gr.Error):
            async with alone.request("test") as request:
                threading.Thread(target=lambda: (held.began.wait(10), there.__setitem__(0, False))).start()
                await request.run(work)
        held.may_end.set()
        await until(lambda: alone.scheduler._running == 0)

    in_a_loop(test())
    assert [line["outcome"] for line in lines()] == ["abandoned", "fault"]
    assert lines()[1]["error"] == "KeyError: 'late'"


def test_a_visitor_is_known_by_the_address_that_the_proxy_forwards_and_the_session() -> None:
    request = SimpleNamespace(client=SimpleNamespace(host="192.0.2.9"), session_hash="tab")
    token = LocalContext.request.set(request)  # type: ignore[arg-type]
    try:
        assert service._visitor() == ("192.0.2.9", "tab")
    finally:
        LocalContext.request.reset(token)


def test_a_model_that_is_loading_is_waited_for_and_others_are_not_held_up(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOAD_SECONDS", 0.05)
    may_load, loads = threading.Event(), []

    def load(name: str) -> SegmentationModel:
        loads.append(name)
        if name != "scenes":
            may_load.wait(10)
        return scenes_model

    slow = Service(Models(lambda: (load("auto"), None), load))

    async def ask(name: str) -> SegmentationModel:
        async with slow.request("test") as request:
            return await request.model(name)

    async def test() -> None:
        waiting = [ask(name) for name in ("auto", "resnet50_fpn", "resnet50_fpn_v2") for _ in range(9)]
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, gr.Error) and "still being loaded" in outcome.message
        assert await ask("scenes") is scenes_model
        assert sorted(loads) == ["auto", "resnet50_fpn", "resnet50_fpn_v2", "scenes"]
        may_load.set()
        await until(lambda: slow.models.ready("resnet50_fpn") and slow.models.ready())

    in_a_loop(test())


def test_one_visitor_may_have_two_pictures_fetched_at_once_and_all_of_them_eight(
    alone: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_come, asked = asyncio.Event(), []

    async def fetch_slowly(url: str, folder: Path) -> Path:
        asked.append(url)
        await may_come.wait()
        return folder / "cat.jpg"

    visitors = ["ann"] * 2 + [f"visitor {i}" for i in range(6)]
    monkeypatch.setattr(service, "fetch", fetch_slowly)
    monkeypatch.setattr(service, "_visitor", lambda: Visitor(current[0], ""))
    current = [""]

    async def begin(visitor: str) -> asyncio.Task[Path]:
        current[0] = visitor
        before = len(asked)
        task = asyncio.create_task(alone.fetch("https://example.org/cat.jpg"))
        await until(lambda: len(asked) > before or task.done())
        return task

    async def test() -> None:
        tasks = [await begin("ann") for _ in range(2)]
        with pytest.raises(Busy):
            await (await begin("ann"))
        tasks += [await begin(visitor) for visitor in visitors[2:]]
        with pytest.raises(Busy):
            await (await begin("one more"))
        may_come.set()
        await asyncio.gather(*tasks)
        assert not alone._fetching
        await (await begin("ann"))

    in_a_loop(test())
    assert len(asked) == 9


def test_a_look_is_logged_only_if_it_fails(alone: Service, lines: Callable[[], Any]) -> None:
    async def look(work: Callable[[], Any]) -> Any:
        async with alone.request("look") as request:
            return await request.look(work)

    assert in_a_loop(look(lambda: "seen")) == "seen"
    assert lines() == []
    with pytest.raises(gr.Error, match="Something went wrong"):
        in_a_loop(look(lambda: {}["x"]))
    assert [line["kind"] for line in lines()] == ["look"]


def test_of_ipv6_the_network_is_the_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    def visitor(host: str) -> Visitor:
        request: Any = SimpleNamespace(client=SimpleNamespace(host=host), session_hash=f"{0:032x}")
        token = LocalContext.request.set(request)
        try:
            return service._visitor()
        finally:
            LocalContext.request.reset(token)

    assert visitor("2001:db8:1:2::1") == visitor("2001:db8:1:2:3::9") != visitor("2001:db8:1:3::1")
    assert visitor("testclient").address == "testclient"
    assert visitor("192.0.2.1").session == SHARED


# -------------------------------------------------------------------------- files and room on the disk


def reserved(service: Service) -> int:
    """The bytes that the requests of `service` have reserved."""
    return sum(reservation.size for reservation in service.disk._reservations)


@pytest.mark.parametrize("where", ["in the work", "before the work"])
@pytest.mark.parametrize("error", [None, ImageError(SENTENCE), OSError(errno.ENOSPC, "full"), KeyError("x")])
def test_a_folder_stays_only_if_the_request_ends_well(
    error: Exception | None, where: str, alone: Service
) -> None:
    folders: list[Path] = []

    def write(folder: Path) -> None:
        folders.append(folder)
        (folder / "half a file").write_bytes(b"x")
        assert reserved(alone) == 12345 and list(alone._in_use()) == [folder]
        if error:
            raise error

    async def test() -> None:
        with contextlib.suppress(gr.Error):
            async with alone.request("test") as request:
                folder = service.new_folder(12345) if where == "before the work" else None
                await request.run(lambda job: write(folder or service.new_folder(12345)))

    in_a_loop(test())
    assert folders[0].exists() == (error is None)
    assert reserved(alone) == 0 and not alone.requests and not list(alone._in_use())


def test_what_a_visitor_who_left_would_have_got_is_deleted_when_the_work_ends(
    alone: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.scheduler.POLL_SECONDS", 0.01)
    held, folders = Held(), []

    def work(job: Job) -> None:
        folders.append(service.new_folder(12345))
        held(job)
        (folders[0] / "file").write_bytes(b"x")

    async def run() -> None:
        async with alone.request("test") as request:
            await request.run(work)

    async def test() -> None:
        task = asyncio.create_task(run())
        await until(held.began.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert folders[0].exists() and reserved(alone) == 12345, "the thread still writes there"
        held.may_end.set()
        await until(lambda: not alone.requests)

    in_a_loop(test())
    assert not folders[0].exists() and reserved(alone) == 0


def test_a_request_that_is_cancelled_before_its_turn_leaves_no_folder(
    scenes_model: SegmentationModel,
) -> None:
    busy = Service(Models(lambda: (scenes_model, None)), Scheduler(slots=1))
    held, folders = Held(), []

    async def run() -> None:
        async with busy.request("second") as request:
            folders.append(service.new_folder())
            await request.run(lambda job: pytest.fail("it ran"))

    async def test() -> None:
        async with busy.request("first") as request:
            first = asyncio.create_task(request.run(held))
            await until(held.began.is_set)
            second = asyncio.create_task(run())
            await until(lambda: len(folders) == 1)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            held.may_end.set()
            await first

    in_a_loop(test())
    assert not folders[0].exists() and reserved(busy) == 0 and not busy.requests


def test_an_export_that_does_not_fit_is_refused_before_it_is_written(
    alone: Service, lines: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.disk.shutil.disk_usage", lambda path: SimpleNamespace(free=2**28))
    before = set(Path(service.get_upload_folder()).iterdir())
    answer = ended(alone, lambda job: service.new_folder(2**28))
    assert isinstance(answer, gr.Error)
    assert answer.message == "The server's disk is full. Please try again in a few minutes."
    assert lines()[-1]["error"].startswith("DiskFull")
    assert set(Path(service.get_upload_folder()).iterdir()) == before and not alone.requests
    assert ended(alone, lambda job: service.new_folder(2**20)).is_dir()


def test_a_folder_outside_of_requests_belongs_to_nobody(alone: Service) -> None:
    assert service.new_folder().is_dir()
    assert reserved(alone) == 0


def test_the_photo_of_a_request_is_in_use_and_counts_as_new(alone: Service) -> None:
    photo = service.new_folder() / "photo.png"
    photo.write_bytes(SCENE.read_bytes())
    os.utime(photo, (0, 0))

    async def test() -> None:
        async with alone.request("test") as request:
            assert await request.photo({"path": str(photo)}) == photo
            assert list(alone._in_use()) == [photo]

    in_a_loop(test())
    assert time.time() - photo.stat().st_mtime < 60 and not list(alone._in_use())


PICTURE = base64.b64encode(SCENE.read_bytes()).decode()


@pytest.mark.parametrize("image", [{"path": PICTURE}, {"url": PICTURE}, {"path": PICTURE, "url": None}])
def test_a_picture_in_base64_is_taken_without_data_in_front(image: dict[str, Any], alone: Service) -> None:
    async def test() -> bytes:
        async with alone.request("test") as request:
            return (await request.photo(image)).read_bytes()

    assert in_a_loop(test()) == SCENE.read_bytes()


# -------------------------------------------------------------------------- the end of the app


def test_a_service_that_closes_finishes_its_work_and_refuses_the_rest(
    scenes_model: SegmentationModel, lines: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.scheduler.POLL_SECONDS", 0.01)
    may_load = threading.Event()
    closing = Service(
        Models(lambda: (scenes_model, None), lambda name: may_load.wait(10) and scenes_model),  # type: ignore[arg-type, return-value]
        Scheduler(slots=1),
    )
    held = Held()

    async def run(work: Callable[[Job], Any]) -> Any:
        async with closing.request("test") as request:
            return await request.run(work)

    async def load() -> Any:
        async with closing.request("test") as request:
            return await request.model("resnet50_fpn")

    async def test() -> None:
        runs = asyncio.create_task(run(lambda job: (held(job), "done")[1]))
        await until(held.began.is_set)
        waits = asyncio.create_task(run(lambda job: pytest.fail("it ran")))
        loads = asyncio.create_task(load())
        await until(lambda: len(closing.requests) == 3 and len(closing.scheduler._line) == 1)
        closing.close()
        for refused in (waits, loads, run(lambda job: pytest.fail("it ran"))):
            with pytest.raises(gr.Error) as caught:
                await refused
            assert caught.value.message == "The server is restarting. Please try again in a minute."
        assert not runs.done() and len(closing.requests) == 1
        held.may_end.set()
        assert await runs == "done"

    in_a_loop(test())
    may_load.set()
    assert not closing.requests
    assert sorted(line["outcome"] for line in lines()) == ["busy"] * 3 + ["ok"]


def test_work_that_does_not_end_in_time_is_told_so_and_leaves_nothing(
    alone: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.scheduler.POLL_SECONDS", 0.01)
    held, folders = Held(), []

    def work(job: Job) -> None:
        folders.append(service.new_folder())
        held(job)
        job.stage(0.5, "Writing")
        pytest.fail("it went on")

    async def run() -> None:
        async with alone.request("test") as request:
            await request.run(work)

    async def test() -> None:
        task = asyncio.create_task(run())
        await until(held.began.is_set)
        alone.give_up()
        with pytest.raises(gr.Error, match="The server is restarting"):
            await task
        (request,) = alone.requests
        request.abandon()
        assert not folders[0].exists()
        held.may_end.set()
        await until(lambda: not alone.requests)

    in_a_loop(test())


# -------------------------------------------------------------------------- through the running app


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False)


class Gate:
    """Stands before the network: counts who comes through, and holds them until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.open = 0, threading.Event()
        inner = photos.segment_or_fall_back

        def gated(*args: Any) -> Any:
            self.began += 1
            self.open.wait(20)
            return inner(*args)

        monkeypatch.setattr(photos, "segment_or_fall_back", gated)


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of requests that have come to a line of the running app, by the visitor's address."""
    counter: Counter[str] = Counter()
    run = Scheduler.run

    async def counted(line: Scheduler, visitor: Visitor, *args: Any, **options: Any) -> Any:
        counter[visitor.address] += 1
        return await run(line, visitor, *args, **options)

    monkeypatch.setattr(Scheduler, "run", counted)
    return counter


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_a_line_says_what_was_asked_and_not_what_the_photo_was_called(
    client: Client, lines: Callable[[], Any], tmp_path: Path
) -> None:
    shutil.copy(SCENE, tmp_path / "holiday-with-granny.png")
    client.predict(image=handle_file(tmp_path / "holiday-with-granny.png"), api_name="/segment")
    with pytest.raises(AppError):
        client.predict(image=handle_file(SCENE), score_threshold=7, api_name="/annotate")
    good, bad = lines()
    assert good | {"id": "", "waited_ms": 0, "ms": 0, "instances": 0} == {
        "id": "",
        "kind": "segment",
        "waited_ms": 0,
        "format": "PNG",
        "width": good["width"],
        "height": good["height"],
        "model": "scenes",
        "instances": 0,
        "outcome": "ok",
        "ms": 0,
    }
    assert (bad["kind"], bad["outcome"]) == ("annotate", "refused: SettingsError")
    assert "granny" not in json.dumps([good, bad])


def test_a_fault_in_the_network_reaches_a_program_as_a_sentence_with_a_number(
    client: Client, lines: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError(f"boxes: expected finite numbers, in {app.FOLDER}/cat.jpg")

    monkeypatch.setattr(photos, "segment_or_fall_back", fail)
    with pytest.raises(AppError, match=r"Something went wrong on the server.*report number") as caught:
        client.predict(image=handle_file(SCENE), api_name="/segment")
    (line,) = lines()
    assert line["id"] in str(caught.value) and "boxes: expected" in line["error"]
    assert str(app.FOLDER) not in json.dumps(line)


def test_a_flood_of_one_visitor_does_not_hold_up_another(
    server: str, lines: Callable[[], Any], arrivals: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    gate = Gate(monkeypatch)
    flooder = Client(server, verbose=False, headers={"X-Forwarded-For": "192.0.2.1"})
    other = Client(server, verbose=False, headers={"X-Forwarded-For": "192.0.2.2"})
    with ThreadPoolExecutor(21) as pool:
        jobs = []
        for name, client in [*[("flooder", flooder)] * 20, ("other", other)]:
            if name == "other":
                wait_for(lambda: gate.began >= 1 and arrivals["192.0.2.1"] == 20)
            future = pool.submit(client.predict, image=handle_file(SCENE), api_name="/segment")
            future.add_done_callback(lambda _, name=name: order.append(name))
            jobs.append(future)
        wait_for(lambda: arrivals["192.0.2.2"] == 1)
        gate.open.set()
        for job in jobs:
            assert job.result()["instances"]
    assert order.index("other") <= 3


def test_a_client_that_leaves_while_it_waits_is_never_worked_for(
    server: str, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], Any], arrivals: Counter[str]
) -> None:
    gate = Gate(monkeypatch)
    client = Client(server, verbose=False)
    first = [client.submit(image=handle_file(SCENE), api_name="/segment") for _ in range(2)]
    wait_for(lambda: gate.began == 1 and arrivals.total() == 2)  # the network is one photo's at a time
    leaving = Client(server, verbose=False)
    gone = leaving.submit(image=handle_file(SCENE), api_name="/segment")
    wait_for(lambda: gone.status().code.name in ("PROCESSING", "PROGRESS"))
    gone.cancel()
    wait_for(lambda: any(line["outcome"] in ("cancelled", "abandoned") for line in lines()))
    gate.open.set()
    for job in first:
        assert job.result(20)["instances"]
    assert gate.began == 2


def test_a_client_whose_connection_breaks_while_it_waits_is_never_worked_for(
    server: str, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], Any], arrivals: Counter[str]
) -> None:
    gate = Gate(monkeypatch)
    client = Client(server, verbose=False)
    first = [client.submit(image=handle_file(SCENE), api_name="/segment") for _ in range(2)]
    wait_for(lambda: gate.began == 1 and arrivals.total() == 2)
    with httpx.Client(timeout=20) as http:
        uploaded = http.post(f"{server}gradio_api/upload", files={"files": SCENE.read_bytes()}).json()
        arguments = {"image": {"path": uploaded[0], "meta": FILE_DATA}}
        joined = http.post(f"{server}gradio_api/call/v2/segment", json=arguments).json()
        with http.stream("GET", f"{server}gradio_api/call/v2/segment/{joined['event_id']}"):
            wait_for(lambda: arrivals.total() == 3)
    wait_for(lambda: any(line["outcome"] == "abandoned" for line in lines()))
    gate.open.set()
    for job in first:
        assert job.result(20)["instances"]
    assert gate.began == 2


def test_everything_of_a_visitor_is_gone_after_the_stated_time_and_examples_are_not(
    server: str, client: Client
) -> None:
    folder = app.FOLDER
    client.predict(image=handle_file(SCENE), api_name="/annotate")
    assert any(path.is_file() for path in folder.rglob("*"))
    janitor.sweep(folder, app.KEEP_SECONDS, app.KEEP_BYTES, time.time() + app.KEEP_SECONDS + 1)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert client.predict(image=handle_file(SCENE), api_name="/segment")["instances"]
    assert len(EXAMPLES) == 16 and all(path.is_file() for path in EXAMPLES.values())


@pytest.fixture
def picture_server() -> Iterator[FaultServer]:
    server = FaultServer(SCENE.read_bytes(), [Answer()])
    yield server
    server.stop()


@pytest.mark.parametrize("given", ["path", "url", "with meta"])
def test_an_address_of_this_machine_is_not_fetched_for_a_client(
    given: str, client: Client, picture_server: FaultServer
) -> None:
    url = f"{picture_server.url}/cat.png"
    image: Any = {
        "path": {"path": url},
        "url": {"url": url},
        "with meta": {"path": url, "meta": {"_type": "gradio.FileData"}},
    }[given]
    with pytest.raises(AppError, match=r"not a public one|expected an address such as"):
        client.predict(image=image, api_name="/segment")
    assert picture_server.ranges == []  # nobody asked


def test_no_other_argument_makes_the_server_fetch_anything(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "fetch", lambda *args: pytest.fail("it was fetched"))
    address = {"path": "https://example.org/cat.png", "meta": FILE_DATA}
    with pytest.raises(httpx.HTTPStatusError, match="400"):  # at the door
        client.predict(image=handle_file(SCENE), classes=[address] * 9, api_name="/segment")


@pytest.mark.parametrize("given", ["url", "with meta"])
def test_a_picture_at_a_public_address_is_fetched(
    given: str, client: Client, picture_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.fetch

    async def fetch_here(url: str, folder: Path) -> Path:
        port = int(picture_server.url.rpartition(":")[2])
        return await real(url, folder, allowed=lambda address: address.is_loopback, ports=(port,))

    monkeypatch.setattr(service, "fetch", fetch_here)
    url = f"{picture_server.url}/cat.png"
    image: Any = {"url": url} if given == "url" else {"path": url, "meta": {"_type": "gradio.FileData"}}
    expected = client.predict(image=handle_file(SCENE), api_name="/segment")
    assert client.predict(image=image, api_name="/segment")["instances"] == expected["instances"]


def test_one_line_holds_for_all_kinds_of_requests(scenes_model: SegmentationModel) -> None:
    own = Service(Models(lambda: (scenes_model, None)), Scheduler(slots=1, waiting=0))
    held = Held()

    async def test() -> None:
        async with own.request("first") as request:
            task = asyncio.create_task(request.run(held))
            await until(held.began.is_set)
            with pytest.raises(gr.Error, match="Too many photos are waiting"):
                async with own.request("second") as other:
                    await other.run(lambda job: None)
            held.may_end.set()
            await task

    in_a_loop(test())


def test_a_photo_waits_for_one_step_of_a_clip_and_not_for_all(alone: Service) -> None:
    order: list[str] = []
    may_go_on = threading.Event()

    def steps() -> Generator[int, None, None]:
        for k in range(5):
            may_go_on.wait(10)
            order.append(f"step {k}")
            yield k

    async def follow() -> None:
        async with alone.request("video") as request, contextlib.aclosing(request.turns(steps())) as turns:
            async for _ in turns:
                pass

    async def look() -> None:
        async with alone.request("segment") as request:
            await request.run(lambda job: order.append("photo"))

    async def test() -> None:
        alone.scheduler = Scheduler(slots=1)
        clip = asyncio.create_task(follow())
        await until(lambda: alone.scheduler._running == 1)
        photo = asyncio.create_task(look())
        await until(lambda: len(alone.scheduler._line) == 1)
        may_go_on.set()
        await asyncio.gather(clip, photo)

    in_a_loop(test())
    assert order.index("photo") <= 2 and order[-1] == "step 4"


def test_a_clip_that_is_stopped_ends_with_its_step(alone: Service) -> None:
    ended: list[bool] = []

    def steps() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            ended.append(True)

    async def test() -> None:
        async with alone.request("video") as request:
            async with contextlib.aclosing(request.turns(steps())) as turns:
                async for step in turns:
                    if step == 3:
                        break
            assert ended == [True]

    in_a_loop(test())


def test_the_next_step_of_a_clip_is_not_refused_when_the_line_is_full(alone: Service) -> None:
    async def test() -> None:
        alone.scheduler = line = Scheduler(slots=1, waiting=0)
        may_end, began = threading.Event(), threading.Event()

        def hold(job: Job) -> None:
            began.set()
            may_end.wait(10)

        held = asyncio.create_task(line.run(Visitor("ann", ""), hold))
        await until(began.is_set)
        with pytest.raises(Busy):
            await line.run(Visitor("bob", ""), lambda job: None)
        goes_on = asyncio.create_task(line.run(Visitor("bob", ""), lambda job: "done", goes_on=True))
        await until(lambda: len(line._line) == 1)
        may_end.set()
        assert await goes_on == "done"
        await held

    in_a_loop(test())


def test_one_visitor_may_have_two_clips_looked_at_at_once(alone: Service, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi")
    model = fake_model()

    async def begin() -> tuple[Any, Any]:
        context = alone.request("video")
        request = await context.__aenter__()
        steps = request.segment_clip(path, model)
        await anext(steps)
        return context, steps

    async def test() -> None:
        begun = [await begin() for _ in range(2)]
        with pytest.raises(Busy):
            await begin()
        for context, steps in begun:
            await steps.aclose()
            await context.__aexit__(None, None, None)
        context, steps = await begin()
        assert [step.done async for step in steps] == [*range(2, 13), 12]
        assert alone.clips_of.total() == 0
        await context.__aexit__(None, None, None)
        async with alone.request("video") as request:
            assert [step.result.cached async for step in request.segment_clip(path, model)] == [True]

    in_a_loop(test())
