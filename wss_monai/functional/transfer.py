# SPDX-License-Identifier: Apache-2.0
"""Copies from the host to a device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["send", "send_together"]

ALIGNED = 8
"""Bytes at multiples of which a tensor of any type may begin."""


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


def send_together(tensors: Sequence[Tensor], device: str | torch.device) -> list[Tensor]:
    """``send`` for several small tensors of the host, in one copy where they go to a GPU.

    Args:
        tensors: of any shapes and types, all on the host or all on ``device``.
        device: where they are wanted.
    """
    if torch.device(device).type != "cuda" or any(tensor.device.type != "cpu" for tensor in tensors):
        return [send(tensor, device) for tensor in tensors]
    ends, end = [], 0
    for tensor in tensors:
        end += -(-tensor.numel() * tensor.element_size() // ALIGNED) * ALIGNED
        ends.append(end)
    packed = np.zeros(end, dtype=np.uint8)
    starts = [0, *ends[:-1]]
    for start, tensor in zip(starts, tensors, strict=True):
        values = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8)
        packed[start : start + len(values)] = values
    there = send(torch.from_numpy(packed), device)
    return [
        there[start : start + tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, tensors, strict=True)
    ]
