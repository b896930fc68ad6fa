# SPDX-License-Identifier: Apache-2.0
"""What networks of several modalities learn from image tags: classification, exchange, equivariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional.cams.channels import split_channels, tag_logits
from wss_monai.functional.cams.max_norm import max_norm
from wss_monai.functional.settings import ShownSettings
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.functional.wide import wide
from wss_monai.losses.weighted_sum import WeightedSumLoss

__all__ = ["ClassificationLoss", "EquivariantCAMLoss"]

PARTS = ("classification", "exchange", "within", "cross")


class ClassificationLoss(nn.Module):
    """Cross-entropy of the tag of each modality's logits, summed over the modalities, averaged over the known tags.

    Args:
        tags_key: the key of the target dictionary that holds the tags (B, 2).
    """

    two_sided = True  # there is nothing to tell where all images show the class, see ``handlers.TrainingCheck``

    def __init__(self, tags_key: str = "slice_tags") -> None:
        super().__init__()
        self.target_keys = {"tags": tags_key}

    def forward(self, logits: Tensor, tags: Tensor) -> Tensor:
        """Scalar loss of logits (M, B, 2) and tags (B,), 1 present, 0 absent, -1 unknown."""
        cost = F.cross_entropy(logits.flatten(0, 1), tags.long().repeat(len(logits)), ignore_index=-1, reduction="sum")
        return cost / (tags >= 0).sum().clamp(min=1)


class EquivariantCAMLoss(ShownSettings, WeightedSumLoss):
    """The sum of the published parts for M modalities, each kept by name.

    With z the logits and P, Q the normalised maps of the image and of the moved image:
    ``classification`` (mean of both views), ``exchange`` (see ``ClassDistributionExchangeLoss``), ``within`` and
    ``cross`` (see ``equivariance``). Where the network gives refined maps (pixel correlation), ``within`` compares
    these, and ``cross`` too. Maps are normalised first and moved then, and never moved back. Source: Patel and Dolz,
    MedIA 77:102374, 2022, released code.

    Args:
        modalities: M.
        terms: name -> (loss, weight), of classification, exchange, within, cross; those that are left out are not
            computed.
        visible: the least part of a map's sum that must stay in the frame for the tag "present" to count in the
            second view; 0: it always counts, as published.
        border: what a moved map shows where it came from outside of the frame: "masked": the maps are not compared
            there; "compared": it counts as 0 and is compared, as published.

    Attributes:
        live: name -> value of the term with its gradient, while ``keep_live`` is true.

    Raises:
        ValueError: unknown terms, or without a classification, ``visible`` outside 0..1, another word for ``border``.
    """

    shown = ("modalities", "weights", "visible", "border")

    def __init__(
        self, modalities: int, terms: Mapping[str, Sequence[Any]], visible: float = 0.5, border: str = "masked"
    ) -> None:
        super().__init__(terms)
        if not set(terms) <= set(PARTS) or PARTS[0] not in terms:
            raise ValueError(f"terms must be out of {PARTS}, with 'classification'; got {sorted(terms)}.")
        if not 0 <= visible <= 1:
            raise ValueError(f"visible must lie in 0..1, got {visible}.")
        if border not in ("masked", "compared"):
            raise ValueError(f"border must be 'masked' or 'compared', got {border!r}.")
        self.modalities = modalities
        self.visible = visible
        self.border = border
        self.tags_key = str(terms[PARTS[0]][0].target_keys["tags"])
        self.keep_live = False
        self.live: dict[str, Tensor] = {}

    def target_keys(self) -> set[str]:
        """The key of the tags, all that is read of a batch besides its image."""
        return {self.tags_key}

    def forward(self, logits: Tensor | tuple[Tensor, Tensor], target: Mapping[str, Any]) -> Tensor:
        """Scalar loss.

        Args:
            logits: (2, B, M E, *spatial) raw maps of the image and of the moved image, see ``functional.cams``; a pair
                where they differ in size.
            target: the tags (B, 2) under the key of the classification, and ``view``, the ``SpatialMap`` between both.

        Raises:
            KeyError: no tags or no ``view`` in the target.
        """
        if self.tags_key not in target or "view" not in target:
            raise KeyError(f"the target needs '{self.tags_key}' and 'view'; it holds {sorted(target)}.")
        tags, view = target[self.tags_key], target["view"]
        if tags.dim() != 2 or tags.shape[1] != 2:
            raise ValueError(f"{self.tags_key} must be (B, 2): background and one class, got {tuple(tags.shape)}.")
        with torch.autocast(logits[0].device.type, enabled=False):
            values = self._values((wide(logits[0]), wide(logits[1])), tags[:, 1], view)
            total = logits[0].new_zeros((), dtype=values["classification"].dtype)
            for name, value in values.items():
                self.parts[name] = value.detach()
                total = total + self.weights[name] * value
            self.live = values if self.keep_live else {}
        return total

    def _values(self, raw: tuple[Tensor, Tensor], tags: Tensor, view: SpatialMap) -> dict[str, Tensor]:
        (maps1, shown1), (maps2, shown2) = (split_channels(one, self.modalities) for one in raw)
        z1, z2 = tag_logits(maps1), tag_logits(maps2)
        classify = self.terms["classification"]
        second = self._tags_in_frame(tags, shown1, view)
        values = {"classification": (classify(z1, tags) + classify(z2, second)) / 2}
        if "exchange" in self.terms:
            values["exchange"] = self.terms["exchange"](z1, z2)
        if "within" in self.terms or "cross" in self.terms:
            dims = shown1.dim() - 2
            valid = view.valid(tuple(shown1.shape[2:]), raw[0].device) if self.border == "masked" else None
            p = view(max_norm(shown1, dims).transpose(0, 1)).transpose(0, 1)
            q = max_norm(shown2, dims)
            if "within" in self.terms:
                values["within"] = self.terms["within"](p, q, tags, valid)
            if "cross" in self.terms:
                right = (z.argmax(-1) == 1 for z in (z1, z2))
                values["cross"] = self.terms["cross"](p, q, tags, *right, valid)
        return values

    @torch.no_grad()
    def _tags_in_frame(self, tags: Tensor, shown: Tensor, view: SpatialMap) -> Tensor:
        """Tags of the second view: present becomes unknown where most of the map left the frame."""
        if not self.visible:
            return tags
        evidence = shown.relu().mean(0)[:, None]
        size = torch.linalg.det(view.matrix).abs().to(evidence)
        before = evidence.flatten(1).sum(1) * size
        kept = view(evidence).flatten(1).sum(1)
        return tags.masked_fill((tags == 1) & (kept < self.visible * before), -1)
