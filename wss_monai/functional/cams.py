# SPDX-License-Identifier: Apache-2.0
"""What the channels of a network of class activation maps are, modality by modality.

Such a network gives each of M modalities E channels: the raw, signed maps of the classes (background, foreground),
whose means are the logits of the image's tag, and, where E is 3, a further map of the foreground that is shown in
their place (refined by pixel correlation, Grad-CAM, Grad-CAM++).
"""

from __future__ import annotations

from torch import Tensor

CLASSES = 2
"""Background and foreground: the two classes of the tag."""


def split_channels(raw: Tensor, modalities: int) -> tuple[Tensor, Tensor]:
    """Take the output of a network of class activation maps apart.

    Args:
        raw: (B, M E, *spatial), modality by modality.
        modalities: M.

    Returns:
        The maps of both classes (M, B, 2, *spatial) and the foreground map that is shown (M, B, *spatial).

    Raises:
        ValueError: channels that are not M times 2 or 3.
    """
    each = raw.shape[1] // max(modalities, 1)
    if modalities < 1 or each * modalities != raw.shape[1] or each not in (CLASSES, CLASSES + 1):
        raise ValueError(
            f"{raw.shape[1]} channels are not {CLASSES} or {CLASSES + 1} for each of {modalities} modalities."
        )
    apart = raw.unflatten(1, (modalities, each)).movedim(1, 0)
    return apart[:, :, :CLASSES], apart[:, :, -1]


def tag_logits(maps: Tensor) -> Tensor:
    """Logits (..., 2) of the tag: the mean of each map (..., 2, *spatial) of (M, B, 2, *spatial)."""
    return maps.flatten(3).mean(-1)
