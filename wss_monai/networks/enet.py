# SPDX-License-Identifier: Apache-2.0
"""ENet, the small network of the papers on constrained losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Norm, Pool
from torch import nn
from torch.nn import functional as F

from wss_monai.networks.sizes import check_sizes

__all__ = ["ENet"]

PROJECTION = 4
"""The middle of a block has so many times fewer channels than its input."""
KINDS: Sequence[int | str] = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)
"""The middle convolutions of a row of eight blocks: dilations of 3 taps, or 5 taps along one axis at a time."""
EARLY, LATE = 0.01, 0.1
"""Dropout of the first blocks, of all that change the resolution or are dilated, and of the others."""


class ENet(nn.Module):
    """ENet as in the code of the size constraint and of the log-barrier: 0.46 million weights.

    A convolution of stride 2 beside a maximum pooling; two blocks that halve again and keep the places of the maxima;
    rows of blocks with dilations 1, 2, 4, 8 and 16 and with 5 taps along one axis at a time; two unpoolings to the kept
    places, each beside the features of the same resolution; one nearest-neighbour upsampling. Each block adds what a
    bottleneck of a quarter of the channels makes of its input to the input itself. Normalisation and PReLU throughout.
    With one input channel and two classes it has 458 247 weights in 2D; the published file holds 2598 more, of
    layers that it never computes. Convolutions start from Xavier's normal distribution, scales of the normalisation
    from N(1, 0.02).

    Reference: Paszke et al., ENet: a deep neural network architecture for real-time semantic segmentation (2016), in
    the form of the code of Kervadec et al., Medical Image Analysis 54 (2019).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input, fewer than ``features``.
        out_channels: classes K, background included.
        features: channels at half the resolution, a multiple of 4; below there are 4 and 8 times as many.

    Raises:
        ValueError: an argument out of its range; names it.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, out_channels: int = 2, features: int = 16) -> None:
        super().__init__()
        check_sizes(spatial_dims, in_channels=in_channels, out_channels=out_channels, features=features)
        if features % PROJECTION or in_channels >= features:
            raise ValueError(f"features must be a multiple of 4 and more than in_channels, got {features}")
        self.dimensions = spatial_dims
        few, some, many = features, 4 * features, 8 * features
        conv = Conv[Conv.CONV, spatial_dims]
        self.first = conv(in_channels, few - in_channels, 3, stride=2, padding=1)
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.down1 = _Down(spatial_dims, few, some)
        self.row1 = nn.Sequential(*(_Block(spatial_dims, some, some, dropout=EARLY) for _ in range(4)))
        self.down2 = _Down(spatial_dims, some, many)
        self.row2 = nn.Sequential(*(_Block(spatial_dims, many, many, kind) for kind in KINDS))
        ends = [many] * 7 + [some]
        self.row3 = nn.Sequential(*(_Block(spatial_dims, many, n, kind) for kind, n in zip(KINDS, ends, strict=True)))
        self.unpool = (nn.MaxUnpool2d, nn.MaxUnpool3d)[spatial_dims - 2](2)
        self.join1 = _bottleneck(spatial_dims, 2 * some, some, 2 * some // PROJECTION, EARLY, first=3)
        self.act1 = nn.PReLU()
        self.up1 = nn.Sequential(_Block(spatial_dims, some, some), _Block(spatial_dims, some, few))
        self.join2 = _bottleneck(spatial_dims, 2 * few, few, 2 * few // PROJECTION, EARLY, first=3)
        self.up2 = _Block(spatial_dims, few, few)
        self.act2 = nn.PReLU()
        self.smooth = nn.Sequential(*(_layer(spatial_dims, few, few, 3, bias=False) for _ in range(2)))
        self.out = conv(few, out_channels, 1)
        for module in self.modules():
            if isinstance(module, conv):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, Norm[Norm.BATCH, spatial_dims]):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits (B, K, *spatial) of images (B, C, *spatial).

        Raises:
            ValueError: an axis of the image cannot be halved three times.
        """
        for size in x.shape[2:]:
            if size % 8 != 0:
                raise ValueError(
                    f"ENet: every spatial size must be divisible by 8, got {list(x.shape[2:])}; pad or crop, for "
                    "example with DivisiblePadd(k=8)"
                )
        half = torch.cat((self.first(x), self.pool(x)), 1)
        quarter, places1 = self.down1(half)
        quarter = self.row1(quarter)
        eighth, places2 = self.down2(quarter)
        eighth = self.row3(self.row2(eighth))
        up = self.unpool(eighth, places2)
        up = self.up1(self.act1(up + self.join1(torch.cat((up, quarter), 1))))
        up = self.unpool(up, places1)
        up = self.act2(up + self.up2(self.join2(torch.cat((up, half), 1))))
        return self.out(self.smooth(F.interpolate(up, scale_factor=2.0, mode="nearest")))


class _Block(nn.Module):
    """A bottleneck beside an identity, or beside a convolution where the number of channels falls."""

    def __init__(self, dims: int, inputs: int, outputs: int, kind: int | str = 1, dropout: float | None = None) -> None:
        super().__init__()
        dilated = isinstance(kind, int) and kind > 1
        dropout = dropout or (EARLY if dilated else LATE)
        self.branch = _bottleneck(dims, inputs, outputs, inputs // PROJECTION, dropout, kind)
        self.main: nn.Module = nn.Identity()
        if outputs < inputs:
            plain = Conv[Conv.CONV, dims](inputs, outputs, 3, padding=1)
            self.main = plain if dilated else _layer(dims, inputs, outputs, 1)
        self.act = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give (B, outputs, *spatial) of (B, inputs, *spatial)."""
        return self.act(self.branch(x) + self.main(x))


class _Down(nn.Module):
    """Half the resolution: a bottleneck beside a maximum pooling, whose channels are filled up with zeros."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = Pool[Pool.MAX, dims](2, return_indices=True)
        self.branch = _bottleneck(dims, inputs, outputs, inputs // PROJECTION, EARLY, first=2)
        self.act = nn.PReLU()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give features (B, outputs, *half) and the places of the maxima (B, inputs, *half)."""
        kept, places = self.pool(x)
        branch = self.branch(x)
        zeros = kept.new_zeros(kept.shape[0], branch.shape[1] - kept.shape[1], *kept.shape[2:])
        return self.act(torch.cat((kept, zeros), 1) + branch), places


def _bottleneck(
    dims: int, inputs: int, outputs: int, middle: int, dropout: float, kind: int | str = 1, first: int = 1
) -> nn.Sequential:
    """Fewer channels (``first`` taps, 2 with stride 2), the middle convolution, more channels, dropout."""
    layers: list[nn.Module] = [_layer(dims, inputs, middle, first)]
    if isinstance(kind, int):
        layers.append(_layer(dims, middle, middle, 3, dilation=kind))
    else:
        lines = [tuple(5 if axis == along else 1 for axis in range(dims)) for along in range(dims)]
        conv = Conv[Conv.CONV, dims]
        layers += [conv(middle, middle, taps, padding=tuple(n // 2 for n in taps)) for taps in lines[:-1]]
        layers.append(_layer(dims, middle, middle, lines[-1]))
    return nn.Sequential(*layers, _layer(dims, middle, outputs, 1), nn.Dropout(dropout))


def _layer(
    dims: int, inputs: int, outputs: int, taps: int | Sequence[int], dilation: int = 1, bias: bool = True
) -> Convolution:
    halves = taps == 2
    return Convolution(
        dims,
        inputs,
        outputs,
        strides=2 if halves else 1,
        kernel_size=taps,
        padding=0 if halves else None,
        dilation=dilation,
        adn_ordering="NA",
        act="PRELU",
        norm="batch",
        bias=bias,
    )
