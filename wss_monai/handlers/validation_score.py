# SPDX-License-Identifier: Apache-2.0
"""How well a model does on held-out patients during training, with or without dense labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_values import check_classes
from wss_monai.functional.hard_classes import hard_classes
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.handlers.snapshots import affine_of_item
from wss_monai.io.grids import voxel_edges
from wss_monai.io.processes import of_all_processes
from wss_monai.metrics.measure import measure_prediction
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.equal_volume import EqualVolumed

KEYS = ("weak", "dice")


class ValidationScore(Metric):
    """Score of whole volumes on the grid that the network sees.

    The weak score is the mean of two numbers in 0..1: exp(-partial cross-entropy) on the held-out weak labels, and the
    constraint satisfaction (fraction of bounded measures of the hard prediction inside their bounds; 1 without
    constraints); where no held-out voxel is labelled, the satisfaction alone. It never reads a dense label, and so may
    choose a model. Dice is logged beside it where dense labels exist. With several processes the sums run over all of
    them, so that each gets the same values.

    Args:
        class_names: background first.
        bounds: the transforms that make the bounds, for their terms and descriptors.
        key: "weak" or "dice" (full supervision), the value that the metric returns.
        slice_axis: axis of bounds on slices.
        temperature: of the loss; the logits are multiplied by it before the cross-entropy.

    Raises:
        ValueError: an unknown key.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        bounds: Sequence[Boundsd | EqualVolumed] = (),
        key: str = "weak",
        slice_axis: int | None = 2,
        temperature: float = 1.0,
    ) -> None:
        if key not in KEYS:
            raise ValueError(f"key must be one of {KEYS}, got '{key}'.")
        self.class_names = list(class_names)
        self.bounds = [made for made in bounds if not isinstance(made, EqualVolumed)]  # of no case alone
        self.key = key
        self.slice_axis = slice_axis
        self.temperature = temperature
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None:
        """Forget all volumes."""
        foreground = len(self.class_names) - 1
        self.entropy = torch.zeros(2, dtype=torch.float64)  # sum, voxels
        self.inside = torch.zeros(2, dtype=torch.float64)  # satisfied, bounded
        self.dice = torch.zeros(2, foreground, dtype=torch.float64)  # sum, volumes

    def iteration_completed(self, engine: Engine) -> None:
        """Take the volumes of the evaluator's last iteration, which need batch and output."""
        state: Any = engine.state
        self.update((state.output["pred"], state.batch))

    def update(self, output: tuple[Tensor, Mapping[str, Any]]) -> None:
        """Add volumes: logits (B, K, *spatial) and the batch with ``weak_label``, ``label`` and bounds."""
        logits, batch = output
        logits = plain_tensor(logits).float()
        hard = hard_classes(logits)
        self._partial_entropy(logits * self.temperature, batch)
        if "label" in batch:
            self._dice(hard, plain_tensor(batch["label"])[:, 0].to(hard.device))
        for made in self.bounds:
            spacing = voxel_edges(affine_of_item(batch["image"], 0), hard.dim() - 1)
            regions = plain_tensor(batch[made.region_key]) if made.region_key else [None] * len(hard)
            for prediction, bounds, region in zip(hard, batch[f"bounds_{made.term}"], regions, strict=True):
                measure, limits, _ = measure_prediction(
                    prediction, plain_tensor(bounds), made.descriptor, spacing, self.slice_axis, region
                )
                bounded = limits.isfinite().any(-1)
                held = (measure >= limits[..., 0]) & (measure <= limits[..., 1])
                self.inside += torch.tensor([(held & bounded).sum(), bounded.sum()], dtype=torch.float64)

    def _partial_entropy(self, logits: Tensor, batch: Mapping[str, Any]) -> None:
        index = plain_tensor(batch["weak_label"])[:, 0].long()
        check_classes(index, logits.shape[1], "weak_label")
        index = index.to(logits.device)
        total = F.cross_entropy(logits, index, ignore_index=UNLABELLED, reduction="sum")
        self.entropy += torch.tensor([float(total), float((index != UNLABELLED).sum())], dtype=torch.float64)

    def _dice(self, hard: Tensor, label: Tensor) -> None:
        for prediction, truth in zip(hard, label, strict=True):
            known = truth != UNLABELLED
            if not bool(known.any()):
                continue
            for number in range(len(self.class_names) - 1):
                a, b = (prediction == number + 1) & known, truth == number + 1
                total = int(a.sum() + b.sum())
                self.dice[0, number] += 2 * float((a & b).sum()) / total if total else 1.0
                self.dice[1, number] += 1

    def values(self) -> dict[str, float]:
        """What there is of ``partial_ce``, ``constraint_satisfaction``, ``dice`` and ``dice_<class>``."""
        entropy, inside, dice = (_summed(v) for v in (self.entropy, self.inside, self.dice))
        out = {}
        if entropy[1]:
            out["partial_ce"] = float(entropy[0] / entropy[1])
        if inside[1]:
            out["constraint_satisfaction"] = float(inside[0] / inside[1])
        if dice[1].any():
            each = dice[0] / dice[1].clamp(min=1)
            out["dice"] = float(each.mean())
            out |= {f"dice_{name}": float(v) for name, v in zip(self.class_names[1:], each, strict=True)}
        return out

    def compute(self) -> float:
        """The key value; 0 where the network's output is not finite, so that any later one is better."""
        values = self.values()
        if self.key == "dice" and "dice" in values:
            return values["dice"]
        satisfaction = values.get("constraint_satisfaction", 1.0)
        if "partial_ce" not in values:
            return satisfaction
        likelihood = math.exp(-values["partial_ce"])
        return (satisfaction + likelihood) / 2 if math.isfinite(likelihood) else 0.0

    def completed(self, engine: Engine, name: str) -> None:
        """Write the key value under its name and the others beside it."""
        super().completed(engine, name)
        engine.state.metrics.update(self.values())


def _summed(values: Tensor) -> Tensor:
    """Sum over the processes."""
    return torch.stack(of_all_processes(values)).sum(dim=0)
