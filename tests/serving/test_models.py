from __future__ import annotations

import queue
import threading

import pytest

from inference import ModelError, SegmentationModel
from network.weights import WeightsError
from serving import models as models_module
from serving.models import Models
from tests.samples import fake_model


def test_the_model_is_loaded_behind_the_page_and_only_once(scenes_model: SegmentationModel) -> None:
    may_load, loads = threading.Event(), []

    def load() -> tuple[SegmentationModel, str | None]:
        loads.append(1)
        may_load.wait(10)
        return scenes_model, None

    models = Models(load)
    models.start()
    models.start()
    assert models.loading and models.best is None
    may_load.set()
    assert models.get("auto") is scenes_model
    assert not models.loading and models.best is not None and models.best.shortfall is None
    assert loads == [1]


def test_asking_for_auto_starts_the_loading(scenes_model: SegmentationModel) -> None:
    assert Models(lambda: (scenes_model, "no connection")).get() is scenes_model


def test_trying_again_keeps_the_model_at_hand_until_a_better_one_is_there(
    scenes_model: SegmentationModel,
) -> None:
    answers = iter([(scenes_model, "no connection"), (scenes_model, None)])
    may_load = threading.Event()
    may_load.set()

    def load() -> tuple[SegmentationModel, str | None]:
        may_load.wait(10)
        return next(answers)

    models = Models(load)
    models.get()
    may_load.clear()
    models.retry()
    models.retry()  # while the first is under way, a second changes nothing
    assert models.loading and models.get() is scenes_model
    assert models.best is not None and models.best.shortfall == "no connection"
    may_load.set()
    models.start().result(10)
    assert models.best.shortfall is None


def test_a_model_that_lacks_nothing_is_not_loaded_again(scenes_model: SegmentationModel) -> None:
    loads: list[int] = []
    models = Models(lambda: (loads.append(1), (scenes_model, None))[1])  # type: ignore[func-returns-value]
    models.get()
    models.retry()
    assert not models.loading and loads == [1]


def test_whoever_waits_for_the_best_model_is_called_each_time_it_is_loaded(
    scenes_model: SegmentationModel,
) -> None:
    told: queue.Queue[SegmentationModel] = queue.Queue()
    models = Models(lambda: (scenes_model, "no connection"))
    models.when_best(told.put)
    models.get()
    assert told.get(timeout=10) is scenes_model
    models.retry()
    assert told.get(timeout=10) is scenes_model
    models.when_best(told.put)  # it is there already
    assert told.get(timeout=10) is scenes_model


def test_a_fault_in_loading_is_loud_and_can_be_tried_again(
    scenes_model: SegmentationModel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> tuple[SegmentationModel, str | None]:
        raise MemoryError("too little")

    models = Models(fail)
    with pytest.raises(MemoryError):
        models.get()
    assert "no model could be loaded" in caplog.text
    assert models.best is None and not models.loading
    models._load_best = lambda: (scenes_model, None)
    models.retry()
    models.start().result(10)
    assert models.get() is scenes_model


def test_other_names_go_to_the_loader() -> None:
    with pytest.raises(ModelError, match="no model 'yolo'"):
        Models().get("yolo")


def test_a_model_that_could_not_be_had_is_not_looked_for_again_at_once(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def load(name: str) -> SegmentationModel:
        attempts.append(name)
        if len(attempts) == 1:
            raise WeightsError("no connection")
        return scenes_model

    models = Models(load_named=load)
    for _ in range(3):
        with pytest.raises(WeightsError, match="no connection"):
            models.get("resnet50_fpn")
    assert attempts == ["resnet50_fpn"] and models.ready("resnet50_fpn") is None
    monkeypatch.setattr(models_module, "RETRY_SECONDS", 0.0)
    assert models.get("resnet50_fpn") is models.ready("resnet50_fpn") is scenes_model


def test_what_is_in_memory_is_ready_and_nothing_else(scenes_model: SegmentationModel) -> None:
    models = Models(lambda: (scenes_model, None), lambda name: scenes_model)
    assert models.ready() is None and models.ready("scenes") is None
    models.get()
    assert models.ready() is scenes_model


def test_a_model_is_loaded_once_even_if_two_threads_ask_at_once() -> None:
    loads, loading = [], threading.Event()

    def slow(name: str) -> SegmentationModel:
        loads.append(name)
        loading.wait(10)
        return fake_model()

    models, got = Models(load_named=slow), list[SegmentationModel]()
    threads = [threading.Thread(target=lambda: got.append(models.get("scenes"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    loading.set()
    for thread in threads:
        thread.join()
    assert loads == ["scenes"]
    assert len(got) == 4 and all(model is got[0] for model in got)
    assert models.get("scenes") is got[0]


def test_auto_and_the_name_of_the_same_model_share_one_object(
    monkeypatch: pytest.MonkeyPatch, scenes_model: SegmentationModel
) -> None:
    loads: list[str] = []

    def load(name: str) -> SegmentationModel:
        loads.append(name)
        if name == "resnet50_fpn":
            raise WeightsError("no connection")
        return scenes_model

    models = Models(load_named=load)
    assert models.get() is models.get("starter") is models.ready("starter")
    assert loads == ["resnet50_fpn", "starter"]
    assert models.best is not None and models.best.shortfall == "no connection"
    models.retry()
    models.start().result(10)
    assert loads == ["resnet50_fpn", "starter", "resnet50_fpn"]


def test_the_spare_is_loaded_on_the_cpu_unless_the_model_runs_there_already() -> None:
    loads: list[tuple[str, str | None]] = []

    def load(name: str, device: str | None = None) -> SegmentationModel:
        loads.append((name, device))
        return fake_model(device=device or "meta" if name == "scenes" else "cpu")

    models = Models(load_named=load)
    assert models.get("starter") is models.on_cpu("starter")
    assert models.get("scenes").device.type == "meta"
    assert models.on_cpu("scenes") is models.on_cpu("scenes")
    assert models.on_cpu("scenes").device.type == "cpu"
    assert loads == [("starter", None), ("scenes", None), ("scenes", "cpu")]
