# SPDX-License-Identifier: Apache-2.0
"""Tensors of many cases, end to end in one buffer a key, so that neither case nor slice costs an object of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["Columns", "GrowingColumns", "ShapeTables", "Writer", "as_dtype"]


class Columns:
    """Entries of cases by key and number; views of one buffer a key.

    Args:
        buffers: key -> all elements of all cases, one axis.
        shapes: key -> (n, 1 + axes): number of axes and length of each of the entry of each case; -1: it has none.

    """

    def __init__(self, buffers: Mapping[str, Tensor], shapes: Mapping[str, np.ndarray]) -> None:
        self.buffers = dict(buffers)
        self.shapes = dict(shapes)
        self._stayed: dict[str, Tensor] = {}
        self._starts: dict[str, np.ndarray] = {}
        for key, table in self.shapes.items():
            self._starts[key] = np.concatenate(([0], np.cumsum(_sizes(table))))

    def __contains__(self, key: object) -> bool:
        return key in self.buffers

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.nbytes for buffer in self.buffers.values())

    def shape(self, key: str, number: int) -> tuple[int, ...] | None:
        """Shape of the entry of a case; None: it has none."""
        axes, *lengths = self.shapes[key][number].tolist()
        return None if axes < 0 else tuple(lengths[:axes])

    def entry(self, key: str, number: int, here: bool = False) -> Tensor | None:
        """Entry of a case, a view; None: it has none. ``here``: on the host, if a copy of it stayed."""
        shape = self.shape(key, number)
        if shape is None:
            return None
        start, stop = self._starts[key][number : number + 2].tolist()
        buffer = self._stayed.get(key, self.buffers[key]) if here else self.buffers[key]
        return buffer[start:stop].view(shape)

    def lengths(self, key: str) -> np.ndarray:
        """(n,) length of the first axis of the entry of each case."""
        return self.shapes[key][:, 1]

    def rows(self, key: str) -> Tensor:
        """Entries of all cases end to end along their first axis, a view; all have the other axes alike."""
        rest = self.shapes[key][0, 2 : 1 + self.shapes[key][0, 0]].tolist()
        return self.buffers[key].view(-1, *rest) if rest else self.buffers[key]

    def send(self, keys: Iterable[str], device: torch.device, stay: Iterable[str] = ()) -> None:
        """Move the buffers of some keys to a device, one after the other; those of ``stay`` are on the host as well."""
        for key in keys:
            if key in self.buffers:
                if key in stay:
                    self._stayed[key] = self.buffers[key]
                self.buffers[key] = self.buffers[key].to(device)

    def release(self, read: int) -> None:
        """Hear that so many bytes were read; memory keeps them."""


class Writer(Protocol):
    """What takes the entries of one case after the other."""

    def add(self, entries: Mapping[str, Tensor]) -> None:
        """Take the entries of the next case."""

    def finish(self, notes: Mapping[str, Any]) -> Columns:
        """Give all of them, with what is to be kept beside them as JSON."""


class ShapeTables:
    """Shapes of the entries of case after case, by key; a key that comes late has none in the cases before."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[int, ...]]] = {}
        self._count = 0

    def add(self, entries: Mapping[str, Tensor]) -> None:
        """Note the shapes of the next case."""
        for key, value in entries.items():
            self._rows.setdefault(key, [(-1,)] * self._count).append((value.dim(), *value.shape))
        self._count += 1
        for rows in self._rows.values():
            if len(rows) < self._count:
                rows.append((-1,))

    def tables(self) -> dict[str, np.ndarray]:
        """Key -> (n, 1 + most axes) int32, as ``Columns`` takes it; -1 in the first column where there is no entry."""
        out = {}
        for key, rows in self._rows.items():
            out[key] = np.zeros((len(rows), max((len(row) for row in rows), default=1)), np.int32)
            for number, row in enumerate(rows):
                out[key][number, : len(row)] = row
        return out


class GrowingColumns:
    """Columns in memory that grow in place: at no time are there two copies of the data.

    A buffer grows by a sixteenth, through the system's ``realloc``, which moves pages and copies none.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._used: dict[str, int] = {}
        self._shapes = ShapeTables()

    def add(self, entries: Mapping[str, Tensor]) -> None:
        """Take the entries of the next case; a key that comes late has none in the cases before.

        Raises:
            ValueError: values that the dtype of the cases before does not hold.
        """
        for key, value in entries.items():
            array = value.numpy()
            if key not in self._arrays:
                self._arrays[key] = np.empty(0, array.dtype)
                self._used[key] = 0
            array = as_dtype(key, array, self._arrays[key].dtype)
            held, used = self._arrays[key], self._used[key]
            wanted = used + array.size
            if wanted > held.size:
                held.resize(max(wanted, held.size + held.size // 16), refcheck=False)
            held[used:wanted].reshape(array.shape)[...] = array
            self._used[key] = wanted
        self._shapes.add(entries)

    def finish(self, notes: Mapping[str, Any]) -> Columns:
        """Give the columns; the writer is empty afterwards."""
        buffers = {}
        for key in list(self._arrays):
            array = self._arrays.pop(key)
            array.resize(self._used[key], refcheck=False)
            buffers[key] = torch.from_numpy(array)
        return Columns(buffers, self._shapes.tables())


def as_dtype(key: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cast an entry to the dtype of those before.

    Raises:
        ValueError: it does not hold the values.
    """
    if array.dtype == dtype:
        return array
    cast = array.astype(dtype)
    if not np.array_equal(cast, array, equal_nan=array.dtype.kind == "f" == dtype.kind):
        raise ValueError(f"'{key}' is {array.dtype} in a case and {dtype} in those before; give all one dtype.")
    return cast


def _sizes(table: np.ndarray) -> np.ndarray:
    """(n,) elements of each entry."""
    sizes = np.ones(len(table), np.int64)
    for axis in range(1, table.shape[1]):
        sizes *= np.where(table[:, 0] >= axis, table[:, axis], 1)
    return np.where(table[:, 0] < 0, 0, sizes)
