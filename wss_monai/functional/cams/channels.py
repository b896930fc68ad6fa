# SPDX-License-Identifier: Apache-2.0
"""What the channels of a network of class activation maps are, modality by modality.

Such a network gives each of M modalities E channels: the raw, signed maps of the classes (background, foreground),
whose means are the logits of the image's tag, and, where E is 3, a further map of the foreground that is shown in
their place (refined by pixel correlation, Grad-CAM, Grad-CAM++).
"""

from __future__ import annotations

from torch import Tensor

from wss_monai.functional.wide import wide

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


def per_slice(values: Tensor, slice_axis: int | None) -> Tensor:
    """Lay a volume out as its slices.

    Args:
        values: (C, *spatial).
        slice_axis: spatial axis across the slices of a volume; an image of two axes is one slice.
            None: the volume is one.

    Returns:
        (C, S, *slice).

    Raises:
        ValueError: a volume without that axis.
    """
    if slice_axis is None or values.dim() < 4:
        return values.unsqueeze(1)
    if not 0 <= slice_axis < values.dim() - 1:
        raise ValueError(f"slice_axis must be 0, 1 or 2, or None for the whole volume, got {slice_axis}.")
    return values.movedim(slice_axis + 1, 1)


def slice_tag_logits(raw: Tensor, modalities: int, slice_axis: int | None = 2) -> Tensor:
    """Logits of the tags of every slice of stitched raw maps.

    Args:
        raw: (M E, *spatial) of one case, modality by modality.
        modalities: M.
        slice_axis: as for `per_slice`.

    Returns:
        (S, M, 2): background and foreground of each modality, float32 or wider.

    Raises:
        ValueError: channels that are not M times 2 or 3, a volume without that axis.
    """
    maps, _ = split_channels(per_slice(wide(raw), slice_axis).transpose(0, 1), modalities)
    return tag_logits(maps).transpose(0, 1)
