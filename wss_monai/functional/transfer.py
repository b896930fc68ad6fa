# SPDX-License-Identifier: Apache-2.0
"""Copies from the host to a device that the host does not wait for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["send"]


def send(tensor: Tensor, device: str | torch.device | None, **kwargs: Any) -> Tensor:
    """``tensor.to(device, **kwargs)``, without waiting for a GPU.

    An ordinary copy to a GPU lets the host wait until the device has done all that it was asked for, whatever the size
    of the copy. One that is not waited for is safe in this direction: the source is read before the call returns
    (ordinary memory) or kept until the copy has been made (pinned memory).
    """
    if device is None:
        return tensor.to(**kwargs) if kwargs else tensor
    ahead = tensor.device.type == "cpu" and torch.device(device).type == "cuda"
    return tensor.to(device=device, non_blocking=ahead, **kwargs)
