# SPDX-License-Identifier: Apache-2.0
"""The dense CRF: error against exact mean field in float64, time on one thread and peak memory, beside pydensecrf.

    python benchmarks/crf.py
    python benchmarks/crf.py --leak

Images are generated, neither phantoms nor real: a label map is the largest of as many smooth random fields as there are
classes; the image has one grey value a class plus smoothed noise; the logits are the blurred label map plus noise.
The published widths and weights (``DenseCRF()``). The reference is ``method="exact"`` on float64 input. pydensecrf has
rows where it can be imported (pip install pydensecrf2). The methods take turns, and the least of the turns counts: wall
seconds, and CPU seconds of the process, which other jobs on the machine disturb less. Peak memory is that of a process
forked for the one call (resident set over that before the call, less the output; Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from wss_monai.functional.crf import exact
from wss_monai.networks import DenseCRF

# spatial shape, classes, channels, batches, images with a reference at most
GRIDS = (
    ((41, 41), 21, 3, (1, 8), 99),
    ((64, 64), 4, 1, (1, 8), 99),
    ((256, 256), 4, 1, (1,), 0),
    ((32, 64, 64), 4, 1, (1,), 0),
    ((16, 32, 32), 4, 1, (1, 8), 2),
)
CUDA_GRIDS = (((256, 256), 21, 1), ((32, 64, 64), 4, 1))
HEAD = ("grid", "batch", "method", "images", "mean dQ", "flips %", "wall s", "CPU s", "wall ratio", "CPU ratio", "MB")
CLEAR = Path("/proc/self/clear_refs")
MB = 1e6


def sample(shape: tuple[int, ...], classes: int, channels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits (1, K, *shape) and image (1, C, *shape) in 0..255."""
    R = np.random.RandomState(seed)
    label = np.argmax([gaussian_filter(R.randn(*shape), 4) for _ in range(classes)], 0)
    grey = label * (200 // classes)
    image = [gaussian_filter(grey + 20 * R.randn(*shape), 0.7).clip(0, 255) for _ in range(channels)]
    logits = [6 * gaussian_filter((label == k).astype(float), 3) + R.randn(*shape) for k in range(classes)]
    return tuple(torch.from_numpy(np.stack(x)[None]).float() for x in (logits, image))


def batch_of(shape: tuple[int, ...], classes: int, channels: int, batch: int) -> tuple[Tensor, Tensor]:
    logits, images = zip(*(sample(shape, classes, channels, seed) for seed in range(batch)), strict=True)
    return torch.cat(logits), torch.cat(images)


def resident(key: str = "VmRSS") -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(key))


def settle() -> None:
    """Hand freed memory back, so that a call cannot live in it unseen."""
    ctypes.CDLL(None).malloc_trim(0)


def peak(given: tuple, method: str) -> float:
    """MB beyond input and output of one call, in a process that has made only a small call before."""
    logits, image = batch_of(*given)
    crf = DenseCRF(method=method)
    crf(*sample((8,) * len(given[0]), given[1], given[2], 0))
    settle()
    CLEAR.write_text("5")  # VmHWM from here on
    before = resident()
    probs = crf(logits, image)
    return resident("VmHWM") - before - probs.numel() * probs.element_size() / MB


def in_fork(function: Callable[..., float], *arguments: object) -> float:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def errors(shape: tuple[int, ...], classes: int, channels: int, images: int, names: list[str]) -> dict[str, tuple]:
    """Method -> mean |dQ|, label flips in %, over ``images`` images."""
    found: dict[str, list] = {name: [] for name in names}
    for seed in range(images):
        logits, image = sample(shape, classes, channels, 100 + seed)
        limit, exact.KEEP_BYTES = exact.KEEP_BYTES, 4 << 30  # the reference keeps its matrix
        reference = DenseCRF(method="exact")(logits.double(), image.double())
        exact.KEEP_BYTES = limit
        for name in names:
            probs = DenseCRF(method=name)(logits, image)
            flips = 100 * (probs.argmax(1) != reference.argmax(1)).double().mean()
            found[name].append(((probs - reference).abs().mean().item(), flips.item()))
    return {name: tuple(np.mean(rows, 0)) for name, rows in found.items()} if images else {}


def timed(logits: Tensor, image: Tensor, names: list[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Method -> least wall and least CPU seconds."""
    best = dict.fromkeys(names, (math.inf, math.inf))
    for turn in range(repeats):
        for name in names:
            if turn and best[name][0] > 8:  # one turn of a slow method is enough
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            DenseCRF(method=name)(logits, image)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = (min(best[name][0], spent[0]), min(best[name][1], spent[1]))
    return best


def line(cells: tuple) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def compare(images: int, repeats: int, chosen: list[int]) -> Iterator[str]:
    """Lines of the table, a grid as soon as it is done."""
    installed = importlib.util.find_spec("pydensecrf") is not None
    cells = {}  # given, method -> MB; first, while this process is small
    for shape, classes, channels, batches, _ in (GRIDS[i] for i in chosen):
        for given in ((shape, classes, channels, batch) for batch in batches):
            for name in ("exact", "lattice", "pydensecrf"):
                if (name != "exact" or math.prod(shape) <= 4096) and (name != "pydensecrf" or installed):
                    cells[given, name] = in_fork(peak, *(given, name)) if CLEAR.exists() else math.nan
    yield f"Generated images, float64 reference, one CPU thread, best of {repeats}.\n\n" + line(HEAD)
    yield line(("---",) * len(HEAD))
    for shape, classes, channels, batches, most in (GRIDS[i] for i in chosen):
        count = min(images, most)
        for given in ((shape, classes, channels, batch) for batch in batches):
            names = [name for other, name in cells if other == given]
            wrong = errors(shape, classes, channels, count, names) if given[3] == 1 else {}
            seconds = timed(*batch_of(*given), names, repeats)
            theirs = seconds.get("pydensecrf", (math.nan, math.nan))
            for name in names:
                grid = "x".join(map(str, (*shape, classes))) + (" RGB" if channels == 3 else "")
                error = (count, f"{wrong[name][0]:.3e}", f"{wrong[name][1]:.3f}") if name in wrong else ("", "", "")
                wall, cpu = seconds[name]
                ratios = f"{wall / theirs[0]:.2f}", f"{cpu / theirs[1]:.2f}"
                yield line(
                    (grid, given[3], name, *error, f"{wall:.4f}", f"{cpu:.4f}", *ratios, f"{cells[given, name]:.1f}")
                )


def on_cuda(repeats: int) -> Iterator[str]:
    yield f"\nLattice on {torch.cuda.get_device_name()}, batch 1.\n\n" + line(("grid", "wall s", "MB"))
    yield line(("---",) * 3)
    for shape, classes, channels in CUDA_GRIDS:
        logits, image = (x.cuda() for x in sample(shape, classes, channels, 0))
        best, used = math.inf, 0.0
        for turn in range(repeats + 1):  # the first warms up
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            torch.cuda.synchronize()
            start = time.perf_counter()
            probs = DenseCRF(method="lattice")(logits, image)
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start) if turn else best
            used = (torch.cuda.max_memory_allocated() - before - probs.numel() * 4) / MB
            del probs
        yield line(("x".join(map(str, (*shape, classes))), f"{best:.4f}", f"{used:.1f}"))


def leak(calls: int) -> Iterator[str]:
    yield "Resident memory at 41x41x21 RGB, after 20 calls.\n\n" + line(("method", "calls", "MB before", "MB after"))
    yield line(("---",) * 4)
    for name, times in (("lattice", calls), ("exact", calls // 5)):
        crf, given = DenseCRF(method=name), sample((41, 41), 21, 3, 0)
        for _ in range(20):
            crf(*given)
        before = resident()
        for _ in range(times):
            crf(*given)
        yield line((name, times, f"{before:.1f}", f"{resident():.1f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5, help="images a grid with a reference (16x32x32: two at most)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--grids", type=int, nargs="+", default=range(len(GRIDS)), help="rows of GRIDS")
    parser.add_argument("--leak", type=int, nargs="?", const=1000, default=0, help="memory over 1000 calls, no more")
    parser.add_argument("--out", type=Path, default=None, help="a file for the tables too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = leak(options.leak) if options.leak else compare(options.images, options.repeats, options.grids)
    if torch.cuda.is_available() and not options.leak:
        parts = chain(parts, on_cuda(options.repeats))
    lines = []
    for part in parts:
        print(part, flush=True)
        lines.append(part)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
