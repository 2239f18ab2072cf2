"""Graphs: runs a network on a graphics processor with one launch instead of hundreds.

A CUDA graph is a recorded sequence of steps, whose sizes and addresses in memory are fixed. `fixed.find` has
fixed sizes for each padded size of images, so there is one graph for each of these. Images are not padded
further, because the network's answers depend on the padding. Source:
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from network.fixed import SHORTEST_SIDE, find, layout

MOST_GRAPHS = 16
"""Graphs kept at the same time. Photos of usual cameras have six padded sizes. Batches of a size need one
more."""
MOST_BYTES = 6 << 30
"""If the graphs' memory grows beyond this, all graphs are dropped, and recording begins anew."""
BENCHMARK = False
"""Whether cuDNN tries several algorithms for each convolution, before a graph is recorded."""
WARM_UPS = 2
"""Runs before the recording, in which libraries make what they cannot make while a graph is recorded."""

Step = Callable[[], Tensor]
"""Runs the network on an image at a fixed place in memory, and gives its answer."""
Record = Callable[[Step, Any], Step]
"""Turns a step into a faster one. The second argument is the memory that all graphs share."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Graph:
    images: Tensor
    limits: Tensor
    known: object
    """The tables that the graph reads. Like `images`, they must stay where they are in memory."""
    run: Step
    answer: Tensor
    """Memory of the host that a graphics processor can write to."""


class Graphs:
    """Runs `fixed.find`, and keeps a graph for each size of images that it has seen lately.

    All graphs share one pool of memory. That is safe, because they run one after the other, and each one's
    answer is copied before the next one runs.

    Args:
        network: A network that `fixed.supports` accepts, on its device.
        record: Records a graph. Tests without a graphics processor give their own.
    """

    def __init__(self, network: GeneralizedRCNN, record: Record | None = None) -> None:
        self._network = network
        self._record = record or record_on_cuda
        self._graphs: OrderedDict[tuple[int, ...], _Graph] = OrderedDict()
        self._failed: set[tuple[int, ...]] = set()
        self._lock = threading.Lock()
        self._pool: Any = None
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._graphs)

    def find(self, images: Tensor, sizes_hw: list[tuple[int, int]]) -> Tensor | None:
        """Finds the instances in padded images. Call it in `precision.arithmetic`, always in the same one.

        Args:
            images: (N, 3, H, W) float32, as the network's transform gives them.
            sizes_hw: The height and width of each image without its padding, in pixels.

        Returns:
            What `fixed.find` gives, on the CPU. None if no graph can be recorded for images of this size.
        """
        key = tuple(images.shape)
        if key[2] < SHORTEST_SIDE or key in self._failed:
            return None
        with self._lock:
            graph = self._graphs.get(key)
            if graph is None:
                try:
                    graph = self._new(images)
                except Exception:
                    logger.warning("No graph for images of %s; they take longer.", key, exc_info=True)
                    self._failed.add(key)
                    return None
                self._graphs[key] = graph
            self._graphs.move_to_end(key)
            graph.images.copy_(images)
            limits = _host(len(sizes_hw), 4, device=images.device)
            for row, (height, width) in zip(limits.numpy(), sizes_hw, strict=True):
                row[:] = width, height, width, height
            graph.limits.copy_(limits, non_blocking=True)
            graph.answer.copy_(graph.run(), non_blocking=True)
            if images.device.type == "cuda":
                torch.cuda.current_stream(images.device).synchronize()
            # NumPy copies in this thread. Torch would wake others up, which takes longer.
            return torch.from_numpy(graph.answer.numpy().copy())

    def _new(self, images: Tensor) -> _Graph:
        """Records a graph, and makes room for it."""
        while len(self._graphs) >= MOST_GRAPHS:
            self._graphs.popitem(last=False)
        still = images.clone(memory_format=torch.channels_last)
        height, width = images.shape[2:]
        limits = images.new_tensor([[width, height, width, height]] * len(images))
        on_cuda = images.device.type == "cuda"
        if not on_cuda:
            known = layout(self._network, still)
            run = self._record(lambda: find(self._network, still, limits, known), None)
        else:
            with torch.cuda.device(images.device):
                known = layout(self._network, still)
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                torch.cuda.empty_cache()  # recording does this too, and the graph's memory is to be counted
                before = torch.cuda.memory_reserved()
                with _cudnn_benchmark(BENCHMARK):
                    run = self._record(lambda: find(self._network, still, limits, known), self._pool)
                self._bytes += max(0, torch.cuda.memory_reserved() - before)
                if self._bytes > MOST_BYTES:
                    self._graphs.clear()
                    self._pool, self._bytes = None, 0
        return _Graph(still, limits, known, run, _host(*run().shape, device=images.device))


def record_on_cuda(step: Step, pool: Any) -> Step:
    """Records `step` as a CUDA graph. What it returns runs the graph, and gives the same tensor every time.

    Raises:
        RuntimeError: The step does what a graph cannot do, or there is too little memory.
    """
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the processor meanwhile, for example to load another model.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        answer = step()

    def run() -> Tensor:
        graph.replay()
        return answer

    return run


@contextmanager
def _cudnn_benchmark(wanted: bool) -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _host(*shape: int, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, pin_memory=device.type == "cuda")
