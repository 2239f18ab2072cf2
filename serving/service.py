"""Service: runs the work of each request, in fair turns and within limits.

The page and the API both open a request with `Service.request`, which turns every error into one sentence for
the visitor. When the request ends, one line of JSON goes into the log. The line says what was asked for, how
long the request took, and how it ended. The line holds no names and no contents of uploads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import json
import logging
import math
import re
import secrets
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from answer.progress import OnStage, ignore_stage
from answer.result import Result
from answer.settings import SettingsError, check_clip_detail, said
from clips.look import Plan
from inference import NAMES, ModelError, SegmentationModel, detail_of, looks_of
from network import zero_gpu
from network.detail import FULL_DETAIL
from network.ideas import NoIdeasError
from network.weights import WeightsError
from photo.archive import Unpacked, has_zip, safe_name, unique_names, unpack
from photo.errors import ImageError, too_many_bytes
from photo.fetch import fetch, is_bare_picture
from photo.limits import MAX_FILE_BYTES, MAX_MANY_BYTES, MAX_MANY_PIXELS, MAX_PHOTOS
from serving.clips import ClipProgress, ClipResults, plan_clip_file, segment_clip_file
from serving.disk import FULL, MEGABYTE, Disk, Reservation
from serving.janitor import touch
from serving.many import (
    TOO_LARGE,
    TOO_MANY_PIXELS,
    ZIP_AMONG_OTHERS,
    ManyProgress,
    Sent,
    seconds_left,
    with_pixels,
)
from serving.models import Models
from serving.photos import segment_file
from serving.results import Results
from serving.scheduler import Abandoned, Busy, Job, Scheduler, TookTooLong, Visitor, wanted_result
from serving.sessions import named
from serving.steps import Steps
from serving.timing import Seconds

T = TypeVar("T")

FETCHES, FETCHES_EACH = 8, 2
"""The number of pictures that are fetched from the web at once: in all, and for one visitor's address."""
CLIPS, CLIPS_EACH = 4, 2
"""The number of clips that are looked at side by side: in all, and for one visitor's address."""
MANY, MANY_EACH = 8, 2
"""The number of groups of photos that are looked at side by side: in all, and for one visitor's address."""
DEFLATE_RATIO = 1032
"""No file in a ZIP becomes larger than this when it is unpacked, compared with what it takes in the ZIP."""
ROOM_BYTES = 64 * MEGABYTE
"""The room for a file whose size nobody has estimated. A picture of 12 megapixels needs less."""
RESTARTING = "The server is restarting. Please try again in a minute."
SLOTS = 2
"""The number of photos that are worked on at once: one is in the network, one is read or written."""
LOAD_SECONDS = 900.0
"""The longest time that a request waits for its model. The model may have to be downloaded first."""
EXPECTED_ERRORS = (ImageError, ModelError, NoIdeasError, SettingsError, WeightsError)
"""Errors whose message is written for the visitor who caused the error or is affected by it."""
OUTCOMES: dict[type[BaseException], str] = {
    Busy: "busy",
    TookTooLong: "too long",
    Abandoned: "abandoned",
    asyncio.CancelledError: "cancelled",
    MemoryError: "out of memory",
}

log = logging.getLogger("requests")


class Service:
    """Everything that the requests of one app share: the models, and the lines of waiting requests.

    Args:
        scheduler: The line for photos, which take seconds.
        views: The line for views of a result, which take milliseconds and do not wait for photos.
        disk: The room for files in the folder of uploads.
        results: What was found in photos before.
    """

    def __init__(
        self,
        models: Models,
        scheduler: Scheduler | None = None,
        views: Scheduler | None = None,
        disk: Disk | None = None,
        results: Results | None = None,
    ) -> None:
        self.models = models
        self.results = results or Results()
        self.disk = disk or Disk(Path(get_upload_folder()))
        self.disk.in_use = self._in_use
        self.requests: set[Request] = set()
        """The requests that have not ended, and those whose work still runs."""
        self.closing = self.giving_up = False
        self.scheduler = scheduler or Scheduler(zero_gpu.LEASES if zero_gpu.ACTIVE else SLOTS)
        self.views = views or Scheduler(waiting=100, waiting_each=50, wait_seconds=30.0, run_seconds=60.0)
        self.seconds = Seconds()
        self.steps = Steps()
        self.clips = ClipResults()
        self.clips_of: Counter[str] = Counter()
        """How many clips each address has that are being looked at."""
        self.many_of: Counter[str] = Counter()
        """How many groups of photos each address has that are being looked at."""
        self._fetching: Counter[str] = Counter()

    async def fetch(self, url: str) -> Path:
        """Fetches the picture at a web address or in a data URL, and returns its file.

        Raises:
            ImageError: As `photo.fetch.fetch`.
            Busy: Too many pictures are being fetched already.
        """
        address = _visitor().address
        if self._fetching.total() >= FETCHES or self._fetching[address] >= FETCHES_EACH:
            raise Busy("Too many pictures are being fetched just now. Please try again in a minute.")
        self._fetching[address] += 1
        try:
            return await fetch(url, await asyncio.to_thread(new_folder, MAX_FILE_BYTES))
        finally:
            self._fetching[address] -= 1
            self._fetching += Counter()  # drops the addresses whose count is 0

    def look_ahead(self, photos: Iterable[Path]) -> None:
        """Finds what the owner's photos show behind the page, so that they answer at once.

        On a Zero GPU Space the CPU does this, because only visitors are lent the graphics processor.
        """
        photos = tuple(photos)

        def look(model: SegmentationModel) -> None:
            runs = self.models.on_cpu(model.name) if zero_gpu.ACTIVE else model
            for photo in photos:
                if self.closing:
                    return
                self.results.get(
                    photo, model, ignore_stage, functools.partial(segment_file, photo, runs), lasting=True
                )

        self.models.when_best(look)

    @asynccontextmanager
    async def request(self, kind: str, on_stage: OnStage = ignore_stage) -> AsyncIterator[Request]:
        """Opens a request, and closes it at the end of the `with` block.

        Every error in the block comes out as `gr.Error` with a sentence. Only a cancellation stays as it is.

        Args:
            kind: The kind of request, as the log names it.
            on_stage: Gets the progress of the work, as `Job.stage` reports it.
        """
        request = Request(self, kind, on_stage)
        self.requests.add(request)
        token = _current.set(request)
        try:
            if self.closing:
                raise Busy(RESTARTING)
            yield request
        except EXPECTED_ERRORS as error:
            request.refuse(error)
            raise gr.Error(str(error), print_exception=False) from error
        except (Busy, TookTooLong, Abandoned) as error:
            request.outcome = OUTCOMES[type(error)]
            raise gr.Error(str(error), print_exception=False) from error
        except asyncio.CancelledError:
            request.outcome = "cancelled"
            raise
        except gr.Error as error:  # the Space lent no graphics processor; the words are for the visitor
            request.fail(error)
            raise
        except BaseException as error:
            request.fail(error)
            raise gr.Error(_apology(error, request.id), print_exception=False) from error
        finally:
            with contextlib.suppress(ValueError):  # a generator ends in another context than it began in
                _current.reset(token)
            request.close()

    def close(self) -> None:
        """Refuses new requests, and the requests that wait for their turn. The work that runs goes on."""
        self.closing = True

    def give_up(self) -> None:
        """Ends the requests whose work still runs. They are told that the server is restarting."""
        self.closing = self.giving_up = True

    def _in_use(self) -> Iterator[Path]:
        """Yields the files and folders that the requests need."""
        for request in list(self.requests):
            yield from request.files()


class Request:
    """One request, from its first check to its answer."""

    def __init__(self, service: Service, kind: str, on_stage: OnStage) -> None:
        self.id = secrets.token_hex(4)
        self.outcome = "ok"
        self._service, self._job, self._on_stage = service, Job(on_stage), on_stage
        self._start = time.perf_counter()
        self._closed = False
        self._working = 0
        self._lock = threading.Lock()
        self._photos: set[Path] = set()
        self._folders: dict[Path, Reservation] = {}
        self._facts: dict[str, object] = {"id": self.id, "kind": kind}
        # A generator goes on in other contexts, in which Gradio does not say whose request it handles.
        self._context = copy_context()

    async def photo(self, image: object) -> Path:
        """Returns the file of the image that a client sent.

        The image is an upload, or it is fetched. A web address, a data URL and a picture in base64 are
        fetched.

        Raises:
            ImageError: The image is none of these, or cannot be fetched. Any path outside the folder of
                uploads is refused.
            Busy: Too many pictures are being fetched already.
        """
        path = await self._file(image, "image", "picture", "photo.jpg")
        # The reader says what is wrong with a file that is not there.
        if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
            raise too_many_bytes()
        return path

    async def clip(self, video: object) -> Path:
        """Returns the file of the clip that a client sent, as `photo` does.

        Raises:
            ImageError: As `photo`. A clip that is fetched may be as large as a photo.
            Busy: As `photo`.
        """
        return await self._file(video, "video", "clip", "clip.mp4")

    async def photos(self, images: object) -> tuple[list[Sent], tuple[str, ...]]:
        """Returns the photos that a client sent together, and sentences about what was left out.

        What is wrong with one photo is said of this photo, and the others are taken.

        Args:
            images: A list of images, each as for `photo`. Or one ZIP, alone or in a list.

        Raises:
            ImageError: There is no photo, there are too many or too large ones, or the ZIP cannot be used.
            Busy: As `photo`.
        """
        listed = list(images) if isinstance(images, list | tuple) else [images]
        if not listed or listed == [None]:
            raise ImageError("images: no photo was sent. Expected a list of photos, or one ZIP.")
        if len(listed) > MAX_PHOTOS:
            raise ImageError(f"images: expected at most {MAX_PHOTOS} photos, got {len(listed)}.")
        files: list[tuple[Path | None, str]] = []
        size = 0
        for image in listed:
            try:
                path = await self._file(image, "images", "picture", "photo.jpg")
            except ImageError as error:
                files.append((None, str(error)))
                continue
            files.append((path, ""))
            size += path.stat().st_size if path.exists() else 0
            if size > MAX_MANY_BYTES:  # before more photos are fetched
                raise ImageError(TOO_LARGE)
        (first, fault), *others = files
        if not others and first is None:
            raise ImageError(fault)
        if not others and first is not None and has_zip(first):
            archive = first

            def take_out(job: Job) -> Unpacked:
                room = min(MAX_MANY_BYTES, archive.stat().st_size * DEFLATE_RATIO)
                folder = new_folder(room + MEGABYTE)
                return unpack(archive, folder, lambda k, count: job.stage(0.1, "Unpacking the photos"))

            unpacked = await self.run(take_out)
            return [Sent(path.stem, path) for path in unpacked.files], unpacked.notes
        names = unique_names([safe_name(path.name if path else "photo") for path, _ in files])
        return [
            Sent(name, None, ZIP_AMONG_OTHERS) if path and has_zip(path) else Sent(name, path, fault)
            for name, (path, fault) in zip(names, files, strict=True)
        ], ()

    def annotations(self, path: object) -> Path:
        """Returns the file of annotations that the page has uploaded with a photo.

        Raises:
            SettingsError: It is no upload.
        """
        if not isinstance(path, str) or not _is_upload(Path(path)):
            raise SettingsError("annotations: expected an uploaded file.")
        keep(Path(path))
        return Path(path)

    async def _file(self, sent: object, argument: str, what: str, example: str) -> Path:
        path = _field(sent, "path")
        url = path or _field(sent, "url")  # Gradio gives an upload a URL in addition to its path
        if url != path or (url and (re.match("(https?|data):", url) or is_bare_picture(url))):
            return await self._service.fetch(str(url))
        if path is None:
            raise ImageError(
                f"{argument}: no {what} was sent. With the Python client, use handle_file('{example}')."
            )
        if not _is_upload(Path(path)):
            raise ImageError(
                f"{argument}: expected an uploaded file. "
                f"With the Python client, use handle_file('{example}')."
            )
        keep(Path(path))
        return Path(path)

    async def model(self, name: object) -> SegmentationModel:
        """Waits until the model of this name is loaded, and returns it.

        Raises:
            ModelError, WeightsError: As `inference.load`.
            TookTooLong: The model is still being loaded after `LOAD_SECONDS`.
            Abandoned: Nobody waits for the answer any more.
            Busy: The server is restarting.
        """
        if name not in NAMES:
            raise ModelError(f"model: expected one of {', '.join(NAMES)}, got {said(name)}.")
        if (ready := self._service.models.ready(str(name))) is not None:
            return ready
        self._job.stage(0.0, "Loading the model (the first time takes longest)")
        loading = asyncio.wrap_future(self._service.models.start(str(name)))
        try:
            return await wanted_result(loading, LOAD_SECONDS, self._is_wanted)
        except TimeoutError as error:
            raise TookTooLong("The model is still being loaded. Please try again in some minutes.") from error

    async def look(self, work: Callable[[], T]) -> T:
        """Runs `work` as `run` does, but in the line for work that takes milliseconds.

        The work does not wait for photos. The request is logged only if it fails.
        """
        self._facts["look"] = True
        return await self.run(lambda job: work(), self._service.views)

    async def glance(self, work: Callable[[Job], T]) -> T:
        """Runs `work` for a frame of a live camera, in the line for photos, but never beside a photo.

        On a Zero GPU Space photos and frames have processors of their own, and may run side by side. The
        request is logged only if it fails.
        """
        self._facts["look"] = True
        return await self.run(work, apart=not zero_gpu.ACTIVE)

    async def turns(self, steps: Generator[T, None, None]) -> AsyncGenerator[T, None]:
        """Yields what a generator yields. It runs in a thread, and each of its steps has a turn of its own.

        So a clip does not hold up the photos of others. Closing this generator ends `steps`. If a step runs
        then, `steps` ends with it.
        """
        goes_on = False
        try:
            while (step := await self.run(lambda job: next(steps, None), goes_on=goes_on)) is not None:
                goes_on = True
                yield step
        finally:
            with contextlib.suppress(ValueError):  # a step still runs
                steps.close()

    async def segment_many(
        self, photos: Sequence[Sent], model: SegmentationModel, detail: str = FULL_DETAIL
    ) -> AsyncGenerator[ManyProgress, None]:
        """Yields what `model` finds in each of these photos, with a turn for each photo.

        What is wrong with one photo is said of this photo. Use it with `contextlib.aclosing`.

        Raises:
            Busy: Too many requests wait, or too many of such requests are worked on.
        """
        service = self._service
        pixels, worked = 0, []
        self._facts |= {"photos": len(photos), "model": model.name}
        with self._place(service.many_of, MANY, MANY_EACH, "photos"):
            for k, sent in enumerate(photos):
                for later in photos[k:]:
                    if later.path is not None:
                        keep(later.path)
                        self.needs(later.path)
                start, result, fault = time.perf_counter(), None, sent.fault
                if sent.path is not None and pixels >= MAX_MANY_PIXELS:
                    fault = TOO_MANY_PIXELS
                elif sent.path is not None:
                    result, fault = await self._one_of_many(sent.path, model, detail, k > 0)
                if result is not None:
                    pixels += math.prod(result.detections.image_size)
                    worked += [] if result.cached else [time.perf_counter() - start]
                left = seconds_left(worked, service.seconds.expected(model, detail), len(photos) - k - 1)
                yield ManyProgress(k, result, fault, k + 1, len(photos), left)

    async def _one_of_many(
        self, path: Path, model: SegmentationModel, detail: str, goes_on: bool
    ) -> tuple[Result | None, str]:
        """Returns what was found in a photo, or why there is nothing."""
        try:
            if path.exists() and path.stat().st_size > MAX_FILE_BYTES:  # the reader says what is not there
                raise too_many_bytes()
            return await self.run(lambda job: self.segment(path, model, job, detail), goes_on=goes_on), ""
        except (ImageError, TookTooLong) as error:
            fault = str(error)
        except (*EXPECTED_ERRORS, Busy, Abandoned, gr.Error):
            raise
        except Exception as error:  # `run` has noted it for the log
            fault = _apology(error, self.id)
        self.outcome = "ok"
        self._job = Job(self._on_stage)  # the one before was given up with its photo
        return None, fault

    def plan_clip(
        self, path: Path, model: SegmentationModel, detail: str = FULL_DETAIL
    ) -> tuple[Plan, tuple[str, ...]]:
        """Returns what `segment_clip` will look at and how long that takes, as `plan_clip_file` does.

        Raises:
            SettingsError: The detail is for photos only.
        """
        check_clip_detail(detail)
        return plan_clip_file(path, self._service.seconds.expected(model, detail))

    async def segment_clip(
        self, path: Path, model: SegmentationModel, detail: str = FULL_DETAIL, stride: int = 0
    ) -> AsyncGenerator[ClipProgress, None]:
        """Yields what `model` finds in a clip's file, as `segment_clip_file` does, with a turn for each step.

        Notes facts for the log. Use it with `contextlib.aclosing`.

        Raises:
            SettingsError: As `plan_clip`.
        """
        check_clip_detail(detail)
        service, seconds = self._service, self._service.seconds
        kept = await self.run(lambda job: service.clips.find(path, model, detail, stride))
        if kept is not None:
            self._facts |= {"model": kept.model.name, "frames": len(kept.looks), "cached": True}
            yield ClipProgress((), len(kept.looks), len(kept.looks), 0.0, 0.0, kept)
            return
        steps = segment_clip_file(
            path, model, seconds.expected(model, detail), service.models.on_cpu, detail, stride
        )
        with self._place(service.clips_of, CLIPS, CLIPS_EACH, "clips"):
            async with contextlib.aclosing(self.turns(steps)) as turns:
                async for progress in turns:
                    self._note(progress)
                    if progress.result.is_whole:
                        await asyncio.to_thread(service.clips.keep, progress.result, model, detail, stride)
                    if progress.result.is_whole and progress.result.model is model:
                        seconds.note(model, detail_of(model, detail), progress.result.seconds / progress.done)
                    yield progress

    def _note(self, progress: ClipProgress) -> None:
        """Notes for the log how far a clip is, and reports it."""
        result = progress.result
        height, width = result.facts.size
        self._facts |= {"format": result.facts.format, "width": width, "height": height}
        self._facts |= {"model": result.model.name, "stride": result.stride, "frames": progress.done}
        self._job.stage(min(0.98, progress.done / progress.frames), progress.words)

    @contextlib.contextmanager
    def _place(self, taken: Counter[str], most: int, each: int, what: str) -> Iterator[None]:
        """Takes one of the places for long work, such as clips, each of which holds a process.

        Args:
            taken: How many places each address has.
            most, each: How many there are in all, and for one address.
            what: What the work is about, for the visitor.

        Raises:
            Busy: No place is free.
        """
        address = self._context.run(_visitor).address
        if taken.total() >= most or taken[address] >= each:
            raise Busy(f"Too many {what} are being looked at just now. Please try again in a minute.")
        taken[address] += 1
        try:
            yield
        finally:
            taken[address] -= 1
            taken += Counter()  # drops the addresses whose count is 0

    async def run(
        self,
        work: Callable[[Job], T],
        line: Scheduler | None = None,
        *,
        goes_on: bool = False,
        apart: bool = False,
    ) -> T:
        """Runs `work` in a thread when its turn has come, and returns what `work` returns.

        Args:
            line: The line to wait in. None means the line for photos.
            goes_on, apart: As for `Scheduler.run`.
        """

        def loudly(job: Job) -> T:
            _current.set(self)
            self._facts.setdefault("waited_ms", self._milliseconds())
            with self._lock:
                self._working += 1
            try:
                return work(job)
            except (*EXPECTED_ERRORS, Abandoned):
                raise
            except BaseException as error:  # noted here, because perhaps nobody waits for it any more
                self.fail(error)
                if isinstance(error, StopIteration):  # a future cannot carry it, and the visitor would wait
                    raise RuntimeError("StopIteration") from error
                raise
            finally:
                with self._lock:
                    self._working -= 1
                self._clear()

        visitor = self._context.run(_visitor)
        return await (line or self._service.scheduler).run(
            visitor, loudly, self._job, self._is_wanted, goes_on, apart
        )

    def segment(self, path: Path, model: SegmentationModel, job: Job, detail: str = FULL_DETAIL) -> Result:
        """Returns what `model` finds in a photo's file, as `segment_file` does, and notes facts for the log.

        If the same photo was looked at before, the network does not run.
        """
        spare = self._service.models.on_cpu
        result = self._service.results.get(
            path,
            model,
            job.stage,
            lambda: segment_file(
                path, model, job.stage, spare, detail, self._service.seconds.expected(model, detail)
            ),
            detail,
        )
        height, width = result.detections.image_size
        self._facts |= {"format": result.format, "width": width, "height": height}
        self._facts |= {"model": result.model.name, "instances": len(result.detections)}
        if not result.cached:
            looks = looks_of(result.model, result.detections.image_size, result.detail)
            self._service.seconds.note(result.model, result.detail, result.timings_ms["model"] / 1000 / looks)
        self._facts |= {"detail": result.detail} if result.detail != FULL_DETAIL else {}
        self._facts |= {"cached": True} if result.cached else {}
        return result

    def reopened(self, result: Result) -> Result:
        """Returns a `serving.many.light` result with its photo's pixels. No network runs.

        Raises:
            ImageError: The photo's file is gone.
        """
        keep(result.path)
        return self._service.results.get(
            result.path, result.model, ignore_stage, lambda: with_pixels(result), result.detail
        )

    def expected_seconds(self, path: Path, model: SegmentationModel, detail: str = FULL_DETAIL) -> float:
        """Returns how long `model` will probably need for a photo, in seconds: 0 if its result is kept.

        For "closer" it is the time of one look (`inference.looks_of`).
        """
        if self._service.results.holds(path, model, detail):
            return 0.0
        return self._service.seconds.expected(model, detail)

    def tell(self, share: float, words: str) -> None:
        """Reports the progress of the work, as `Job.stage` does."""
        self._job.stage(share, words)

    def needs(self, photo: Path) -> None:
        """Protects a photo's file from being deleted to make room, until the request has ended."""
        self._photos.add(photo)

    def takes(self, folder: Path, room: int) -> None:
        """Reserves room for the files that will be written into `folder`, until the request has ended.

        If the request does not end well, the folder is deleted with it.

        Raises:
            DiskFull: There is too little room.
        """
        self._folders[folder] = self._service.disk.reserve(room, folder)
        self._clear()  # the request may have ended while the room was looked for

    def files(self) -> list[Path]:
        """Returns the files and folders that the request needs."""
        return [*list(self._photos), *list(self._folders)]

    def refuse(self, error: BaseException) -> None:
        """Notes for the log that the request was wrong and that the visitor was told why."""
        self.outcome = f"refused: {type(error).__name__}"

    def fail(self, error: BaseException) -> None:
        """Notes a fault for the log: where it came from, and its message without names of uploads."""
        self.outcome = OUTCOMES.get(type(error), "fault")
        if "error" not in self._facts:
            frames = traceback.extract_tb(error.__traceback__)
            self._facts["error"] = f"{type(error).__name__}: {_without_uploads(str(error))}"
            self._facts["where"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
            if self._closed:  # the visitor has left, and the line was written without the fault
                self.close()

    def close(self) -> None:
        """Ends the request: writes its line into the log, and frees its files when its work has ended."""
        self._closed = True
        facts = self._facts | {"outcome": self.outcome, "ms": self._milliseconds()}
        well = logging.DEBUG if facts.pop("look", False) and self.outcome == "ok" else logging.INFO
        log.log(logging.ERROR if "error" in facts else well, json.dumps(facts))
        self._clear()

    def abandon(self) -> None:
        """Deletes what the request has written. For work that does not end before the process does."""
        for folder in list(self._folders):
            shutil.rmtree(folder, ignore_errors=True)

    def _clear(self) -> None:
        """Ends the reservations of a request that has ended, unless its work still runs.

        Deletes its folders if it did not end well, because nobody knows of the files in them.
        """
        with self._lock:
            if self._working or not self._closed:
                return
            folders, self._folders = self._folders, {}
        for folder, reservation in folders.items():
            if self.outcome != "ok":
                shutil.rmtree(folder, ignore_errors=True)
            self._service.disk.release(reservation)
        self._service.requests.discard(self)

    def _is_wanted(self) -> bool:
        """Returns whether the client still waits.

        Raises:
            Busy: The server is restarting, and cannot wait for this request.
        """
        if self._service.giving_up or (self._service.closing and not self._working):
            raise Busy(RESTARTING)
        return self._context.run(_is_wanted)

    def _milliseconds(self) -> int:
        return round((time.perf_counter() - self._start) * 1000)


_current: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request that is handled now, also in the thread that does its work."""


def new_folder(room: int = ROOM_BYTES) -> Path:
    """Makes a new folder from which Gradio serves files, and returns its path.

    The request that is handled now owns the folder: it reserves `room` bytes on the disk until it has ended,
    and deletes the folder if it does not end well.

    Args:
        room: The largest size of the files that will be written into the folder, in bytes.

    Raises:
        DiskFull: There is too little room.
    """
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=get_upload_folder()))
    if (request := _current.get()) is not None:
        try:
            request.takes(folder, room)
        except BaseException:
            folder.rmdir()
            raise
    return folder


def keep(path: Path) -> None:
    """Marks a photo as used just now, so that the janitor does not delete it.

    The request that is handled now keeps the photo until it has ended.
    """
    if _is_upload(path):
        touch(path)
        if (request := _current.get()) is not None:
            request.needs(path)


def leave_addresses_alone() -> None:
    """Stops Gradio from fetching web addresses, which clients may write anywhere in a request.

    Gradio would fetch them before the request has its turn, and without limits of size and number. It also
    takes some addresses for public that are not public. `Request.photo` fetches only the photo's address.
    """

    async def unread(url: str, cache_dir: str) -> str:
        return url

    processing_utils.async_ssrf_protected_download = unread


def _is_upload(path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (ValueError, OSError):  # no file can have this name
        return False


def _field(image: object, name: str) -> str | None:
    value = image.get(name) if isinstance(image, dict) else getattr(image, name, None)
    return value if isinstance(value, str) and value else None


def _visitor() -> Visitor:
    """Returns the visitor whose request Gradio handles now.

    The visitor's address is the one that a proxy forwards, which uvicorn reads, or else the connection's own
    address. An IPv6 address is replaced by its /64 network, because a subscriber has all addresses in it.
    """
    request = LocalContext.request.get(None)
    if request is None:
        return Visitor("", "")
    host = request.client.host if request.client else ""
    with contextlib.suppress(ValueError):  # the host is a name, or empty
        if (address := ipaddress.ip_address(host)).version == 6:
            host = str(ipaddress.ip_network((address, 64), strict=False))
    return Visitor(host, named(request.session_hash))


def _is_wanted() -> bool:
    """Returns whether the client still waits. Gradio knows this, but only its private queue holds it."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event: Any = blocks._queue.event_ids_to_events.get(event_id) if blocks and event_id else None
    return event is None or event.alive


def _apology(error: BaseException, id: str) -> str:
    if isinstance(error, MemoryError):
        return "The server ran out of memory. Please try a smaller photo, or try again in a minute."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return FULL
    return f"Something went wrong on the server. Please try again; if it happens again, report number {id}."


def _without_uploads(text: str) -> str:
    """Returns `text` without paths in the folder of uploads, because visitors chose the names of uploads."""
    return re.sub(re.escape(get_upload_folder()) + ".*", "(a file)", text)
