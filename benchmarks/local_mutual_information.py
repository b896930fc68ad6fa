# SPDX-License-Identifier: Apache-2.0
"""What the local mutual information costs, forward and backward, against convolutions with the second map as kernel.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/local_mutual_information.py
    python benchmarks/local_mutual_information.py --device cuda

The reference is how one would write it at first: batch and channels swapped, the whole second map is the kernel of a
convolution of the first, which gives all displacements at once, head by head. All sides see the same maps, take turns
in one process and end in the same loss; that their gradients agree is checked. Seconds are medians over the rounds, CPU
time of all threads and wall time; a ratio is the median over the rounds of the reference's CPU time (on a GPU: wall
time) by ours in the same round. Other work on the machine stretches wall time and, through shared caches, CPU time.

Memory is what a step takes at most beyond the maps and their gradients, as a share of the size of both maps. On a CPU
it is the peak of the resident memory of a process of its own, which has done a small step before, so that libraries are
loaded, and gives freed memory back at once (MALLOC_MMAP_THRESHOLD_); what the libraries' own buffers grow by counts. On
a GPU it is the peak of the allocator.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.losses import LocalIICLoss

Case = tuple[tuple[int, ...], tuple[int, ...], int]
Loss = Callable[[Tensor, Tensor], Tensor]

CASES: dict[str, Case] = {
    "2D, 7 x 7": ((10, 20, 224, 224), (3, 3), 1),
    "2D, 7 x 7, five heads": ((10, 100, 224, 224), (3, 3), 5),
    "2D, 3 x 3": ((10, 20, 112, 112), (1, 1), 1),
    "2D, 3 x 3, five heads": ((10, 100, 112, 112), (1, 1), 5),
    "3D, 3 x 3 x 3": ((2, 20, 8, 32, 32), (1, 1, 1), 1),
    "3D, 3 x 3 x 3, larger": ((2, 20, 16, 64, 64), (1, 1, 1), 1),
}
QUICK: dict[str, Case] = {
    "2D, 7 x 7": ((3, 20, 112, 112), (3, 3), 1),
    "2D, 3 x 3, two heads": ((3, 40, 56, 56), (1, 1), 2),
    "3D, 3 x 3 x 3": ((2, 20, 8, 32, 32), (1, 1, 1), 1),
}
OURS = ("shifted_views", "separable")


def convolution(padding: Sequence[int], heads: int) -> Loss:
    """The reference, of maps (N, S*K, *spatial)."""
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(padding) - 1]

    def loss(p: Tensor, q: Tensor) -> Tensor:
        values = []
        for a, b in zip(p.chunk(heads, 1), q.chunk(heads, 1), strict=True):
            counts = convolve(a.transpose(0, 1).contiguous(), b.transpose(0, 1).contiguous(), padding=tuple(padding))
            joint = counts.flatten(2).movedim(2, 0)  # (D, K, K), the displacements backwards: the loss is the same
            joint = joint - joint.min().detach() + 1e-16
            joint = joint / joint.sum((1, 2), keepdim=True)
            joint = (joint + joint.mT) / 2
            marginal = (joint.sum(2) + 1e-16).log()
            cells = joint * ((joint + 1e-16).log() - marginal[:, :, None] - marginal[:, None])
            values.append(-cells.sum((1, 2)).mean())
        return torch.stack(values).mean()

    return loss


def make(side: str, case: Case) -> Loss:
    _, padding, heads = case
    return convolution(padding, heads) if side == "conv" else LocalIICLoss(padding, num_heads=heads, backend=side)


def maps(case: Case, device: str) -> tuple[Tensor, Tensor]:
    """Two views of half-certain clusters that have something to do with one another."""
    shape, _, heads = case
    generator = torch.Generator().manual_seed(0)
    pair = []
    common = torch.randn(shape, generator=generator)
    for _ in range(2):
        logits = 2 * common + torch.randn(shape, generator=generator)
        probs = logits.unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
        pair.append(probs.to(device).requires_grad_())
    return pair[0], pair[1]


def step(loss: Loss, p: Tensor, q: Tensor) -> tuple[float, float]:
    """CPU and wall seconds of a forward and backward pass."""
    p.grad = q.grad = None
    if p.is_cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    loss(p, q).backward()
    if p.is_cuda:
        torch.cuda.synchronize()
    return time.process_time() - cpu, time.perf_counter() - wall


def resident(field: str) -> int:
    """Bytes of this process, from Linux's /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status does not say {field}")


def share(side: str, case: Case, device: str) -> float:
    """Peak memory of a step beyond the maps and their gradients, by the size of both maps."""
    small: Case = ((1, case[0][1], *(8 for _ in case[1])), case[1], case[2])
    step(make(side, small), *maps(small, device))
    p, q = maps(case, device)
    loss, size = make(side, case), 2 * p.numel() * p.element_size()
    if p.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, p, q)
        return (torch.cuda.max_memory_allocated() - before - size) / size
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step(loss, p, q)
    return (resident("VmHWM") - before - size) / size


def share_of_a_child(side: str, case: Case) -> float:
    """The same on a CPU in a fresh process, one thread."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, local_mutual_information as c;"
        f"torch.set_num_threads(1); print(c.share({side!r}, {case!r}, 'cpu'))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    )
    return float(done.stdout.split()[-1])


def check(gradients: dict[str, Tensor]) -> None:
    """Refuse to compare what differs."""
    wanted = gradients["conv"]
    for side in OURS:
        apart = (gradients[side] - wanted).norm() / wanted.norm()
        if not apart < 1e-2:
            raise RuntimeError(f"the gradient of {side} differs from that of the convolution by {apart:.1e} of it")


def measure(case: Case, device: str, rounds: int) -> list[str]:
    """Cells of a row: seconds of each side, ratios."""
    losses = {side: make(side, case) for side in ("conv", *OURS)}
    p, q = maps(case, device)
    small: Case = ((1, case[0][1], *(8 for _ in case[1])), case[1], case[2])
    for loss in losses.values():  # what is done once only
        step(loss, *maps(small, device))
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in losses}
    gradients: dict[str, Tensor] = {}
    for number in range(rounds):
        for side in list(losses)[:: 1 if number % 2 else -1]:
            times[side].append(step(losses[side], p, q))
            if number == 0 and p.grad is not None:
                gradients[side] = p.grad
    check(gradients)
    which = 1 if p.is_cuda else 0
    cells = []
    for taken in times.values():
        cells.append(" / ".join(f"{statistics.median(t[kind] for t in taken):.3f}" for kind in (0, 1)))
    for side in OURS:
        ratios = [a[which] / b[which] for a, b in zip(times["conv"], times[side], strict=True)]
        cells.append(f"{statistics.median(ratios):.1f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="small maps, one round")
    parser.add_argument("--only", default="", help="cases with this text in their name")
    options = parser.parse_args()
    heads = ["maps", "shape", "threads", "conv s (CPU / wall)", "shifted views s", "separable s"]
    heads += ["conv / shifted views", "conv / separable", "memory: conv", "shifted views", "separable"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for name, case in (QUICK if options.quick else CASES).items():
        if options.only not in name:
            continue
        if options.device == "cuda":
            shares = [share(side, case, "cuda") for side in ("conv", *OURS)]
        else:
            shares = [share_of_a_child(side, case) for side in ("conv", *OURS)]
        for threads in options.threads if options.device == "cpu" else [torch.get_num_threads()]:
            torch.set_num_threads(threads)
            cells = measure(case, options.device, 1 if options.quick else options.rounds)
            cells += [f"{taken:.2f}" for taken in shares]
            shape = " x ".join(map(str, case[0]))
            print(f"| {name} | {shape} | {threads} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
