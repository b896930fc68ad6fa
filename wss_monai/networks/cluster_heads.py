# SPDX-License-Identifier: Apache-2.0
"""Heads that assign features to clusters, several of them as one layer."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn import functional as F

from wss_monai.functional.settings import check_flags, check_positive
from wss_monai.networks.sizes import check_sizes

__all__ = ["KINDS", "ClusterHead"]

KINDS = ("linear", "mlp")
"""Layers of a head."""

HIDDEN_POOLED, HIDDEN_LOCAL = 128, 64
"""Channels of the hidden layer of each head of kind "mlp"."""


class ClusterHead(nn.Module):
    """S independent heads that each assign features to K clusters (Peng, Pedersoli, Desrosiers, MELBA 2021:009).

    Of kind "linear" all heads are one linear layer (pooled) or one convolution of 1 voxel (local) of S * K outputs. Of
    kind "mlp" each head has a hidden layer of 128 channels (pooled) or 64 (local) and LeakyReLU of slope 0.01; all
    hidden layers are one layer, and a grouped convolution follows. Every head starts as it would on its own. With
    K = 20, S = 5 and kind "linear" there are 25 700 weights on 256 channels, 3 300 on 32 and 1 700 on 16.

    Args:
        in_channels: C of the features.
        spatial_dims: their spatial axes, 1 to 3.
        num_clusters: K, 2 or more.
        num_heads: S, 1 or more.
        kind: "linear" or "mlp".
        pooled: whether features are averaged over space first, so that there is one assignment a sample.
        normalize: whether the K logits of each head are scaled to the length 1; at temperature 1 the probabilities
            are then nearly the same for all clusters.
        temperature: above 0; divides the logits.

    Raises:
        ValueError: an argument out of its range; names it.
    """

    def __init__(
        self,
        in_channels: int,
        spatial_dims: int,
        num_clusters: int = 20,
        num_heads: int = 5,
        kind: str = "linear",
        pooled: bool = False,
        normalize: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, 1)
        _whole("in_channels", in_channels, 1)
        _whole("num_clusters", num_clusters, 2)
        _whole("num_heads", num_heads, 1)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, got {kind!r}")
        check_flags(pooled=pooled, normalize=normalize)
        check_positive(temperature=temperature)
        self.in_channels = in_channels
        self.dimensions = spatial_dims
        self.num_clusters = num_clusters
        self.num_heads = num_heads
        self.pooled = pooled
        self.normalize = normalize
        self.temperature = float(temperature)
        hidden = HIDDEN_POOLED if pooled else HIDDEN_LOCAL
        outputs = num_heads * num_clusters
        width = outputs if kind == "linear" else num_heads * hidden
        convolution = Conv[Conv.CONV, 1 if pooled else spatial_dims]
        self.first = nn.Linear(in_channels, width) if pooled else convolution(in_channels, width, 1)
        self.second = None if kind == "linear" else convolution(width, outputs, 1, groups=num_heads)

    def forward(self, features: Tensor) -> Tensor:
        """Give the probabilities of the clusters, head by head, in float32 or wider.

        Args:
            features: (N, C, *spatial); pooled also (N, C).

        Returns:
            (N, S * K) where pooled, else (N, S * K, *spatial); the K channels of each head sum to 1.

        Raises:
            ValueError: features of another number of channels or axes.
        """
        plain = self.pooled and features.dim() == 2
        if (not plain and features.dim() != self.dimensions + 2) or features.shape[1] != self.in_channels:
            raise ValueError(
                f"features must be (N, {self.in_channels}, {self.dimensions} spatial axes), got {tuple(features.shape)}"
            )
        if self.pooled and not plain:
            wide = torch.promote_types(features.dtype, torch.float32)
            features = features.flatten(2).mean(2, dtype=wide).to(self.first.weight.dtype)
        logits = self.first(features)
        if self.second is not None:
            logits = F.leaky_relu(logits, 0.01)
            logits = self.second(logits.unsqueeze(2)).squeeze(2) if self.pooled else self.second(logits)
        with torch.autocast(logits.device.type, enabled=False):
            return self._assign(logits)

    def _assign(self, logits: Tensor) -> Tensor:
        """The softmax over the clusters of each head."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        heads = wide.unflatten(1, (self.num_heads, self.num_clusters))
        if self.normalize:
            heads = F.normalize(heads, dim=2)
        if self.temperature != 1:
            heads = heads / self.temperature
        return heads.softmax(2).flatten(1, 2)


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {value!r}")
