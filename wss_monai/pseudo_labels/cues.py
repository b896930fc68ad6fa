# SPDX-License-Identifier: Apache-2.0
"""Cues for a volume from a trained classifier of its tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.functional.cams.cues import body_mask, cue_map, gradient_saliency, maps_on_grid
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.networks import TagClassifier

__all__ = ["TagCues"]


class TagCues:
    """Cues on the grid of an image: where the classifier sees the classes that are there, and where it sees nothing.

    The maps are carried to the image's grid linearly before they are thresholded (the published code thresholds the 41
    x 41 cells themselves, which are also the grid of its loss). So the border of a cue follows the map and not its
    cells, and the loss, which pools cues to its own grid class by class, does not thicken a cell a second time.

    Args:
        network: a trained classifier; is used in evaluation mode.
        slice_axis: spatial axis along which each slice is an image of its own; None: the volume is one.
        fraction: of a map's maximum, above which there are foreground cues; one number, or one a class.
        background: fraction of the body's voxels, the least salient ones, that are background cues.
        air: background cues outside of the body, as a fraction of those in it.
        minimum: voxels that a class which is there gets at least.
        rule: who gets a voxel that several claim, "smaller" (the class of the smaller area) or "drop" (nobody).
        device: where the network runs.
        batch_size: slices that the network sees at a time.

    Raises:
        ValueError: numbers out of range, when first used.
    """

    def __init__(
        self,
        network: TagClassifier,
        slice_axis: int | None = 2,
        fraction: float | Sequence[float] = 0.2,
        background: float = 0.1,
        air: float = 0.1,
        minimum: int = 1,
        rule: str = "smaller",
        device: str | torch.device = "cpu",
        batch_size: int = 16,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.slice_axis = slice_axis
        self.batch_size = batch_size
        self.settings: dict[str, Any] = {
            "fraction": fraction,
            "background": background,
            "air": air,
            "minimum": minimum,
            "rule": rule,
        }

    def __call__(self, image: Tensor, tags: Tensor) -> Tensor:
        """Make the cues of an image.

        Args:
            image: (C, *spatial), as the classifier saw its training images.
            tags: (S, K) of the S slices, or (K,) of the volume where ``slice_axis`` is None; 1 present, 0 absent,
                -1 unknown, background first.

        Returns:
            Class indices, uint8 (1, *spatial), 255 = no cue; a ``MetaTensor`` where the image is one.

        Raises:
            ValueError: tags that do not fit the slices, or settings out of range.
        """
        plain = plain_tensor(image).float().cpu()
        axis = None if self.slice_axis is None or plain.dim() == 3 else self.slice_axis
        samples = plain[None] if axis is None else plain.movedim(axis + 1, 0)
        rows = np.asarray(tags)
        rows = rows[None] if rows.ndim == 1 else rows
        if len(rows) != len(samples):
            raise ValueError(
                f"tags have {len(rows)} rows for {len(samples)} slices; keep the file's slices along slice_axis "
                "(pixdim -1), or use the tags of the volume with slice_axis null."
            )
        body = body_mask(plain.numpy(), axis)
        bodies = body[None] if axis is None else np.moveaxis(body, axis, 0)
        cues = np.stack(
            [
                cue_map(maps, saliency, row, mask, **self.settings)
                for (maps, saliency), row, mask in zip(self._look(samples), rows, bodies, strict=True)
            ]
        )
        index = torch.from_numpy(np.ascontiguousarray(cues[0] if axis is None else np.moveaxis(cues, 0, axis)))[None]
        return MetaTensor(index, meta=image.meta) if isinstance(image, MetaTensor) else index

    def _look(self, samples: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
        """Maps (K - 1, *spatial) and saliency (*spatial) of each sample, on its own grid."""
        self.network.eval()
        out = []
        for part in samples.split(self.batch_size):
            with torch.no_grad():
                features = self.network.features(part.to(self.device))
                maps = self.network.maps_of(features)
            saliency = gradient_saliency(features, self.network.head)
            both = torch.cat((maps, saliency), 1).float().cpu()
            fine = maps_on_grid(both, part.shape[2:], self.network.stride).numpy()
            out += [(values[:-1], values[-1]) for values in fine]
        return out
