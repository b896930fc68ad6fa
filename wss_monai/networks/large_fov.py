# SPDX-License-Identifier: Apache-2.0
"""DeepLab-LargeFOV on VGG-16, the network of Seed, Expand and Constrain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Pad, Pool
from monai.utils import ensure_tuple_rep
from torch import nn
from torch.nn import functional as F

from wss_monai.functional.wide import wide
from wss_monai.networks.sizes import check_sizes, linear_mode

__all__ = ["LargeFOV"]

STRIDE = 8
DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions of each stage of VGG-16."""
WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each stage, in multiples of ``width``."""
STRIDES = (2, 2, 2, 1, 1)
"""Of the maximum pooling behind each stage."""
LOWEST = 1e-5
"""What an interpolated probability is at least, before its logarithm is taken."""


class LargeFOV(nn.Module):
    """DeepLab-LargeFOV: the convolutions of VGG-16 with an output every 8 voxels, and a wide dilated one on top.

    Five stages of 2, 2, 3, 3, 3 convolutions of 3 taps an axis; a maximum pooling of 3 taps behind each, the first
    three with stride 2, the others with stride 1; in stage 5 a dilation of 2; an average pooling of 3 taps that counts
    its padding; ``fc6`` of 3 taps with ``dilation``, ``fc7`` and ``fc8`` of one. ReLU behind all but ``fc8``, dropout
    of single elements behind ``fc6`` and ``fc7``. With 3 input channels and 21 classes it has 20 505 429 weights in
    2D. Point i of the grid of logits lies on voxel 8 i: n voxels give (n - 1) // 8 + 1 points (321 give 41), and sizes
    of the form 8 k + 1 are covered to their last voxel.

    In training mode it gives logits (B, K, *grid), on which the losses are computed. In evaluation mode it gives
    log-probabilities on the image's own voxels, log(max(p, 1e-5)), where p is the softmax interpolated linearly
    between the points of the grid and constant behind the last one (at most 7 voxels; for 8 k + 1 voxels this is the
    published interpolation with aligned corners). Their softmax is p up to the bound of 1e-5, so that sliding windows,
    argmax and validation take them for the logits of any other network.

    Published results start from VGG-16 trained on ImageNet; a file of such weights, by the names of torchvision or of
    caffe, is loaded by ``initialize_from`` (``own_names``). Without one the network starts from nothing: all
    convolutions but ``fc8`` come from He's normal distribution over their inputs with zero biases, ``fc8`` from
    N(0, 0.01) with zero bias as published. Sixteen layers without normalisation learn slowly from there: ``norm``
    "batch" or "instance" helps, and is off by default because the published network has none.

    Reference: Chen et al., Semantic image segmentation with deep convolutional nets and fully connected CRFs (2015);
    Kolesnikov and Lampert, Seed, Expand and Constrain (2016).

    Args:
        spatial_dims: 1, 2 or 3.
        in_channels: channels of the input.
        out_channels: classes K, background included.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        hidden: channels of ``fc6`` and ``fc7``.
        dilation: of ``fc6``, in points of the grid, one or one an axis. 12 suits a grid of 41 points; take about 3/10
            of the grid. The grid must be larger along every axis.
        dropout: probability that an element behind ``fc6`` and ``fc7`` is dropped.
        norm: None as published, "batch" or "instance": normalisation in front of each ReLU.
        upsample: "eval", or "never": logits on the grid in evaluation mode too.

    Raises:
        ValueError: an argument out of its range; names it.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 64,
        hidden: int = 1024,
        dilation: int | Sequence[int] = 12,
        dropout: float = 0.5,
        norm: str | None = None,
        upsample: str = "eval",
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, 1, in_channels=in_channels, out_channels=out_channels, width=width, hidden=hidden)
        if not isinstance(dilation, int) and len(dilation) != spatial_dims:
            raise ValueError(f"dilation must be one number or {spatial_dims}, one an axis, got {list(dilation)}")
        dilations = [int(taps) for taps in ensure_tuple_rep(dilation, spatial_dims)]
        if min(dilations) < 1:
            raise ValueError(f"dilation must be 1 or more, got {dilation}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        if norm not in (None, "batch", "instance"):
            raise ValueError(f"norm must be None, 'batch' or 'instance', got {norm!r}")
        if upsample not in ("eval", "never"):
            raise ValueError(f"upsample must be 'eval' or 'never', got {upsample!r}")
        self.dimensions = spatial_dims
        self.stride = STRIDE
        self.dilation = dilations
        self.upsample = upsample
        self.lowest = LOWEST
        self.interpolation = linear_mode(spatial_dims)

        stages: list[nn.Module] = []
        channels = in_channels
        for number, (depth, multiple, stride) in enumerate(zip(DEPTHS, WIDTHS, STRIDES, strict=True), start=1):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers.append(_layer(spatial_dims, channels, multiple * width, norm, dilation=2 if number == 5 else 1))
                channels = multiple * width
            layers.append(Pool[Pool.MAX, spatial_dims](3, stride=stride, padding=1))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        # Padded apart: torch's own padding refuses 3D grids of one or two points.
        self.average = nn.Sequential(
            Pad[Pad.CONSTANTPAD, spatial_dims](1, 0.0), Pool[Pool.AVG, spatial_dims](3, stride=1)
        )
        self.fc6 = _layer(spatial_dims, channels, hidden, norm, dilation=dilations, dropout=dropout)
        self.fc7 = _layer(spatial_dims, hidden, hidden, norm, kernel_size=1, dropout=dropout)
        self.fc8 = Conv[Conv.CONV, spatial_dims](hidden, out_channels, 1)
        for module in self.modules():
            if isinstance(module, Conv[Conv.CONV, spatial_dims]):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc8.weight, 0.0, 0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give logits (B, K, *grid) or, in evaluation, log-probabilities (B, K, *spatial) of images (B, C, *spatial).

        Raises:
            ValueError: along an axis the grid has no more points than ``dilation``, so that the outer taps of ``fc6``
                would see nothing but padding; names the sizes.
        """
        for axis, dilation in enumerate(self.dilation):
            size = x.shape[2 + axis]
            points = (size - 1) // self.stride + 1
            if points <= dilation:
                raise ValueError(
                    f"LargeFOV: an image of {list(x.shape[2:])} voxels has a grid of {points} along axis {axis}, and "
                    f"dilation {dilation} needs more than that many: give images of at least "
                    f"{self.stride * dilation + 1} voxels there, or a smaller dilation"
                )
        z = self.fc8(self.fc7(self.fc6(self.average(self.stages(x)))))
        if self.training or self.upsample == "never":
            return z
        return self._on_voxels(z, x)

    def own_names(self, names: Iterable[str]) -> dict[str, str]:
        """What tensors of VGG-16 are called here, for those that there are: name in the file -> name in this network.

        Known are the names of torchvision (``features.0.weight``), in whose order the convolutions come, and those of
        caffe (``conv1_1.weight``, ``fc6.weight``), with ``features.`` or ``module.`` before them or not.
        """
        names = list(names)
        places = [(stage, layer) for stage, depth in enumerate(DEPTHS) for layer in range(depth)]
        own = {f"conv{stage + 1}_{layer + 1}": f"stages.{stage}.{layer}.conv" for stage, layer in places}
        numbers = sorted({int(match[1]) for name in names if (match := re.match(r"features\.(\d+)\.weight$", name))})
        if len(numbers) == len(places):
            own |= {f"features.{number}": layer for number, layer in zip(numbers, list(own.values()), strict=True)}
        own |= {"fc6": "fc6.conv", "fc7": "fc7.conv", "fc8": "fc8"}
        found: dict[str, str] = {}
        for name in names:
            layer, _, kind = name.rpartition(".")
            short = layer if layer in own else layer.rpartition(".")[2]
            if kind in ("weight", "bias") and short in own:
                found[name] = f"{own[short]}.{kind}"
        return found

    def _on_voxels(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Give log-probabilities (B, K, *spatial), float32 or wider, from logits (B, K, *grid)."""
        z = wide(z)
        covered: list[int] = []
        behind: list[int] = []  # in pairs, the last axis first, as F.pad wants it
        for axis in range(2, x.dim()):
            covered.append(self.stride * (z.shape[axis] - 1) + 1)
            behind = [0, x.shape[axis] - covered[-1]] + behind  # noqa: RUF005 (TorchScript cannot unpack a list)
        probs = F.interpolate(torch.softmax(z, 1), covered, mode=self.interpolation, align_corners=True)
        return F.pad(probs, behind, mode="replicate").clamp(min=self.lowest).log()


def _layer(
    spatial_dims: int,
    inputs: int,
    outputs: int,
    norm: str | None,
    kernel_size: int = 3,
    dilation: int | Sequence[int] = 1,
    dropout: float | None = None,
) -> Convolution:
    return Convolution(
        spatial_dims,
        inputs,
        outputs,
        kernel_size=kernel_size,
        dilation=dilation,
        adn_ordering="NAD",
        act=("relu", {"inplace": True}),
        norm=None if norm is None else (norm, {"affine": True}),
        dropout=dropout,
    )
