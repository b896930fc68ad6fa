# SPDX-License-Identifier: Apache-2.0
"""The residual U-Net with averaged skip connections of the constrained-losses tutorials."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Norm, Pool
from torch import nn

from wss_monai.networks.sizes import check_sizes

__all__ = ["ResidualUNet"]

LEVELS = 4
ENCODER_ACT = ("leakyrelu", {"negative_slope": 0.2})
DECODER_ACT = "relu"


class ResidualUNet(nn.Module):
    """A U-Net of residual blocks, whose skip connections average encoder and decoder in place of stacking them.

    Four levels of ``features`` x 1, 2, 4, 8 channels and a bridge of 16; each block holds five convolutions, of which
    the middle three are bridged by an identity. With one input channel and two classes it has 19 645 250 weights in
    2D. Convolutions start from He's normal distribution over their outputs, all else from torch's defaults.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: classes K, background included.
        features: channels of the first level.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3, or a number of channels is below 1.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, out_channels: int = 2, features: int = 32) -> None:
        super().__init__()
        check_sizes(spatial_dims, in_channels=in_channels, out_channels=out_channels, features=features)
        self.dimensions = spatial_dims
        widths = [features * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            _Block(spatial_dims, before, width, ENCODER_ACT)
            for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.bridge = _Block(spatial_dims, widths[-1], 2 * widths[-1], ENCODER_ACT)
        self.upsample = nn.ModuleList(_upsample(spatial_dims, width) for width in reversed(widths))
        self.up = nn.ModuleList(_Block(spatial_dims, width, width, DECODER_ACT) for width in reversed(widths))
        self.out = Convolution(spatial_dims, features, out_channels, conv_only=True)
        for module in self.modules():
            if isinstance(module, Conv[Conv.CONV, spatial_dims]):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits (B, K, *spatial) of images (B, C, *spatial).

        Raises:
            ValueError: an axis of the image cannot be halved four times.
        """
        for size in x.shape[2:]:
            if size % 16 != 0:
                raise ValueError(
                    f"ResidualUNet: every spatial size must be divisible by 16, got {list(x.shape[2:])}; pad or crop, "
                    "for example with DivisiblePadd(k=16)"
                )
        skips: list[torch.Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bridge(x)
        # TorchScript knows no strict zip.
        for level, (upsample, block) in enumerate(zip(self.upsample, self.up)):  # noqa: B905
            x = block((upsample(x) + skips[-1 - level]) / 2)
        return self.out(x)


class _Block(nn.Module):
    """A convolution, three more bridged by an identity, and a fifth; all normalised, the fourth before the sum."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, act: str | tuple) -> None:
        super().__init__()
        self.first = _convolution(spatial_dims, inputs, outputs, act)
        self.middle = nn.Sequential(
            _convolution(spatial_dims, outputs, outputs, act),
            _convolution(spatial_dims, outputs, outputs, act),
            _convolution(spatial_dims, outputs, outputs, None),
        )
        self.last = _convolution(spatial_dims, outputs, outputs, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give features (B, outputs, *spatial)."""
        x = self.first(x)
        return self.last(self.middle(x) + x)


def _convolution(spatial_dims: int, inputs: int, outputs: int, act: str | tuple | None) -> Convolution:
    return Convolution(spatial_dims, inputs, outputs, adn_ordering="NA", act=act, norm=Norm.BATCH)


def _upsample(spatial_dims: int, width: int) -> Convolution:
    return Convolution(
        spatial_dims,
        2 * width,
        width,
        strides=2,
        adn_ordering="NA",
        act=DECODER_ACT,
        norm=Norm.BATCH,
        is_transposed=True,
    )
