# SPDX-License-Identifier: Apache-2.0
"""Tensors without the metadata that they may carry."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

__all__ = ["plain_tensor"]


def plain_tensor(values: Any) -> Tensor:
    """The values of a ``MetaTensor``, tensor or array as a tensor without metadata, of the same memory."""
    return values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)
