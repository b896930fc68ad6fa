# SPDX-License-Identifier: Apache-2.0
"""A U-Net with a second decoder for training, on features that dropout disturbs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from monai.networks.blocks import SubpixelUpsample
from monai.networks.nets import BasicUNet
from monai.networks.utils import icnr_init
from torch import Tensor, nn

from wss_monai.functional.dropped import dropped
from wss_monai.functional.settings import check_flags
from wss_monai.functional.wide import wide

__all__ = ["DecoderMixture", "DualDecoder"]

ENCODER = ("conv_0", "down_1", "down_2", "down_3", "down_4")
DECODER = ("upcat_4", "upcat_3", "upcat_2", "upcat_1", "final_conv")


class DualDecoder(nn.Module):
    """MONAI's ``BasicUNet`` with a second decoder beside its own, for training (Luo et al., MICCAI 2022).

    Both decoders read the encoder's features, the second one after dropout on each level, of single values or of whole
    channels (as published). In training
    mode both give logits; in evaluation mode the first one does alone, which is the plain network: ``network`` can be
    saved, loaded and exported without this class. The second decoder has the architecture of the first and initial
    weights of its own, drawn from PyTorch's generator. Its weights are ``second.*`` in the state, all others
    ``network.*``.

    Args:
        network: a ``BasicUNet``, 2D or 3D.
        dropout: probability with which a value of the second decoder's features is 0, in steps of 1/256; 0: none.
        channels: drop whole channels of a sample, as published, instead of single values.

    Attributes:
        network: the network, encoder and first decoder.
        second: the modules of the second decoder, by their names in the network.

    Raises:
        ValueError: another network, or a dropout outside [0, 1).

    Example:
        >>> both = DualDecoder(BasicUNet(spatial_dims=2, in_channels=1, out_channels=4))
        >>> first, second = both(images)
    """

    def __init__(self, network: nn.Module, dropout: float = 0.5, channels: bool = False) -> None:
        super().__init__()
        check_flags(channels=channels)
        if not isinstance(network, BasicUNet) or type(network).forward is not BasicUNet.forward:
            raise ValueError(
                f"a second decoder needs MONAI's BasicUNet (its modules {ENCODER[0]}, ... {DECODER[-1]}), got a "
                f"{type(network).__name__}: set network_def to a BasicUNet, or --pseudo_teacher average, which takes "
                "any network."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, got {dropout}.")
        self.network = network
        self.dropout = dropout
        self.channels = channels
        self.second = nn.ModuleDict({name: deepcopy(getattr(network, name)) for name in DECODER})
        _draw_weights(self.second)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, K, *spatial) of images (B, C, *spatial): of both decoders in training mode, else of the first."""
        if not self.training:
            logits: Tensor = self.network(images)
            return logits
        features = self._features(images)
        disturbed = [dropped(each, self.dropout, self.channels) for each in features]
        return self._decode(features), self._decode(disturbed, second=True)

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both decoders on the same features, none of them dropped, in evaluation mode; modes stay."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            features = self._features(images)
            return self._decode(features), self._decode(features, second=True)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def mixture(self) -> DecoderMixture:
        """Both decoders as one network with the same weights, see there."""
        return DecoderMixture(self)

    def _features(self, images: Tensor) -> list[Tensor]:
        """What the encoder gives, finest level first."""
        features = []
        for name in ENCODER:
            images = getattr(self.network, name)(images)
            features.append(images)
        return features

    def _decode(self, features: Sequence[Tensor], second: bool = False) -> Tensor:
        """Logits of a decoder."""
        *fine, x = features
        for name, beside in zip(DECODER, reversed(fine), strict=False):
            x = self._module(name, second)(x, beside)
        logits: Tensor = self._module(DECODER[-1], second)(x)
        return logits

    def _module(self, name: str, second: bool) -> nn.Module:
        module: nn.Module = self.second[name] if second else getattr(self.network, name)
        return module


class DecoderMixture(nn.Module):
    """What both decoders say together: log(p / 2 + q / 2) of their probabilities p and q, in evaluation mode.

    That is what pseudo-labels of both (`wss_monai.losses.DualDecoderLoss`) are like on average, without the random
    share and without dropout. It can be asked in the midst of training: the decoders' modes are as before afterwards.

    Args:
        decoders: both.
    """

    def __init__(self, decoders: DualDecoder) -> None:
        super().__init__()
        self.decoders = decoders

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities (B, K, *spatial), float32 or wider, of images (B, C, *spatial)."""
        with torch.no_grad():
            logits = self.decoders.both(images)
            first, second = (F.log_softmax(wide(each), 1) for each in logits)
            return torch.logaddexp(first, second) - math.log(2)


def _draw_weights(modules: nn.Module) -> None:
    """Draw initial weights as when the modules were made.

    Raises:
        ValueError: a module with weights that PyTorch cannot draw anew.
    """
    for name, module in modules.named_modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(f"the second decoder's {name} ({type(module).__name__}) has no initial weights to draw.")
    for module in modules.modules():
        if isinstance(module, SubpixelUpsample) and isinstance(module.conv_block, nn.Conv2d | nn.Conv3d):
            icnr_init(module.conv_block, module.scale_factor)
