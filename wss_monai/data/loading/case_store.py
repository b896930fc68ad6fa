# SPDX-License-Identifier: Apache-2.0
"""What stores of training samples share: where their tensors lie, and whole cases for who wants them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import torch
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.data.loading.columns import Columns, GrowingColumns, Writer
from wss_monai.data.loading.disk_columns import DiskColumns, stored
from wss_monai.data.loading.fingerprint import fingerprint
from wss_monai.data.loading.prepared_cases import PreparedCases
from wss_monai.data.loading.store_place import StorePlace
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.grids import voxel_edges

__all__ = ["MAPS", "CaseStore", "WholeCases", "check_maps", "check_same_entries"]

MAPS = ("label", "weak_label", "far_background")
"""Maps (1, *spatial) that are taken where a case has them."""
OF_CASE = ("tags", "slice_tags", "expected_size", "weak_kind", "patient")
"""Further entries of a case that stay in a store, for handlers that look at whole cases."""
TEXTS = ("weak_kind", "patient")
"""Those that are texts."""
logger = logging.getLogger(__name__)


class CaseStore:
    """Tensors of prepared cases, in memory, on a disk or on a device; `SliceStore` and `PatchStore` cut them.

    Attributes:
        cases: names of the cases.
        columns: their tensors.
        maps: keys of the maps that are taken where a case has them.
    """

    maps: Sequence[str]

    def __init__(self) -> None:
        self.cases: list[str] = []
        self.volume_terms: set[str] = set()
        self.columns: Columns
        self._warnings: list[str] = []

    @property
    def whole_cases(self) -> WholeCases:
        """The cases as their volumes came in: image and maps on their grid, tags, expected sizes, kind of label."""
        return WholeCases(self)

    @property
    def patient(self) -> Tensor:
        """(cases,) number of the patient of each case; a case that names none is a patient of its own."""
        numbers: dict[tuple[str, bytes | int], int] = {}
        found = []
        for number in range(len(self.cases)):
            name = self.columns.entry("of_case.patient", number) if "of_case.patient" in self.columns else None
            own = ("case", number) if name is None or not len(name) else ("patient", bytes(name.tolist()))
            found.append(numbers.setdefault(own, len(numbers)))
        return torch.tensor(found)

    def case(self, number: int) -> dict[str, Any]:
        """One of `whole_cases`; image and maps are copies on the host."""
        affine = self.columns.entry("of_case.affine", number)
        out: dict[str, Any] = {"case": self.cases[number]}
        for key in ("image", *self.maps):
            if key in self.columns:
                out[key] = MetaTensor(self._volume(key, number).cpu().contiguous().clone(), affine=affine)
        for key in OF_CASE:
            value = self.columns.entry(f"of_case.{key}", number) if f"of_case.{key}" in self.columns else None
            if value is not None:
                out[key] = bytes(value.tolist()).decode() if key in TEXTS else value.clone()
        self.columns.release(sum(value.nbytes for value in out.values() if isinstance(value, Tensor)))
        return out

    def _step(self, number: int, axis: int) -> float:
        """Edge of the voxels of a case along a spatial axis, in mm."""
        return voxel_edges(self.columns.entry("of_case.affine", number), 3)[axis]

    def _volume(self, key: str, number: int) -> Tensor:
        """Image or map of a case, (C, *spatial)."""
        raise NotImplementedError

    def _add(self, number: int, name: str, case: Mapping[str, Any]) -> dict[str, Tensor]:
        """Entries of a case, checked."""
        raise NotImplementedError

    def _fill(self, volumes: Iterable[Mapping[str, Any]], place: StorePlace, least: Sequence[int], *more: Any) -> None:
        """Go through the volumes, or open what an earlier run made of them.

        Args:
            volumes: the cases.
            place: where to keep them.
            least: voxels along each axis up to which volumes are padded.
            more: further settings on which the tensors depend.
        """
        key = None
        if isinstance(volumes, PreparedCases) and place.store in ("disk", "auto"):  # before a transform is used
            key = fingerprint(type(self), [*more], [*least], self.maps, list(volumes.data), volumes.transform)
        chosen = place.chosen(volumes, self.maps, least)
        if chosen == "disk":
            if key is None:
                raise ValueError("a store on a disk is made of wss_monai.data.PreparedCases, which tell what is in it.")
            columns = stored(place.disk_folder(), key, lambda writer: self._write(volumes, writer))
            self._remember(columns)
            self.columns = columns
        else:
            writer = GrowingColumns()
            self.columns = writer.finish(self._write(volumes, writer))
        if chosen == "device":
            self.columns.send(["image", *self.maps], place.device, self._read_here())

    def _write(self, volumes: Iterable[Mapping[str, Any]], writer: Writer) -> dict[str, Any]:
        """Add all cases to a writer; what else is to be kept."""
        for number, case in enumerate(volumes):
            name = str(case.get("case", number))
            check_maps(name, case, self.maps)
            entries = self._add(number, name, case)
            self.cases.append(name)
            writer.add({**entries, **_of_case(case)})
        if not self.cases:
            raise ValueError("the training set is empty: no case is left after the split.")
        self._complete()
        return {"cases": self.cases, "volume_terms": sorted(self.volume_terms), "warnings": self._warnings}

    def _read_here(self) -> Sequence[str]:
        """Keys of maps that the host reads for every batch."""
        return ()

    def _complete(self) -> None:
        """Look at all cases together."""

    def _remember(self, columns: DiskColumns) -> None:
        """Take what the process that wrote the store found; its warnings hold here too."""
        if not self.cases:
            self.cases, self.volume_terms = list(columns.notes["cases"]), set(columns.notes["volume_terms"])
            for text in columns.notes["warnings"]:
                logger.warning("%s", text)

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        self._warnings.append(text)


class WholeCases(Sequence[dict[str, Any]]):
    """The cases of a store one by one, read when asked for.

    Args:
        store: whose ``case`` gives them.
    """

    def __init__(self, store: CaseStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store.cases)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        numbers = range(len(self))[index]
        return self.store.case(numbers) if isinstance(numbers, int) else [self.store.case(n) for n in numbers]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.store.case(number) for number in range(len(self)))


def _of_case(case: Mapping[str, Any]) -> dict[str, Tensor]:
    """What `WholeCases` want of a case besides its image and maps."""
    affine = case["image"].affine if isinstance(case["image"], MetaTensor) else torch.eye(case["image"].ndim)
    out = {"of_case.affine": torch.as_tensor(affine).to(torch.float64)}
    for key in OF_CASE:
        value = case.get(key)
        if isinstance(value, str):
            out[f"of_case.{key}"] = torch.tensor(list(value.encode()), dtype=torch.uint8)
        elif value is not None:
            out[f"of_case.{key}"] = plain_tensor(value)
    return out


def check_maps(name: str, case: Mapping[str, Any], maps: Sequence[str]) -> None:
    """Refuse label maps that are not on the image's grid."""
    for key in maps:
        if key in case and case[key].shape[1:] != case["image"].shape[1:]:
            raise ValueError(
                f"case '{name}': {key} has shape {tuple(case[key].shape[1:])}, but the image has "
                f"{tuple(case['image'].shape[1:])}; give both to every spatial transform."
            )


def check_same_entries(name: str, entries: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """Refuse a case whose entries are not those of the first case."""
    if entries.keys() != first.keys():
        raise ValueError(
            f"case '{name}': has {sorted(entries)}, but the cases before have {sorted(first)}; every case needs every "
            "entry (LoadCased and the bounds write them all)."
        )
