# SPDX-License-Identifier: Apache-2.0
"""The U-Net of segmentation with global and local mutual information."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import Conv, Pool, get_norm_layer
from torch import Tensor, nn

from wss_monai.networks.sizes import check_sizes

__all__ = ["MIUNet"]

LEVELS = 5


class MIUNet(nn.Module):
    """Encoder and decoder of five levels of Peng, Pedersoli and Desrosiers (MELBA 2021:009).

    A level is two convolutions of 3 taps an axis without bias, each with normalisation and ReLU. Maximum pooling halves
    the grid between levels; on the way up nearest-neighbour upsampling, a convolution of the same kind that takes the
    channels of the level above, concatenation behind the encoder's features, and a level. A convolution of 1 voxel with
    bias ends it. There is no dropout, and weights start as PyTorch's. With the default arguments there are 2 160 180
    weights.

    ``Conv1`` to ``Conv5`` and ``Up_conv5`` to ``Up_conv2`` give the features of the published names. In MONAI's
    ``BasicUNet`` ``conv_0``, ``down_1`` to ``down_4`` and ``upcat_4`` to ``upcat_1`` have the same channels and grids.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: classes K, background included.
        channels: of the five levels.
        norm: of MONAI's factory.

    Raises:
        ValueError: ``spatial_dims``, or a number of channels or levels, out of range.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 4,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        norm: str | tuple = "batch",
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, in_channels=in_channels, out_channels=out_channels, channels=channels)
        if len(channels) != LEVELS:
            raise ValueError(f"channels must name {LEVELS} levels, got {list(channels)}")
        self.dimensions = spatial_dims
        self.divisor = 2 ** (LEVELS - 1)
        c1, c2, c3, c4, c5 = channels
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.Conv1 = _level(spatial_dims, in_channels, c1, norm)
        self.Conv2 = _level(spatial_dims, c1, c2, norm)
        self.Conv3 = _level(spatial_dims, c2, c3, norm)
        self.Conv4 = _level(spatial_dims, c3, c4, norm)
        self.Conv5 = _level(spatial_dims, c4, c5, norm)
        self.Up5 = _upsample(spatial_dims, c5, c4, norm)
        self.Up_conv5 = _level(spatial_dims, 2 * c4, c4, norm)
        self.Up4 = _upsample(spatial_dims, c4, c3, norm)
        self.Up_conv4 = _level(spatial_dims, 2 * c3, c3, norm)
        self.Up3 = _upsample(spatial_dims, c3, c2, norm)
        self.Up_conv3 = _level(spatial_dims, 2 * c2, c2, norm)
        self.Up2 = _upsample(spatial_dims, c2, c1, norm)
        self.Up_conv2 = _level(spatial_dims, 2 * c1, c1, norm)
        self.last = Conv[Conv.CONV, spatial_dims](c1, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits (B, K, *spatial) of images (B, C, *spatial).

        Raises:
            ValueError: another number of axes, or a side that 16 does not divide.
        """
        if x.dim() != self.dimensions + 2:
            raise ValueError(f"MIUNet: images must have {self.dimensions} spatial axes, got shape {list(x.shape)}")
        for size in x.shape[2:]:
            if size % self.divisor != 0:
                raise ValueError(
                    f"MIUNet: sides must be multiples of {self.divisor}, got shape {list(x.shape)}: pad or crop images"
                )
        e1 = self.Conv1(x)
        e2 = self.Conv2(self.pool(e1))
        e3 = self.Conv3(self.pool(e2))
        e4 = self.Conv4(self.pool(e3))
        e5 = self.Conv5(self.pool(e4))
        d5 = self.Up_conv5(torch.cat([e4, self.Up5(e5)], 1))
        d4 = self.Up_conv4(torch.cat([e3, self.Up4(d5)], 1))
        d3 = self.Up_conv3(torch.cat([e2, self.Up3(d4)], 1))
        d2 = self.Up_conv2(torch.cat([e1, self.Up2(d3)], 1))
        return self.last(d2)


def _layer(dims: int, inputs: int, outputs: int, norm: str | tuple) -> list[nn.Module]:
    convolution = Conv[Conv.CONV, dims](inputs, outputs, 3, padding=1, bias=False)
    return [convolution, get_norm_layer(norm, dims, outputs), nn.ReLU(inplace=True)]


def _level(dims: int, inputs: int, outputs: int, norm: str | tuple) -> nn.Sequential:
    return nn.Sequential(*_layer(dims, inputs, outputs, norm), *_layer(dims, outputs, outputs, norm))


def _upsample(dims: int, inputs: int, outputs: int, norm: str | tuple) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), *_layer(dims, inputs, outputs, norm))
