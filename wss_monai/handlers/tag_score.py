# SPDX-License-Identifier: Apache-2.0
"""How well a classifier tells on held-out patients which classes an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.metrics import compute_roc_auc
from monai.utils import evenly_divisible_all_gather
from torch import Tensor

from wss_monai.functional.plain_tensor import plain_tensor


class TagScore(Metric):
    """Minus the cross-entropy of the known tags, and beside it accuracy and area under the ROC curve of each class.

    The evaluator's output holds the logits (N, K - 1) of the batch's N slices or volumes under ``pred``. A class of
    which the held-out tags are all present or all absent has no curve and is left out of ``auc``. With several
    processes the tags of all of them are scored together.

    Args:
        class_names: background first, which is no tag.
        tags_key: key of the tags (..., K) in the batch, 1 present, 0 absent, -1 unknown.
    """

    def __init__(self, class_names: Sequence[str], tags_key: str = "slice_tags") -> None:
        self.class_names = list(class_names)
        self.tags_key = tags_key
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None:
        """Forget all tags."""
        self.logits: list[Tensor] = []
        self.tags: list[Tensor] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Take the evaluator's last iteration, which needs batch and output."""
        state: Any = engine.state
        self.update((state.output["pred"], state.batch[self.tags_key]))

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add logits (N, K - 1) and tags (..., K).

        Raises:
            ValueError: numbers of samples or classes that do not fit.
        """
        logits, tags = (plain_tensor(value).detach().cpu() for value in output)
        tags = tags.reshape(-1, tags.shape[-1])
        if logits.shape != (len(tags), len(self.class_names) - 1) or tags.shape[1] != len(self.class_names):
            raise ValueError(
                f"{self.tags_key}: {tuple(tags.shape)} tags need logits ({len(tags)}, {len(self.class_names) - 1}), "
                f"one for each class but the background; got {tuple(logits.shape)}."
            )
        self.logits.append(logits.float())
        self.tags.append(tags.float())

    def values(self) -> dict[str, float]:
        """What there is of ``tag_ce``, ``tag_accuracy``, ``auc`` and ``auc_<class>``; every process has to call it."""
        width = len(self.class_names)
        logits, tags = of_all(rows(self.logits, width - 1), rows(self.tags, width)[:, 1:])
        known = tags >= 0
        if not bool(known.any()):
            return {}
        cost = F.binary_cross_entropy_with_logits(logits[known], tags[known])
        out = {"tag_ce": float(cost), "tag_accuracy": float(((logits > 0) == (tags > 0))[known].float().mean())}
        curves = {}
        for k, name in enumerate(self.class_names[1:]):
            scores, truth = logits[known[:, k], k], tags[known[:, k], k]
            if 0 < truth.sum() < len(truth):
                curves[f"auc_{name}"] = float(cast(float, compute_roc_auc(scores, truth.int())))
        return out | ({"auc": sum(curves.values()) / len(curves)} if curves else {}) | curves

    def compute(self) -> float:
        """Minus the cross-entropy; minus infinity where it is not finite, 0 where no tag is known."""
        cost = -self.values().get("tag_ce", 0.0)
        return cost if cost == cost else float("-inf")

    def completed(self, engine: Engine, name: str) -> None:
        """Write the key value under its name and the others beside it."""
        super().completed(engine, name)
        engine.state.metrics.update(self.values())


def rows(parts: Sequence[Tensor], width: int) -> Tensor:
    """The rows (N, width) of all parts; (0, width) where there is no part."""
    return torch.cat([*parts, torch.zeros(0, width)])


def of_all(*tables: Tensor) -> list[Tensor]:
    """The rows of each table from all processes; every process has to call it."""
    return [evenly_divisible_all_gather(table, concat=True) for table in tables]
