# SPDX-License-Identifier: Apache-2.0
"""Stores of training samples: all slices of all volumes, or random patches of them, as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.data.loading.case_store import MAPS, CaseStore, check_same_entries
from wss_monai.data.loading.store_place import StorePlace
from wss_monai.functional import UNLABELLED
from wss_monai.functional.patch_tags import longest_absence, tags_of_part, tags_of_volume
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.transfer import send
from wss_monai.io.grids import spacing_of


class SliceStore(CaseStore):
    """Slices of prepared volumes as one tensor a key, so that a batch is a single indexing.

    Args:
        volumes: dictionaries of channel-first volumes with ``image``, any of ``label``, ``weak_label`` (index maps),
            ``bounds_<term>`` (S, K, M, 2) for slices or (K, M, 2) for the volume, ``slice_tags`` (S, K); all volumes
            have the same entries and the same extent in the slice plane.
        slice_axis: spatial axis along which they are cut.
        maps: keys of the maps to take where a case has them, for example also the ``boxes`` (K, *spatial).
        place: where the tensors lie; None: in memory. They are the same wherever they lie.

    Attributes:
        tensors: key -> (N, ...) all slices.
        volume: (N,) index of the volume that each slice comes from.
        position: (N,) in mm, along the slice axis, from the first slice of the volume.
        volume_terms: constraint terms whose bounds are about whole volumes.

    Raises:
        ValueError: no volumes, an image of two axes, or volumes that do not fit together (named by case).
    """

    def __init__(
        self,
        volumes: Iterable[Mapping[str, Any]],
        slice_axis: int = 2,
        maps: Sequence[str] = MAPS,
        place: StorePlace | None = None,
    ) -> None:
        super().__init__()
        self.slice_axis, self.maps = slice_axis, list(maps)
        self._first: dict[str, Tensor] = {}
        self._fill(volumes, place or StorePlace(), (), slice_axis)
        counts = torch.from_numpy(self.columns.lengths("image").astype(np.int64))
        self.volume = torch.arange(len(counts)).repeat_interleave(counts)
        self._ends = [0, *counts.cumsum(0).tolist()]
        keys = [key for key in self.columns.buffers if not key.startswith("of_case.")]
        self.position = torch.cat([self._step(v, slice_axis) * torch.arange(n) for v, n in enumerate(counts)]).float()
        own = {"volume": self.volume, "position": self.position}
        self.tensors = {key: self.columns.rows(key) for key in keys} | own

    def _add(self, number: int, name: str, case: Mapping[str, Any]) -> dict[str, Tensor]:
        if case["image"].ndim != 4:
            raise ValueError(
                f"case '{name}': an image of {tuple(case['image'].shape[1:])} is not cut into slices; store 2D "
                "images as volumes, of one slice or of all slices of a patient, with a row of slice_tags for each."
            )
        terms = {key.removeprefix("bounds_") for key in case if key.startswith("bounds_") and case[key].dim() == 3}
        row = self._row(case)
        if self._first:
            check_same_entries(name, row, self._first)
            if terms != self.volume_terms:
                raise ValueError(
                    f"case '{name}': the bounds of {sorted(terms ^ self.volume_terms)} are about slices in some "
                    "cases and about volumes in others."
                )
        for key, value in row.items():
            if len(value) != len(row["image"]):
                raise ValueError(
                    f"case '{name}': {key} has {len(value)} rows for {len(row['image'])} slices; keep the slices "
                    "of the file (-1 along slice_axis in pixdim and crop), or mend its rows."
                )
            if self._first and value.shape[1:] != self._first[key].shape[1:]:
                raise ValueError(
                    f"case '{name}': slices of {key} have {tuple(value.shape[1:])}, but those before "
                    f"{tuple(self._first[key].shape[1:])}; crop or pad all volumes to one size (ResizeWithPadOrCropd)."
                )
        self._first = self._first or {key: value[:0].clone() for key, value in row.items()}
        self.volume_terms = terms
        return row

    def _row(self, case: Mapping[str, Any]) -> dict[str, Tensor]:
        """The slices of a case, one tensor a key."""
        slice_axis = self.slice_axis
        slices = plain_tensor(case["image"]).movedim(slice_axis + 1, 0)
        count = len(slices)
        plane = [step for axis, step in enumerate(spacing_of(case["image"])) if axis != slice_axis]
        row = {"image": slices, "spacing": torch.tensor(plane).repeat(count, 1)}
        row |= {
            key: plain_tensor(case[key]).movedim(slice_axis + 1, 0).to(torch.uint8) for key in self.maps if key in case
        }
        for key, value in case.items():
            if key == "slice_tags":
                row[key] = torch.as_tensor(value)
            elif key.startswith("bounds_"):
                row[key] = value.repeat(count, 1, 1, 1) if value.dim() == 3 else value
        return row

    def __len__(self) -> int:
        return len(self.volume)

    def by_case(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Name and entries (S, ...) of each case, on the host."""
        rows = self.tensors[key]
        for name, start, stop in zip(self.cases, self._ends, self._ends[1:], strict=False):
            entries = rows[start:stop].cpu()
            yield name, entries
            self.columns.release(entries.nbytes)

    def batch(self, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of the chosen slices: image (B, C, H, W), maps (B, 1 or K, H, W), bounds (B, K, M, 2), ..."""
        index = torch.as_tensor(indices)
        there = send(index, self.tensors["image"].device)
        out = {key: value[index if value.device == index.device else there] for key, value in self.tensors.items()}
        out["sample"] = index
        self.columns.release(sum(value.nbytes for value in out.values()))
        return out

    def _volume(self, key: str, number: int) -> Tensor:
        return self.tensors[key][self._ends[number] : self._ends[number + 1]].movedim(0, self.slice_axis + 1)


class PatchStore(CaseStore):
    """Random patches of prepared volumes, for training in 3D.

    A bound on a volume keeps its upper side only, unless the patch holds the whole volume; bounds on a place (a
    centroid) cannot be kept.

    A patch has ``tags`` (K,) where its volume has ``tags`` (K,) or ``slice_tags`` (S, K). "Absent" from the volume
    holds in a patch too, "present" where the patch holds the whole volume or a drawn voxel of the class. What this
    leaves unknown is read off the tags of the slices that the patch holds: absent where all are known to be without
    the class; present where any shows it, if patches are whole in the slice plane. Slices that were padded show
    nothing. Tags of slices that do not fit the volume, since it was resampled across them, are not used.

    Args:
        volumes: dictionaries as for ``SliceStore``, bounds of whole volumes only.
        patch_size: voxels along each axis; volumes that are smaller are padded (image 0, maps 255).
        patches_per_volume: samples a volume gives in an epoch.
        maps: as for ``SliceStore``.
        slice_axis: spatial axis across the slices, for ``slice_tags``.
        place: where the tensors lie; None: in memory. They are the same wherever they lie.

    Attributes:
        volume: (N,) index of the volume that each sample comes from.

    Raises:
        ValueError: no volumes, a volume with one slice, bounds on slices or places; named by case; another
            slice_axis than 0, 1, 2.
    """

    def __init__(
        self,
        volumes: Iterable[Mapping[str, Any]],
        patch_size: Sequence[int],
        patches_per_volume: int = 4,
        maps: Sequence[str] = MAPS,
        slice_axis: int = 2,
        place: StorePlace | None = None,
    ) -> None:
        super().__init__()  # no volume_terms: a patch is a sample of its own, no term needs whole volumes
        self.patch_size = list(patch_size)
        self.slice_axis = slice_axis
        self.maps = list(maps)
        self._first: dict[str, Tensor] = {}
        self._absences: list[Tensor] = []  # greatest number (K,) of slices in a row without a class, by volume
        self._warned: set[str] = set()
        if patches_per_volume < 1 or not all(length > 0 for length in patch_size):
            raise ValueError(
                f"patches_per_volume and patch_size must be positive, got {patches_per_volume}, {list(patch_size)}."
            )
        if slice_axis not in (0, 1, 2):
            raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis}.")
        self._fill(volumes, place or StorePlace(), self.patch_size, slice_axis)
        self.volume = torch.arange(len(self.cases)).repeat_interleave(patches_per_volume)
        self._keys = [key for key in self.columns.buffers if not key.startswith(("of_case.", "of_slices."))]

    def __len__(self) -> int:
        return len(self.volume)

    def by_case(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Name and entry (1, ...) of each case."""
        if key not in self._keys:
            raise KeyError(key)
        for number, name in enumerate(self.cases):
            entry = self._entry(key, number).unsqueeze(0).cpu()
            yield name, entry
            self.columns.release(entry.nbytes)

    @property
    def slice_tags(self) -> Iterator[Tensor | None]:
        """Tags (S, K) of the slices of each volume with its padding, absent in padded slices; None: there are none."""
        return (self._rows(number) for number in range(len(self.cases)))

    def _rows(self, number: int) -> Tensor | None:
        return self.columns.entry("of_slices.tags", number) if "of_slices.tags" in self.columns else None

    def _entry(self, key: str, number: int) -> Tensor:
        entry = self.columns.entry(key, number)
        if entry is None:
            raise KeyError(key)
        return entry

    def _volume(self, key: str, number: int) -> Tensor:
        extent = self._entry("of_case.extent", number).tolist()
        padded = self._entry(key, number)
        starts = [max(0, p - n) // 2 for n, p in zip(extent, self.patch_size, strict=True)]
        return padded[(slice(None), *[slice(a, a + n) for a, n in zip(starts, extent, strict=True)])]

    def _add(self, number: int, name: str, case: Mapping[str, Any]) -> dict[str, Tensor]:
        entries = self._prepare(name, case)
        self._first = self._first or {key: value.flatten()[:0].clone() for key, value in entries.items()}
        check_same_entries(name, entries, self._first)
        rows = None if case.get("slice_tags") is None else torch.as_tensor(case["slice_tags"])
        padded = None if rows is None else self._padded_rows(name, rows, case["image"].shape[1:], case)
        more = {"of_case.extent": torch.tensor(case["image"].shape[1:])}
        return {**entries, **more, **({} if padded is None else {"of_slices.tags": padded})}

    def _read_here(self) -> Sequence[str]:
        return ("weak_label",) if "tags" in self.columns else ()

    def _complete(self) -> None:
        if "weak_label" not in self._first:
            self._warn_of_thick_patches()

    def _prepare(self, name: str, case: Mapping[str, Any]) -> dict[str, Tensor]:
        image = plain_tensor(case["image"])
        if min(image.shape[1:]) < 2:
            raise ValueError(
                f"case '{name}' has shape {tuple(image.shape[1:])}: a single slice cannot train a 3D network; use the "
                "2D configuration."
            )
        if len(self.patch_size) != image.dim() - 1:
            raise ValueError(f"patch_size {self.patch_size} does not fit case '{name}' of {tuple(image.shape[1:])}.")
        out = {"image": self._pad(image, 0), "spacing": torch.tensor(spacing_of(case["image"]))}
        out |= {key: self._pad(plain_tensor(case[key]).to(torch.uint8), UNLABELLED) for key in self.maps if key in case}
        whole = all(n <= p for n, p in zip(image.shape[1:], self.patch_size, strict=True))
        moved = not whole or out["image"].shape != image.shape
        out |= {key: self._bounds(name, key, case[key], whole, moved) for key in case if key.startswith("bounds_")}
        rows = None if case.get("slice_tags") is None else torch.as_tensor(case["slice_tags"])
        if "tags" in case:
            out["tags"] = torch.as_tensor(case["tags"])
        if rows is not None:
            out["tags"] = tags_of_volume(out.get("tags"), rows)
        return out

    def _padded_rows(self, name: str, rows: Tensor, shape: Sequence[int], case: Mapping[str, Any]) -> Tensor | None:
        """Tags of the slices of a volume with its padding; None where they do not fit it."""
        if self.slice_axis < len(shape) and len(rows) == shape[self.slice_axis]:
            self._absences.append(longest_absence(rows))
            short = max(0, self.patch_size[self.slice_axis] - len(rows))
            return F.pad(rows, (0, 0, short // 2, short - short // 2), value=0)
        if "weak_label" not in case and "slice_tags" not in self._warned:
            self._warn(
                f"case '{name}': slice_tags has {len(rows)} rows, but the volume has {list(shape)} voxels and "
                f"slice_axis is {self.slice_axis}; so 'present' is unknown in patches. Keep the slices of the file (-1 "
                "in pixdim and crop), or set slice_axis."
            )
            self._warned.add("slice_tags")
        return None

    def _warn_of_thick_patches(self) -> None:
        """Say so where slices without a class are known, but no patch fits between: tags alone then teach nothing."""
        if not self._absences:
            return
        longest = torch.stack(self._absences).amax(0)[1:]
        thick = self.patch_size[self.slice_axis]
        for k in ((longest > 0) & (longest < thick)).nonzero().flatten().tolist():
            self._warn(
                f"no patch of {thick} slices is known to be without class {k + 1}, which tags need to tell it from the "
                f"rest: at most {int(longest[k])} slices without it lie together; set patch_size to no more along axis "
                f"{self.slice_axis}."
            )

    def _bounds(self, name: str, key: str, bounds: Tensor, whole: bool, moved: bool) -> Tensor:
        """What still holds of the bounds of a volume in a patch of it."""
        if bounds.dim() == 4:
            raise ValueError(f"case '{name}': {key} is about slices; patches in 3D take bounds on volumes (ml).")
        if moved and bounds.shape[-2] > 1 and bool(bounds.isfinite().any()):
            raise ValueError(
                f"case '{name}': {key} is about a place in the volume, and patches do not keep the volume's "
                "coordinates; bound the size, or set patch_size to the shape of the volumes."
            )
        if whole:
            return bounds
        if bool(bounds[..., 0].isfinite().any()) and key not in self._warned:
            self._warn(f"{key}: patches are smaller than the volumes, so only upper bounds are kept.")
            self._warned.add(key)
        return torch.stack((torch.full_like(bounds[..., 0], -math.inf), bounds[..., 1]), -1)

    def _whole_plane(self, shape: Sequence[int]) -> bool:
        """Whether a patch of a volume of this shape, padding included, holds its slices whole."""
        return all(
            n == p for axis, (n, p) in enumerate(zip(shape, self.patch_size, strict=True)) if axis != self.slice_axis
        )

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
            shape = self.columns.shape("image", number) or ()
            corner = [
                int(torch.randint(0, n - p + 1, (1,), generator=generator))
                for n, p in zip(shape[1:], self.patch_size, strict=True)
            ]
            window = (slice(None), *[slice(c, c + p) for c, p in zip(corner, self.patch_size, strict=True)])
            sample = {key: self._entry(key, number) for key in self._keys}
            sample |= {key: sample[key][window] for key in ("image", *self.maps) if key in sample}
            sample |= {"volume": torch.tensor(number), "sample": torch.tensor(number)}
            if "tags" in sample and sample["image"].shape != shape:
                sample["tags"] = self._tags(number, window)
            samples.append(sample)
        out = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
        self.columns.release(sum(value.nbytes for value in out.values()))
        return out

    def _tags(self, number: int, window: tuple[slice, ...]) -> Tensor:
        """Tags (K,) of a patch."""
        rows = self._rows(number)
        if rows is not None:
            rows = rows[window[self.slice_axis + 1]]
        drawn = self.columns.entry("weak_label", number, here=True) if "weak_label" in self._keys else None
        shape = self.columns.shape("image", number) or ()
        return tags_of_part(
            self._entry("tags", number), None if drawn is None else drawn[window], rows, self._whole_plane(shape[1:])
        )
