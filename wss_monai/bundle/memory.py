# SPDX-License-Identifier: Apache-2.0
"""In which order a network's tensors lie in memory."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["memory_format_for"]

PLANE = 4
"""Dimensions of the weights of a convolution in 2D."""


def memory_format_for(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last for networks of 2D convolutions on a GPU, whose kernels want it so; else as PyTorch has it.

    The weights are asked, not an argument of the network: those of MONAI keep the number of dimensions under other
    names, or not at all.
    """
    widest = max((weight.dim() for weight in network.parameters()), default=0)
    flat = torch.device(device).type == "cuda" and widest == PLANE
    return torch.channels_last if flat else torch.contiguous_format
