# SPDX-License-Identifier: Apache-2.0
"""One shift of the log-probability a class, such that classes get the sizes that a set of images is known to show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wss_monai.functional.transfer import send

__all__ = ["ClassShift", "class_shift"]

STEPS = 24
"""Bisections: of a range of 8 they leave 5e-7."""


@dataclass(frozen=True)
class ClassShift:
    """What was solved, and how well.

    Attributes:
        shift: (K,) to add to the log-probabilities; 0 for background and for classes without an expected size.
        before: (K,) size of the set without any shift, as a multiple of the expected one; NaN where there is none.
        after: (K,) the same with the shift.
    """

    shift: Tensor
    before: Tensor
    after: Tensor


@torch.no_grad()
def class_shift(
    probs: Sequence[Tensor],
    sizes: Tensor,
    expected: Tensor,
    possible: Tensor | None = None,
    *,
    tolerance: float = 0.05,
    cap: float = 4.0,
    rounds: int = 3,
) -> ClassShift:
    """Shift the log-probabilities of whole classes until the hard sizes of the set are the expected ones.

    A voxel belongs to the class with the greatest shifted log-probability. A class whose size is beyond ``tolerance``
    of the expected one is shifted, by bisection, to where it just is not; then the next class, in several rounds, since
    one class takes voxels from the others. The voxels nearest to the decision change first, so that most change in the
    images of which the prediction is least sure. What a single image shows is not constrained.

    The same shift for all images is what keeps a projection of the sizes of a set from being one of each image; the
    multipliers of Csiszar's I-projection onto constraints on expectations have this form.

    Args:
        probs: of each of S images (K, *spatial).
        sizes: (S, K) what a voxel of an image counts for a class (mm2, ml); 0: the image does not count for it.
        expected: (K,) sum over the images that count, in the same unit; NaN or 0: nothing is known of the class. On a
            GPU it is waited for, on the host nothing is.
        possible: (S, K) whether an image can show a class at all; None: everything can be.
        tolerance: relative, 0 or more.
        cap: greatest shift in either direction.
        rounds: over all classes.

    Raises:
        ValueError: numbers out of range, or shapes that do not fit.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be at least 0 and below 1, got {tolerance}.")
    if not 0 < cap < math.inf or rounds < 1:
        raise ValueError(f"cap must be above 0 and rounds at least 1, got {cap} and {rounds}.")
    count = len(expected)
    if sizes.shape != (len(probs), count) or any(len(image) != count for image in probs):
        raise ValueError(
            f"probs of {len(probs)} images, sizes {tuple(sizes.shape)} and {count} expected sizes do not fit: give "
            "(K, *spatial) for each image, (S, K) and (K,)."
        )
    logs = torch.cat([_logs(image, None if possible is None else row) for image, row in _rows(probs, possible)], 1)
    of_voxel = send(sizes, logs.device).to(logs)
    weights = [
        torch.cat([of_voxel[number, k].expand(image[0].numel()) for number, image in enumerate(probs)])
        for k in range(count)
    ]
    aims = expected.tolist()
    known = [k for k in range(1, count) if math.isfinite(aims[k]) and aims[k] > 0]
    shift = logs.new_zeros(count)
    before = _relative(logs, shift, weights, aims, known)
    for _ in range(rounds):
        for k in known:
            margin = _margin(logs, shift, k)
            now, total = _size(margin, weights[k], shift[k]), weights[k].sum()
            least, most = (aims[k] * (1 + sign * tolerance) for sign in (-1, 1))
            grown, shrunk = _least(margin, weights[k], least, cap), -_least(-margin, weights[k], total - most, cap)
            shift[k] = torch.where(now < least, grown, torch.where(now > most, shrunk, shift[k]))
    return ClassShift(shift, before, _relative(logs, shift, weights, aims, known))


def _rows(probs: Sequence[Tensor], possible: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    return [(image, None if possible is None else possible[number]) for number, image in enumerate(probs)]


def _logs(image: Tensor, possible: Tensor | None) -> Tensor:
    """Log-probabilities (K, N), -inf for what cannot be; background always can."""
    logs = image.float().flatten(1).clamp(min=1e-12).log()
    if possible is None:
        return logs
    able = send(possible, logs.device).to(torch.bool).clone()
    able[0] = True
    return logs.masked_fill(~able[:, None], -math.inf)


def _margin(logs: Tensor, shift: Tensor, k: int) -> Tensor:
    """Log-probability of class k minus the greatest shifted one of the others (N,)."""
    others = [logs[j] + shift[j] for j in range(len(logs)) if j != k]
    best = others[0]
    for other in others[1:]:
        best = torch.maximum(best, other)
    return logs[k] - best


def _size(margin: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    return (weight * (margin > -shift)).sum()


def _least(margin: Tensor, weight: Tensor, target: Tensor | float, cap: float) -> Tensor:
    """The least shift within +-cap with which the size reaches the target.

    With the signs of margin and result changed, and the target taken from the whole, it is the greatest shift with
    which the size does not exceed it.
    """
    low, high = torch.full_like(margin[0], -cap), torch.full_like(margin[0], cap)
    for _ in range(STEPS):
        middle = (low + high) / 2
        there = _size(margin, weight, middle) >= target
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return high


def _relative(
    logs: Tensor, shift: Tensor, weights: Sequence[Tensor], expected: Sequence[float], known: Sequence[int]
) -> Tensor:
    """(K,) sizes as multiples of the expected ones."""
    out = logs.new_full((len(logs),), math.nan)
    for k in known:
        out[k] = _size(_margin(logs, shift, k), weights[k], shift[k]) / expected[k]
    return out
