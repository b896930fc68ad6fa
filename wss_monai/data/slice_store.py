# SPDX-License-Identifier: Apache-2.0
"""In-memory stores of training samples: all slices of all volumes, or random patches of them, as plain tensors."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from torch import Tensor

from wss_monai.functional import UNLABELLED

MAPS = ("label", "weak_label")
logger = logging.getLogger(__name__)


class SliceStore:
    """Slices of cached volumes as one tensor a key, so that a batch is a single indexing.

    Args:
        volumes: dictionaries of channel-first volumes with ``image``, any of ``label``, ``weak_label`` (index maps),
            ``bounds_<term>`` (S, K, M, 2) for slices or (K, M, 2) for the volume, ``slice_tags`` (S, K); all volumes
            have the same extent in the slice plane.
        slice_axis: spatial axis along which they are cut.

    Attributes:
        volume: (N,) index of the volume that each slice comes from.
        volume_terms: constraint terms whose bounds are about whole volumes.

    Raises:
        ValueError: no volumes, or slices of unequal extent (named by case).
    """

    def __init__(self, volumes: Iterable[Mapping[str, Any]], slice_axis: int = 2) -> None:
        parts: dict[str, list[Tensor]] = {}
        self.cases: list[str] = []
        self.volume_terms: set[str] = set()
        shape = None
        for number, case in enumerate(volumes):
            name = str(case.get("case", number))
            image = _plain(case["image"])
            slices = image.movedim(slice_axis + 1, 0).contiguous()
            if shape is not None and slices.shape[1:] != shape:
                raise ValueError(
                    f"case '{name}': slices of {tuple(slices.shape[1:])}, but those before have {tuple(shape)}; "
                    "crop or pad all volumes to one size in the slice plane (ResizeWithPadOrCropd)."
                )
            shape = slices.shape[1:]
            count = len(slices)
            spacing = affine_to_spacing(case["image"].affine) if isinstance(case["image"], MetaTensor) else [1.0] * 3
            plane = torch.as_tensor([float(s) for a, s in enumerate(spacing) if a != slice_axis])
            row = {"image": slices, "spacing": plane.repeat(count, 1), "volume": torch.full((count,), number)}
            row |= {k: _plain(case[k]).movedim(slice_axis + 1, 0).to(torch.uint8) for k in MAPS if k in case}
            for key, value in case.items():
                if key.startswith("bounds_"):
                    whole = value.dim() == 3
                    row[key] = value.repeat(count, 1, 1, 1) if whole else value
                    if whole:
                        self.volume_terms.add(key.removeprefix("bounds_"))
            for key, value in row.items():
                parts.setdefault(key, []).append(value)
            self.cases.append(name)
        if not parts:
            raise ValueError("the training set is empty: no case is left after the split.")
        self.tensors = {key: torch.cat(values) for key, values in parts.items()}
        self.volume = self.tensors["volume"]

    def __len__(self) -> int:
        return len(self.volume)

    def batch(self, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of the chosen slices: image (B, C, H, W), maps (B, 1, H, W), bounds (B, K, M, 2), ..."""
        index = torch.as_tensor(indices)
        return {key: value[index] for key, value in self.tensors.items()}


class PatchStore:
    """Random patches of cached volumes, for training in 3D.

    A bound on a volume keeps its upper side only, unless the patch holds the whole volume.

    Args:
        volumes: dictionaries as for ``SliceStore``, bounds of whole volumes only.
        patch_size: voxels along each axis; volumes that are smaller are padded (image 0, maps 255).
        patches_per_volume: samples a volume gives in an epoch.

    Raises:
        ValueError: no volumes, a volume with one slice, or bounds on slices; named by case.
    """

    def __init__(
        self, volumes: Iterable[Mapping[str, Any]], patch_size: Sequence[int], patches_per_volume: int = 4
    ) -> None:
        self.patch_size = list(patch_size)
        self.volumes: list[dict[str, Tensor]] = []
        self.cases: list[str] = []
        self.volume_terms: set[str] = set()  # a patch is a sample of its own: no term needs whole volumes
        self._warned: set[str] = set()
        for number, case in enumerate(volumes):
            self.cases.append(str(case.get("case", number)))
            self.volumes.append(self._prepare(self.cases[-1], case))
        if not self.volumes:
            raise ValueError("the training set is empty: no case is left after the split.")
        self.volume = torch.arange(len(self.volumes)).repeat_interleave(patches_per_volume)

    def __len__(self) -> int:
        return len(self.volume)

    def _prepare(self, name: str, case: Mapping[str, Any]) -> dict[str, Tensor]:
        image = _plain(case["image"])
        if min(image.shape[1:]) < 2:
            raise ValueError(
                f"case '{name}' has shape {tuple(image.shape[1:])}: a single slice cannot train a 3D network; use the "
                "2D configuration."
            )
        whole = all(n <= p for n, p in zip(image.shape[1:], self.patch_size, strict=True))
        spacing = affine_to_spacing(case["image"].affine) if isinstance(case["image"], MetaTensor) else [1.0] * 3
        out = {"image": self._pad(image, 0), "spacing": torch.as_tensor([float(s) for s in spacing])}
        out |= {key: self._pad(_plain(case[key]).to(torch.uint8), UNLABELLED) for key in MAPS if key in case}
        for key, bounds in case.items():
            if not key.startswith("bounds_"):
                continue
            if bounds.dim() == 4:
                raise ValueError(f"case '{name}': {key} is about slices; patches in 3D take bounds on volumes (ml).")
            if not whole:
                if bool(bounds[..., 0].isfinite().any()) and key not in self._warned:
                    logger.warning("%s: patches are smaller than the volumes, so only upper bounds are kept.", key)
                    self._warned.add(key)
                bounds = torch.stack((torch.full_like(bounds[..., 0], -math.inf), bounds[..., 1]), -1)
            out[key] = bounds
        return out

    def _pad(self, volume: Tensor, value: int) -> Tensor:
        pads: list[int] = []
        for length, wanted in zip(reversed(volume.shape[1:]), reversed(self.patch_size), strict=True):
            short = max(0, wanted - length)
            pads += [short // 2, short - short // 2]
        return F.pad(volume, pads, value=value)

    def batch(self, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of one random patch for each index; the places are a function of the seed."""
        generator = torch.Generator().manual_seed(seed)
        samples = []
        for index in indices:
            number = int(self.volume[index])
            volume = self.volumes[number]
            corner = [
                int(torch.randint(0, n - p + 1, (1,), generator=generator))
                for n, p in zip(volume["image"].shape[1:], self.patch_size, strict=True)
            ]
            window = (slice(None), *[slice(c, c + p) for c, p in zip(corner, self.patch_size, strict=True)])
            spatial = {key: volume[key][window] for key in ("image", *MAPS) if key in volume}
            samples.append({**volume, **spatial, "volume": torch.tensor(number)})
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def _plain(volume: Tensor) -> Tensor:
    return volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume)
