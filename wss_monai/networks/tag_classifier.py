# SPDX-License-Identifier: Apache-2.0
"""A small classifier of image tags whose linear layer turns its features into class activation maps."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks import Convolution
from torch import Tensor, nn

from wss_monai.functional.cams.cues import activation_maps
from wss_monai.networks.sizes import check_sizes

__all__ = ["TagClassifier"]

STRIDES = (1, 2, 4, 8)


class TagClassifier(nn.Module):
    """Convolutions, the mean over all voxels, and a linear layer without bias: which classes does the image show?

    Each block is two 3 x 3 (x 3) convolutions with normalisation and ReLU; the first log2(stride) blocks halve the
    grid. What comes after them has rectifiers of its own, so that the gradient of the logits with respect to their
    features differs from place to place and can serve as a saliency map. A last convolution is neither normalised nor
    rectified, as published (Kolesnikov and Lampert, ECCV 2016), so that a map may be negative; the logit of a class is
    the mean of its map. With four blocks and stride 4 a voxel of the maps sees 59 voxels of the image.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        num_classes: K, background included, which is no tag: there are K - 1 logits and maps.
        channels: of the blocks; the last convolution has as many as the last block.
        stride: voxels of the image a voxel of the maps, 1, 2, 4 or 8.
        norm: of MONAI's factory. "instance" would make every channel's mean the same and leave the mean over all
            voxels little to say.

    Raises:
        ValueError: ``spatial_dims``, a number of channels or classes, or ``stride`` out of range.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        num_classes: int = 2,
        channels: Sequence[int] = (16, 32, 64, 64),
        stride: int = 4,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, in_channels=in_channels, channels=channels)
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, background included, got {num_classes}")
        if stride not in STRIDES:
            raise ValueError(f"stride must be one of {STRIDES}, got {stride}")
        halvings = STRIDES.index(stride)
        first = max(1, halvings)
        if len(channels) <= first:
            raise ValueError(f"channels must name {first + 1} blocks or more for stride {stride}, got {channels}")
        self.dimensions = spatial_dims
        self.stride = stride
        blocks = []
        before = in_channels
        for number, width in enumerate(channels):
            blocks.append(
                nn.Sequential(
                    _convolution(spatial_dims, before, width, norm, 2 if number < halvings else 1),
                    _convolution(spatial_dims, width, width, norm, 1),
                )
            )
            before = width
        self.first, self.second = nn.Sequential(*blocks[:first]), nn.Sequential(*blocks[first:])
        self.last = Convolution(spatial_dims, before, before, conv_only=True)
        self.linear = nn.Linear(before, num_classes - 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits (B, K - 1) of the tags of images (B, C, *spatial)."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Give the features (B, F, *grid) of the blocks that halve the grid, to which a saliency may be traced."""
        return self.first(x)

    def head(self, features: Tensor) -> Tensor:
        """Give the logits (B, K - 1) of ``features``."""
        return self.linear(self.last(self.second(features)).flatten(2).mean(2))

    def maps(self, x: Tensor) -> Tensor:
        """Give the class activation maps (B, K - 1, *grid); the mean of each is its logit."""
        return self.maps_of(self.features(x))

    def maps_of(self, features: Tensor) -> Tensor:
        """Give the class activation maps (B, K - 1, *grid) of ``features``."""
        return activation_maps(self.last(self.second(features)), self.linear.weight)


def _convolution(spatial_dims: int, inputs: int, outputs: int, norm: str, stride: int) -> nn.Module:
    return Convolution(
        spatial_dims, inputs, outputs, strides=stride, adn_ordering="NA", act="RELU", norm=norm, bias=False
    )
