"""Times `segment` and `segment_many` on a graphics processor, against torchvision's own forward pass.

    python -m benchmarks.gpu [--runs 30] [--quick]

`--quick` takes less than a minute. It compares the `VARIANTS` for V1 and 100 instances, and lists kernels.

The weights are random V1 and V2 weights, and pictures have 768x1024 pixels. Times are medians in
milliseconds, after runs that do not count. Each time begins with the photo in the host's memory and ends with
the answer there. `ratio` is torchvision's float32 time divided by the contender's. `agreement` compares the
`starter` and its real weights on the example photos with the CPU in float32. The script takes less than three
minutes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from detections import Detections
from inference import BATCH, SegmentationModel, load, segment, segment_many
from network import acceleration, graphs, kernels
from network.acceleration import accelerate
from network.architectures import ARCHITECTURES, COCO_LABELS
from network.fixed import find, layout, padded_size, supports
from network.graphs import Graphs
from network.precision import PRECISIONS, arithmetic, best_precision, has_tf32
from photo.images import read_image
from tools.random_weights import random_network, random_picture

SIZE_HW = (768, 1024)
WARM_UPS = 4
NETWORKS = {"V1": "resnet50_fpn", "V2": "resnet50_fpn_v2"}
VARIANTS: dict[str, dict[str, Any]] = {
    "triton": {"EPILOGUE": "triton", "BENCHMARK": False, "ALLOWED": True},
    "triton, cudnn.benchmark": {"EPILOGUE": "triton", "BENCHMARK": True, "ALLOWED": True},
    "cudnn": {"EPILOGUE": "cudnn", "BENCHMARK": False, "ALLOWED": True},
    "cudnn, cudnn.benchmark": {"EPILOGUE": "cudnn", "BENCHMARK": True, "ALLOWED": True},
    "torch": {"EPILOGUE": "torch", "BENCHMARK": False, "ALLOWED": False},
}
"""Switches of `network.acceleration`, `network.graphs` and `network.kernels`, in this order. "torch" is what
runs where Triton does not."""
SWITCHED = acceleration, graphs, kernels
PHOTOS = sorted((ROOT / "examples").glob("*.png"))


def milliseconds(step: Callable[[int], object], runs: int) -> float:
    """Returns the median time of `step`, which gets a number that differs from run to run."""
    for i in range(WARM_UPS):
        step(i)
    times = []
    for i in range(runs):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(i)
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times), 2)


def peak_mb(step: Callable[[int], object]) -> int:
    """Returns the most memory that torch holds during `step`, in MB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step(0)
    torch.cuda.synchronize()
    return round(torch.cuda.max_memory_reserved() / 1e6)


def clean() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def ours(network: MaskRCNN, name: str, precision: str) -> SegmentationModel:
    """Returns a copy of `network` as `inference.load` prepares it for a graphics processor."""
    place, network = torch.device("cuda"), copy.deepcopy(network)
    accelerate(network, place, PRECISIONS[precision])
    network.to(place)
    assert supports(network)
    return SegmentationModel(
        network, NETWORKS[name], COCO_LABELS, place, precision, "random", "", Graphs(network)
    )


def torchvisions(network: MaskRCNN, pictures: list[Any], half: bool) -> Callable[[int], object]:
    """Returns torchvision's forward pass, masks pasted and brought to the host."""
    network = copy.deepcopy(network).to("cuda")

    def step(i: int) -> object:
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            pixels = torch.from_numpy(pictures[i % len(pictures)]).cuda().permute(2, 0, 1) / 255
            return {key: value.cpu() for key, value in network([pixels])[0].items()}

    return step


def stages(model: SegmentationModel, picture: Any, runs: int) -> dict[str, float]:
    """Returns milliseconds of the stages without a graph, and of the graph alone."""
    network, steps = model.network, {}
    with torch.inference_mode(), arithmetic(model.device, model.precision):
        pixels = torch.from_numpy(picture).cuda().permute(2, 0, 1) / 255
        images, _ = network.transform([pixels])
        maps = network.backbone(images.tensors)
        regions, _ = network.rpn(images, maps)
        height, width = images.image_sizes[0]
        limits = torch.tensor([[width, height, width, height]], dtype=torch.float32, device="cuda")
        known = layout(network, images.tensors)
        timed: dict[str, Callable[[int], object]] = {
            "transform": lambda i: network.transform([pixels]),
            "backbone": lambda i: network.backbone(images.tensors),
            "rpn": lambda i: network.rpn(images, maps),
            "heads": lambda i: network.roi_heads(maps, regions, images.image_sizes),
            "fixed sizes, no graph": lambda i: find(network, images.tensors, limits, known),
        }
        if model.graphs is not None:
            kept = model.graphs
            timed["graph"] = lambda i: kept.find(images.tensors, images.image_sizes)
        for name, step in timed.items():
            steps[name] = milliseconds(step, runs)
    return steps


def launches(step: Callable[[], object], most: int = 20) -> dict[str, Any]:
    """Returns the number of kernels in a step, their time, and the slowest ones: [milliseconds, number]."""
    for _ in range(2):  # the first profile of a process holds other things too
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            step()
            torch.cuda.synchronize()
    rows: dict[str, list[float]] = {}
    ends = []
    for event in profile.events():
        if "CUDA" not in str(event.device_type):
            continue
        name = event.name.removeprefix("void ").replace("at::native::", "")
        name = name.replace("(anonymous namespace)::", "")
        if not name.startswith(("Memcpy", "Memset")):
            ends += [event.time_range.start, event.time_range.end]
        row = rows.setdefault(name[:140], [0.0, 0])
        row[0] += event.time_range.elapsed_us() / 1000
        row[1] += 1
    slowest = sorted(rows.items(), key=lambda item: -item[1][0])[:most]
    return {
        "count": sum(int(row[1]) for row in rows.values()),
        "busy_ms": round(sum(row[0] for row in rows.values()), 3),
        "from_first_to_last_ms": round((max(ends) - min(ends)) / 1000, 3) if ends else None,
        "slowest": {name: [round(ms, 3), count] for name, (ms, count) in slowest},
    }


def difference(found: Detections, expected: Detections) -> dict[str, float]:
    """Returns how far instances are from the expected ones of the same category with the nearest box."""
    sure = expected.select(expected.scores > 0.1)
    boxes, scores, missing = [0.0], [0.0], 0
    for box, score, label in zip(sure.boxes, sure.scores, sure.class_ids, strict=True):
        apart = np.abs(found.boxes - box).max(1) + 1e6 * (found.class_ids != label)
        if not len(apart) or apart.min() > 20:
            missing += 1
            continue
        boxes.append(float(apart.min()))
        scores.append(abs(float(found.scores[apart.argmin()] - score)))
    return {
        "instances": len(sure),
        "missing": missing,
        "box_px": round(max(boxes), 4),
        "score": round(max(scores), 5),
    }


def agreement(precisions: list[str]) -> dict[str, Any]:
    """Compares the starter's real weights on the example photos with float32 on the CPU."""
    photos = [read_image(path) for path in PHOTOS]
    cpu = load("starter", device="cpu", precision="float32")
    expected = [segment(cpu, photo) for photo in photos]
    figures: dict[str, Any] = {}
    for precision in precisions:
        model = load("starter", device="cuda", precision=precision)
        for way, found in {
            "one": [segment(model, photo) for photo in photos],
            "batch": [some[0] for some in (segment_many(model, [photo] * BATCH) for photo in photos)],
        }.items():
            worst: dict[str, float] = {"instances": 0, "missing": 0, "box_px": 0, "score": 0}
            for ours_, theirs in zip(found, expected, strict=True):
                here = difference(ours_, theirs)
                for key, value in here.items():
                    total = key in ("instances", "missing")
                    worst[key] = worst[key] + value if total else max(worst[key], value)
            figures[f"{precision}, {way}"] = worst
        figures[f"{precision}, graphs"] = len(model.graphs) if model.graphs is not None else None
        figures[f"{precision}, ms"] = milliseconds(lambda i: segment(model, photos[i % len(photos)]), 10)  # noqa: B023
    return figures


def uncertain(model: SegmentationModel, pictures: list[Any]) -> int:
    """Returns how many pictures a graph leaves to the stages."""
    assert model.graphs is not None
    count = 0
    for picture in pictures:
        with torch.inference_mode(), arithmetic(model.device, model.precision):
            pixels = torch.from_numpy(picture).cuda().permute(2, 0, 1) / 255
            images, _ = model.network.transform([pixels])
            answer: Tensor | None = model.graphs.find(images.tensors, images.image_sizes)
        count += answer is None or not bool(answer[0, 0, 1])
    return count


def measure_ours(model: SegmentationModel, pictures: list[Any], runs: int, details: bool) -> dict[str, Any]:
    def one(i: int) -> object:
        return segment(model, pictures[i % BATCH])

    def many(i: int) -> object:
        return segment_many(model, pictures)

    assert model.graphs is not None
    start, fewer = time.perf_counter(), max(5, runs // 3)
    first = segment(model, pictures[0])
    row: dict[str, Any] = {"first_ms": round(1000 * (time.perf_counter() - start)), "instances": len(first)}
    row |= {"ms": milliseconds(one, runs), "peak_mb": peak_mb(one)}
    row["batch_ms_per_photo"] = round(milliseconds(many, fewer) / BATCH, 2)
    row |= {"batch_peak_mb": peak_mb(many), "uncertain": uncertain(model, pictures)}
    row["graphs"] = len(model.graphs)
    row["batch_vs_one"] = difference(segment_many(model, pictures)[0], first)
    if details:
        row["stages_ms"] = stages(model, pictures[0], fewer)
        row["one"] = launches(lambda: segment(model, pictures[0]))
        row["batch"] = launches(lambda: segment_many(model, pictures))
    return row


def measure(name: str, instances: int, runs: int, precisions: list[str], details: bool) -> dict[str, Any]:
    network = random_network(ARCHITECTURES[NETWORKS[name]].build).requires_grad_(False)
    network.roi_heads.detections_per_img = instances
    pictures = [random_picture(*SIZE_HW, seed=seed) for seed in range(BATCH)]
    rows: dict[str, Any] = {}
    for label, half in {"torchvision float32": False, "torchvision autocast float16": True}.items():
        step = torchvisions(network, pictures, half)
        rows[label] = {"ms": milliseconds(step, 5), "peak_mb": peak_mb(step)}
        del step
        clean()
    for precision in precisions:
        row = measure_ours(ours(network, name, precision), pictures, runs, details)
        rows[f"ours {precision}"] = row
        print(name, instances, precision, json.dumps(row), file=sys.stderr, flush=True)
        clean()
    theirs = rows["torchvision float32"]["ms"]
    for row in rows.values():
        row["ratio"] = round(theirs / row["ms"], 2)
    return rows


def compare_variants(precisions: list[str], runs: int) -> dict[str, Any]:
    """Measures V1 with 100 instances for each precision and variant."""
    network = random_network(ARCHITECTURES[NETWORKS["V1"]].build).requires_grad_(False)
    network.roi_heads.detections_per_img = 100
    pictures = [random_picture(*SIZE_HW, seed=seed) for seed in range(BATCH)]
    step = torchvisions(network, pictures, False)
    rows: dict[str, Any] = {"torchvision float32": {"ms": milliseconds(step, 5), "peak_mb": peak_mb(step)}}
    del step
    clean()
    for precision in precisions:
        for name, switches in VARIANTS.items():
            if precision != precisions[0] and name in ("cudnn", "torch"):
                continue
            for module, (switch, value) in zip(SWITCHED, switches.items(), strict=True):
                setattr(module, switch, value)
            key = f"{precision}, {name}"
            try:
                details = name.startswith("triton") and precision == precisions[0]
                rows[key] = measure_ours(ours(network, "V1", precision), pictures, runs, details)
                rows[key]["own epilogues"] = kernels.work(torch.device("cuda"))
            except Exception as error:
                rows[key] = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(key, json.dumps(rows[key]), file=sys.stderr, flush=True)
            clean()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=30, help="runs of each kind; times are their medians")
    parser.add_argument("--quick", action="store_true", help="compare the variants of V1 only")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here, and this benchmark measures nothing else.")
    device, start = torch.device("cuda"), time.perf_counter()
    best = best_precision(device)
    precisions = ["float32", *(["tf32"] if has_tf32(device) else []), "float16", "bfloat16"]
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "best": best,
        "size_hw": SIZE_HW,
        "padded_hw": padded_size(ARCHITECTURES["resnet50_fpn"].build().transform, SIZE_HW),
    }
    if arguments.quick:
        precisions = list(dict.fromkeys([best, "float16"]))
        figures["V1, 100"] = compare_variants(precisions, arguments.runs)
        figures["agreement"] = agreement(precisions)
    else:
        figures["agreement"] = agreement(precisions)
        print(json.dumps(figures["agreement"]), file=sys.stderr, flush=True)
        for name in NETWORKS:
            for instances in (100, 20):
                # All precisions once; the rest of the cases only need those that one would choose.
                some = precisions if instances == 100 else [best, "float16"]
                case = measure(name, instances, arguments.runs, list(dict.fromkeys(some)), instances == 100)
                figures[f"{name}, {instances}"] = case
    figures["seconds"] = round(time.perf_counter() - start)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
