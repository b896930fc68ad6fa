# SPDX-License-Identifier: Apache-2.0
"""Three convolutions for the toy pictures of the constrained-losses tutorials."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Norm
from torch import nn

from wss_monai.networks.sizes import check_sizes

__all__ = ["ShallowCNN"]


class ShallowCNN(nn.Module):
    """Three 3 x 3 convolutions with normalisation and PReLU: 7 pixels see each other, in every direction.

    The published network normalises and activates its last layer too, so that its logits have about unit variance
    over a batch and none is far below 0; the tutorials therefore take the softmax of 5 times the logits. No
    temperature is applied here: it is an argument of the loss. With one input channel and two classes it has 2807
    weights in 2D. Convolutions start from Xavier's normal distribution, scales of the normalisation from N(1, 0.02).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: classes K, background included.
        features: channels of both hidden layers.
        normalize_logits: whether the last layer is normalised and activated; False: a plain convolution with bias,
            for a temperature of 1.
        norm: "batch" as published, or "instance". In training with batches of one image both compute the same; in
            evaluation "instance" still does, where "batch" takes running averages over images of other noise.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3, a number of channels is below 1, or an unknown ``norm``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 2,
        features: int = 16,
        normalize_logits: bool = True,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if norm not in ("batch", "instance"):
            raise ValueError(f"norm must be 'batch' or 'instance', got {norm!r}")
        check_sizes(spatial_dims, in_channels=in_channels, out_channels=out_channels, features=features)
        self.dimensions = spatial_dims
        self.layers = nn.Sequential(
            _layer(spatial_dims, in_channels, features, norm),
            _layer(spatial_dims, features, features, norm),
            _layer(spatial_dims, features, out_channels, norm, plain=not normalize_logits),
        )
        for module in self.modules():
            if isinstance(module, Conv[Conv.CONV, spatial_dims]):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, (Norm[Norm.BATCH, spatial_dims], Norm[Norm.INSTANCE, spatial_dims])):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits (B, K, *spatial) of images (B, C, *spatial)."""
        return self.layers(x)


def _layer(spatial_dims: int, inputs: int, outputs: int, norm: str, plain: bool = False) -> Convolution:
    scaled = (norm, {"affine": True})
    return Convolution(
        spatial_dims, inputs, outputs, adn_ordering="NA", act="PRELU", norm=scaled, bias=plain, conv_only=plain
    )
