# SPDX-License-Identifier: Apache-2.0
"""The loss of a network with two decoders that teach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wss_monai.functional.wide import wide
from wss_monai.losses.mixed_labels import MixedLabelLoss
from wss_monai.losses.term import probabilities
from wss_monai.losses.weighted_sum import WeightedSumLoss

__all__ = ["DualDecoderLoss"]


class DualDecoderLoss(nn.Module):
    """The mean of a sum of losses on the first decoder's logits and of the same sum on the second one's.

    Both learn from the drawn voxels and from whatever else the sum has, and, where a ``MixedLabelLoss`` with a weight
    is in it, from one and the same pseudo-label: the argmax of b x first + (1 - b) x second, corrected as there. No
    gradient passes through it. So each decoder is the other's teacher, and no averaged network is asked.

    Source: dual-branch network and dynamically mixed pseudo-labels, Luo et al., MICCAI 2022.

    Args:
        loss: the sum; its ``parts`` and ``violations`` are means of both decoders after a call.

    Raises:
        ValueError: in a call, other logits than those of two decoders.
        KeyError: as the sum does.
    """

    def __init__(self, loss: WeightedSumLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Sequence[Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of both logits (B, K, *spatial), the first decoder's first, on one dictionary of targets."""
        if isinstance(logits, Tensor) or len(logits) != 2:
            raise ValueError(
                "this loss takes the logits of two decoders, as wss_monai.networks.DualDecoder gives them in training "
                f"mode, got {tuple(logits.shape) if isinstance(logits, Tensor) else f'{len(logits)} of them'}."
            )
        target = {**target, **self._labels(logits, target)}
        values, parts, violations = [], [], []
        for each in logits:
            values.append(self.loss(each, target))
            parts.append(dict(self.loss.parts))
            violations.append(dict(self.loss.violations))
        self.loss.parts, self.loss.violations = _means(*parts), _means(*violations)
        total: Tensor = (values[0] + values[1]) / 2
        return total

    @torch.no_grad()
    def _labels(self, logits: Sequence[Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pseudo-labels of each term that has a weight and learns from some, by the key that it reads them from."""
        made: dict[str, Tensor] = {}
        soft: list[Tensor] = []
        for term in self.loss.named_terms():
            key, share, drawn = term.key_of("ready"), term.given("share", target), term.given("drawn", target)
            if not isinstance(term.loss, MixedLabelLoss) or key is None or not self.loss.weights[term.name] > 0:
                continue
            if share is None or drawn is None:
                continue  # the sum says what is missing
            with torch.autocast(drawn.device.type, enabled=False):
                soft = soft or [probabilities(wide(each) * self.loss.temperature) for each in logits]
            of_slice, of_volume, shift, boxes = (
                term.given(name, target) for name in ("of_slice", "of_volume", "shift", "boxes")
            )
            tags = of_volume if of_slice is None else of_slice
            made[key] = term.loss.labels(soft[0], soft[1], share, drawn, shift, tags, boxes)
        return made


def _means(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Means of two dictionaries with the same names."""
    return {name: (value + second[name]) / 2 for name, value in first.items()}
