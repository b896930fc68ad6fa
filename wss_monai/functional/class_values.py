# SPDX-License-Identifier: Apache-2.0
"""Whether maps and tags hold only values that a number of classes allows."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED

__all__ = ["check_classes", "check_tags"]

TAGS = (1, 0, -1)
"""Present, absent, unknown."""


def check_classes(index: Tensor, num_classes: int, name: str = "the index map", unlabelled: int = UNLABELLED) -> None:
    """Refuse class indices that there are not.

    On a GPU this waits for the device. Without it an operator that reads such an index there ends the process, with a
    message that names neither the value nor the map.

    Args:
        index: class indices of any shape and numeric type.
        num_classes: K; 0..K-1 are classes.
        name: what is checked, for the message.
        unlabelled: the value beside the classes that says that nothing is known.

    Raises:
        ValueError: another value.
    """
    small, looks = index.dtype == torch.uint8, not torch.compiler.is_compiling()
    if looks and small and unlabelled == UNLABELLED and index.numel() and int((index + 1).amax()) <= num_classes:
        return  # 255 + 1 is 0 there: nothing lies between the classes and 255
    if small:
        index = index.short()  # a comparison of bytes with -1 or 300 would wrap around
    wrong = (index != unlabelled) & ((index >= num_classes) | (index < 0))
    if not looks:  # a graph cannot; it ends with this line
        torch._assert_async(~wrong.any(), f"{name} holds other classes than 0..{num_classes - 1}")
    elif bool(wrong.any()):
        raise ValueError(
            f"{name} holds class {int(index[wrong][0])}, but there are {num_classes} classes (0..{num_classes - 1}; "
            f"unlabelled = {unlabelled})."
        )


def check_tags(tags: Tensor) -> None:
    """Refuse tags other than 1 (present), 0 (absent) and -1 (unknown); on a GPU this waits for the device.

    Raises:
        ValueError: another value.
    """
    wrong = torch.ones_like(tags, dtype=torch.bool)
    for known in TAGS:
        wrong &= tags != known
    if torch.compiler.is_compiling():
        torch._assert_async(~wrong.any(), "tags hold other values than 1, 0 and -1")
    elif bool(wrong.any()):
        raise ValueError(f"tags must be 1, 0 or -1 (unknown), got {tags[wrong][0].item()}.")
