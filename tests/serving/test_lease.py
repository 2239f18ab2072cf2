"""Tests leases. `tests.network.test_zero_gpu` tests them in another process, as on a Zero GPU Space."""

from __future__ import annotations

import numpy as np
import pytest

from inference import SegmentationModel, segment
from network.zero_gpu import NOT_LENT, NotLentError
from serving import lease as lease_module
from serving.lease import LEASE_SECONDS, Lease
from tests.patience import wait_until
from tests.samples import random_image

FRAME = random_image(0, 96, 128)


def test_a_lease_finds_what_the_model_finds_and_says_how_long_it_lasts(
    scenes_model: SegmentationModel,
) -> None:
    lease = Lease(scenes_model)
    wait_until(lambda: lease.seconds_left)
    assert 0 < lease.seconds_left < LEASE_SECONDS
    for _ in range(2):
        found, expected = lease.segment(FRAME, "full"), segment(scenes_model, FRAME)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    lease.give_back()
    wait_until(lambda: lease.over)
    assert lease.seconds_left == 0 and lease.refusal is None
    with pytest.raises(NotLentError, match="No graphics processor could be borrowed"):
        lease.segment(FRAME, "full")
    lease.give_back()


def test_a_lease_ends_when_no_frame_comes(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "QUIET_SECONDS", 0.05)
    lease = Lease(scenes_model)
    wait_until(lambda: lease.over)
    assert lease.refusal is None


def test_a_lease_ends_after_its_time(
    scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "START_SECONDS", LEASE_SECONDS)
    lease = Lease(scenes_model)
    wait_until(lambda: lease.over)
    assert lease.seconds_left == 0


@pytest.mark.parametrize(
    ("error", "sentence"), [(NotLentError("a sentence"), "a sentence"), (RuntimeError("a fault"), NOT_LENT)]
)
def test_if_none_is_lent_a_sentence_says_why(
    error: Exception, sentence: str, scenes_model: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(lease_module, "_serve_on_gpu", refuse)
    lease = Lease(scenes_model)
    wait_until(lambda: lease.over)
    assert lease.refusal == sentence
