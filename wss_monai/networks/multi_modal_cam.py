# SPDX-License-Identifier: Apache-2.0
"""One network of class activation maps for each modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional.wide import wide
from wss_monai.networks.cam import CAMNet, channels_of
from wss_monai.networks.cam_unet import CAMUNet
from wss_monai.networks.pixel_correlation import PixelCorrelation
from wss_monai.networks.sizes import check_sizes

__all__ = ["MultiModalCAM"]


class MultiModalCAM(nn.Module):
    """M independent ``CAMNet``, of which the m-th sees channel m of the image alone; they share nothing.

    Args:
        modalities: M, channels of the image.
        spatial_dims: 2 or 3.
        channels: of the levels of each ``CAMUNet``; unused with ``backbone``.
        norm: of each ``CAMUNet``, of MONAI's factory; unused with ``backbone``.
        dropout: probability that a channel of the features is dropped in training.
        shown: "cam": two maps a modality; "gradcam", "gradcam++" or "refined": a third one, as in ``CAMNet``.
        backbone: makes an encoder-decoder of one input channel each time it is called (in a MONAI configuration: its
            ``_target_`` and arguments with ``_mode_: callable``); None: ``CAMUNet``.
        features: channels that the backbone gives; None: its attribute ``features``.
        refine: options of ``PixelCorrelation``, or its stride alone. Given, the module is there whatever is shown, so
            that weights trained with it fit; None: it is there, with its defaults, where ``shown`` is "refined".
        share: of the voxels, the highest ones, that hold half of a logit's weight, as in ``CAMNet``; 0.5: the mean, as
            published.
        zero_biases: of each ``CAMUNet``; unused with ``backbone``.
        standardize: bring each channel of each sample to mean 0 and (unbiased) standard deviation 1 over the frame
            first, as published.

    Raises:
        ValueError: an argument out of its range; names it.
    """

    def __init__(
        self,
        modalities: int,
        spatial_dims: int = 2,
        channels: Sequence[int] = (64, 128, 256, 256),
        norm: str | tuple = "batch",
        dropout: float = 0.0,
        shown: str = "cam",
        backbone: Callable[[], nn.Module] | None = None,
        features: int | None = None,
        refine: int | Mapping[str, Any] | None = None,
        standardize: bool = False,
        share: float = 0.5,
        zero_biases: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, modalities=modalities)
        if isinstance(backbone, nn.Module) or not (backbone is None or callable(backbone)):
            raise ValueError(
                f"backbone must be a callable that makes a new network for each modality, got {type(backbone).__name__}"
                ": in a configuration, add `_mode_: callable` to it"
            )
        options = refine if refine is None or isinstance(refine, Mapping) else {"stride": refine}
        if options is None and shown == "refined":
            options = {}
        self.dimensions = spatial_dims
        self.modalities = modalities
        self.standardize = standardize
        self.axes = list(range(2, 2 + spatial_dims))
        networks: list[CAMNet] = []
        for _ in range(modalities):
            body = CAMUNet(spatial_dims, 1, channels, norm, zero_biases) if backbone is None else backbone()
            if any(body is other.backbone for other in networks):
                raise ValueError("backbone must make a new network each time it is called; it gave the same one twice")
            given = channels_of(body, features)
            correlation = None if options is None else PixelCorrelation(given, spatial_dims=spatial_dims, **options)
            networks.append(CAMNet(body, given, dropout, shown, correlation, spatial_dims, share))
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Give raw maps (B, M E, *spatial), modality by modality, of images (B, M, *spatial); E is 2 or 3.

        Raises:
            ValueError: the image has not M channels.
        """
        if x.dim() != self.dimensions + 2 or x.shape[1] != self.modalities:
            raise ValueError(
                f"MultiModalCAM: an image of shape {list(x.shape)} is not (B, {self.modalities}, *spatial) with "
                f"{self.dimensions} spatial axes: give one channel a modality, or set modalities (and spatial_dims) to "
                "what the images have"
            )
        if self.standardize:
            x = self._standardized(x)
        maps: list[Tensor] = []
        for number, network in enumerate(self.networks):
            maps.append(network(x[:, number : number + 1]))
        return torch.cat(maps, 1)

    def parameters_of(self, modality: int) -> Iterator[nn.Parameter]:
        """Give the parameters of the network of one modality, from 0."""
        return self.networks[modality].parameters()

    def _standardized(self, x: Tensor) -> Tensor:
        x = wide(x)
        deviation, mean = torch.std_mean(x, self.axes, unbiased=True, keepdim=True)
        return (x - mean) / (deviation + 1e-12)
