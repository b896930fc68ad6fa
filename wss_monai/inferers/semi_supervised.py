# SPDX-License-Identifier: Apache-2.0
"""The network on labelled images and on the views of unlabelled ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.losses.semi_supervised import SemiSupervisedLoss

__all__ = ["SemiSupervisedInferer"]


class SemiSupervisedInferer(Inferer):
    """What the network says of labelled images and of the views of unlabelled ones that the loss needs.

    One call of the network for all of them, so that batch statistics are shared (see
    `wss_monai.networks.ClusterNetwork` for separate ones). Unlabelled images that the loss does not need are never
    seen. The teacher sees the unlabelled images as they are, without gradients.

    Args:
        loss: says what it needs.
        teacher: the averaged network, in evaluation mode; for losses with a teacher.

    Raises:
        ValueError: a loss with a teacher, but none given.
    """

    def __init__(self, loss: SemiSupervisedLoss, teacher: nn.Module | None = None) -> None:
        super().__init__()
        if loss.teacher and teacher is None:
            raise ValueError("the loss compares with a teacher: give the averaged network as teacher.")
        self.loss = loss
        self.teacher = teacher if loss.teacher else None

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Any],
        *args: Any,
        labelled: int | None = None,
        view: SpatialMap | None = None,
        **kwargs: Any,
    ) -> Any:
        """Outputs for ``inputs`` (n + m, C, *spatial), of which the first n = ``labelled`` are labelled.

        Returns:
            The network's logits where the loss needs nothing else, else a dictionary: "labelled" (n, K, *spatial), and
            as needed "first", "second" (of the images moved by ``view``), "teacher" (m, K, *spatial) and "clusters".
        """
        count = len(inputs) if labelled is None else labelled
        if not self.loss.needs_unlabelled:
            return network(inputs[:count], *args, **kwargs)
        others = inputs[count:]
        parts = [inputs[:count]]
        if self.loss.needs_first:
            parts.append(others)
        if self.loss.needs_second and view is not None:
            parts.append(view(others))
        counts = (count, len(others) * self.loss.needs_first, len(others) * self.loss.needs_second)
        output = network(torch.cat(parts), *args, parts=counts, view=view, **kwargs)
        if self.teacher is not None:
            with torch.no_grad():
                output["teacher"] = self.teacher(others)
        return output
