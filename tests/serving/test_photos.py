from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import coco
from answer.report import summary
from answer.result import View, names
from inference import segment
from network.detail import CLOSER
from photo.errors import ImageError
from photo.images import read_image
from serving.photos import CLOSE_ENOUGH, FIRST_FRAME, on_device, on_network_thread, segment_file
from serving.scheduler import Abandoned
from tests.samples import CAR, CAT, DOG, fake_model, random_image


def test_networks_run_alone_in_a_thread_of_their_own() -> None:
    names: list[str] = []
    at_once = threading.Semaphore(1)

    def work() -> None:
        assert at_once.acquire(blocking=False)
        names.append(threading.current_thread().name)
        at_once.release()

    threads = [threading.Thread(target=on_network_thread, args=(work,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8 and set(names) == {"network_0"}
    with pytest.raises(ZeroDivisionError):
        on_network_thread(lambda: 1 // 0)


def save_photo(path: Path, height: int, width: int, **options: object) -> Path:
    Image.fromarray(random_image(0, height, width)).save(path, "PNG", **options)
    return path


def test_a_small_photo_is_given_to_the_model_as_it_is(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 60, 80)
    model = fake_model([[0.25, 0.5, 0.75, 1.0]], [CAT], [0.9])
    result = segment_file(path, model)
    assert result.path == path
    assert result.model is model
    np.testing.assert_array_equal(result.working_image, read_image(path))
    assert result.detections.image_size == (60, 80)
    np.testing.assert_allclose(result.detections.boxes, [[20, 30, 60, 60]], atol=1e-4)
    assert names(result.detections, coco.CATEGORIES) == ["cat"]


def test_the_notes_of_a_model_belong_to_each_of_its_results(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 60, 80)
    result = segment_file(path, dataclasses.replace(fake_model(), notes=("The kinds have no names.",)))
    assert result.notes == result.again(path, 0.1).notes == ("The kinds have no names.",)


def test_a_large_photo_is_reduced_for_the_model_and_boxes_come_back_in_its_own_pixels(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 1000, 2000)
    model: Any = fake_model([[0.25, 0.5, 0.75, 1.0]], [CAT], [0.9])
    result = segment_file(str(path), model)
    assert result.working_image.shape == (512, 1024, 3)
    assert model.network.seen == [(512, 1024)]
    assert result.detections.image_size == (1000, 2000)
    np.testing.assert_allclose(result.detections.boxes, [[500, 500, 1500, 1000]], atol=1e-3)


def test_boxes_are_in_pixels_of_the_photo_as_it_is_seen_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save_photo(tmp_path / "photo.png", 60, 80, exif=exif)
    result = segment_file(path, fake_model([[0, 0, 0.5, 0.25]], [CAT], [0.9]))
    assert result.detections.image_size == (80, 60)
    assert result.detections.boxes.tolist() == [[0, 0, 30, 20]]


def test_what_the_model_hardly_believes_is_dropped_and_ids_count_from_1(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 60, 80)
    box = [0.1, 0.1, 0.5, 0.5]
    result = segment_file(path, fake_model([box] * 3, [CAT, DOG, CAR], [0.9, 0.06, 0.04]))
    assert names(result.detections, coco.CATEGORIES) == ["cat", "dog"]
    assert result.detections.ids.tolist() == [1, 2]


def test_a_photo_with_nothing_in_it_is_a_result_too(tmp_path: Path) -> None:
    result = segment_file(save_photo(tmp_path / "photo.png", 60, 80), fake_model())
    assert len(result.detections) == 0


def test_stages_are_told_in_order_and_timed(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    path = save_photo(tmp_path / "photo.png", 60, 80)
    result = segment_file(path, fake_model(), lambda share, stage: told.append((share, stage)))
    shares, stages = zip(*told, strict=True)
    assert 0 < shares[0] <= shares[-1] < 1
    assert list(shares) == sorted(shares)
    assert (stages[0], stages[-1]) == ("Reading the photo", "Looking for objects")
    assert set(result.timings_ms) == {"read", "model"}
    assert all(0 < milliseconds < 60_000 for milliseconds in result.timings_ms.values())


def test_a_second_photo_waits_for_the_network(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 60, 80)
    first, second = fake_model(), fake_model()
    network: Any = first.network
    inside, leave, second_waits, second_looks = (threading.Event() for _ in range(4))
    backbone = network.backbone

    def slow_backbone(images: object) -> object:
        inside.set()
        leave.wait(10)
        return backbone(images)

    def told(share: float, stage: str) -> None:
        if "Waiting" in stage:
            second_waits.set()
        if "Looking" in stage:
            second_looks.set()

    network.backbone = slow_backbone
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(segment_file, path, first)]
        assert inside.wait(10)
        results.append(pool.submit(segment_file, path, second, told))
        assert second_waits.wait(10)
        assert not second_looks.wait(0.1)
        leave.set()
        assert [result.result(10).model for result in results] == [first, second]
    assert second_looks.is_set()


def test_a_file_that_is_no_photo_is_refused_before_the_model_runs(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"words")
    model: Any = fake_model()
    with pytest.raises(ImageError):
        segment_file(path, model)
    assert model.network.seen == []


@pytest.mark.parametrize("size", [(3000, 100), (100, 3000), (1050, 35), (19980, 666)])
def test_the_narrowest_photo_that_is_read_is_also_segmented(size, tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "photo.png")
    assert segment_file(tmp_path / "photo.png", fake_model()).detections.image_size == size[::-1]


def test_of_an_animation_the_first_picture_is_looked_at_and_that_is_said(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "lime")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.gif")
    moving = segment_file(tmp_path / "moving.gif", fake_model())
    still = segment_file(tmp_path / "still.gif", fake_model())
    assert moving.working_image[0, 0].tolist() == [255, 0, 0]
    assert (moving.notes, still.notes) == ((FIRST_FRAME,), ())
    assert (moving.format, still.format) == ("GIF", "GIF")
    assert summary(View(moving)).endswith(FIRST_FRAME)


def test_a_network_that_borrows_a_processor_does_not_wait_for_the_networks_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []
    monkeypatch.setattr("serving.photos.zero_gpu.ACTIVE", True)
    for device in ("cuda", "cpu"):
        on_device(fake_model(device=device), lambda: threads.append(threading.current_thread().name))
    assert threads == [threading.current_thread().name, "network_0"]


def test_what_the_cpu_had_to_do_is_said_with_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    spare = fake_model([[0, 0, 1, 1]], [1], [0.9])

    def fall_back(model: Any, image: Any, *rest: Any) -> Any:
        return segment(spare, image), spare, "The CPU did this."

    monkeypatch.setattr("serving.photos.segment_or_fall_back", fall_back)
    found = segment_file(tmp_path / "photo.png", fake_model())
    assert found.model is spare and found.notes == ("The CPU did this.",)


def test_looking_closer_looks_at_the_photo_and_at_its_parts_at_full_resolution(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 1200, 1600)
    model: Any = fake_model([[0.1, 0.2, 0.2, 0.3]], [CAT], [0.9])
    told: list[str] = []
    result = segment_file(path, model, lambda share, words: told.append(words), detail=CLOSER, seconds=2.0)
    assert model.network.seen == [(768, 1024)] + [(800, 800)] * 6
    assert result.detail == CLOSER and result.working_image.shape == (768, 1024, 3)
    assert result.detections.image_size == (1200, 1600)
    assert len(result.detections) == 7  # the whole photo has one, and so has each part, elsewhere
    assert told[2] == "Looking closer: 0 of 7 looks done, about 14 s left"
    assert told[-1].startswith("Looking closer: 6 of 7 looks done, about ") and len(told) == 9


def test_looking_closer_ends_between_two_looks_when_nobody_waits(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 1200, 1600)
    model: Any = fake_model()

    def stop(share: float, words: str) -> None:
        if "2 of 7" in words:
            raise Abandoned("stop")

    with pytest.raises(Abandoned):
        segment_file(path, model, stop, detail=CLOSER)
    assert len(model.network.seen) == 2


def test_a_small_photo_says_that_looking_closer_changed_nothing(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "photo.png", 60, 80)
    result = segment_file(path, fake_model([[0, 0, 1, 1]], [CAT], [0.9]), detail=CLOSER)
    assert result.notes == (CLOSE_ENOUGH,)
    assert len(result.detections) == 1
