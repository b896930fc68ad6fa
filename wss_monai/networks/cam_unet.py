# SPDX-License-Identifier: Apache-2.0
"""The U-Net whose features carry class activation maps at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import Tensor, nn
from torch.nn import functional as F

from wss_monai.networks.sizes import check_sizes

__all__ = ["CAMUNet"]


class CAMUNet(nn.Module):
    """Encoder and decoder of Patel and Dolz (MedIA 77:102374, 2022), without a head.

    Two convolutions a level, each of 3 taps an axis with bias, normalisation and ReLU; maximum pooling between levels;
    on the way up nearest-neighbour upsampling, concatenation behind the encoder's features and two convolutions; a last
    convolution of the same kind, to whose output the head of a ``CAMNet`` is applied. Convolutions start from Xavier's
    normal distribution. With the default channels and the head of two classes it has 3 398 144 weights
    in 2D.

    Images of any size will do: where the poolings do not divide it, it is padded on all sides with copies of its border
    and the features are cropped back.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        channels: of the levels, two or more; the first are the channels of the features.
        norm: of MONAI's factory.
        zero_biases: biases start at 0; False: at PyTorch's own small values, as in the released code.

    Raises:
        ValueError: ``spatial_dims``, or a number of channels or levels, out of range.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 256),
        norm: str | tuple = "batch",
        zero_biases: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, in_channels=in_channels, channels=channels)
        if len(channels) < 2:
            raise ValueError(f"channels must name two levels or more, got {list(channels)}")
        self.dimensions = spatial_dims
        self.features = int(channels[0])
        self.divisor = 2 ** (len(channels) - 1)
        self.first = TwoConv(spatial_dims, in_channels, channels[0], "RELU", norm, bias=True)
        self.down = nn.ModuleList(
            Down(spatial_dims, before, width, "RELU", norm, bias=True) for before, width in pairwise(channels)
        )
        up, before = [], channels[-1]
        for level in reversed(range(len(channels) - 1)):
            width = channels[max(level - 1, 0)]
            up.append(
                UpCat(
                    spatial_dims,
                    before,
                    channels[level],
                    width,
                    "RELU",
                    norm,
                    bias=True,
                    upsample="nontrainable",
                    pre_conv=None,
                    interp_mode="nearest",
                    align_corners=None,
                    is_pad=False,
                )
            )
            before = width
        self.up = nn.ModuleList(up)
        self.backbone = Convolution(spatial_dims, before, channels[0], act="RELU", norm=norm, adn_ordering="NA")
        for module in self.modules():
            if isinstance(module, Conv[Conv.CONV, spatial_dims]):
                nn.init.xavier_normal_(module.weight)
                if zero_biases:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Give features (B, channels[0], *spatial) of images (B, C, *spatial)."""
        sizes = x.shape[2:]
        before: list[int] = []
        around: list[int] = []  # in pairs, the last axis first, as F.pad wants it
        for size in sizes:
            more = -size % self.divisor
            before.append(more // 2)
            around = [more // 2, more - more // 2] + around  # noqa: RUF005 (TorchScript cannot unpack a list)
        padded = max(around) > 0
        if padded:
            x = F.pad(x, around, mode="replicate")
        x = self.first(x)
        skips: list[torch.Tensor] = []
        for block in self.down:
            skips.append(x)
            x = block(x)
        for level, block in enumerate(self.up):
            x = block(x, skips[-1 - level])
        x = self.backbone(x)
        if padded:
            for axis, size in enumerate(sizes):
                x = x.narrow(2 + axis, before[axis], size)
        return x
