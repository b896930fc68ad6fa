# SPDX-License-Identifier: Apache-2.0
"""Cases with their transforms, prepared when they are asked for, by several processes, and kept up to a size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.data import Dataset
from torch import Tensor
from torch.utils.data import DataLoader

__all__ = ["PreparedCases"]


class PreparedCases(Dataset):
    """A MONAI ``Dataset`` whose cases are prepared in order, by several processes if wanted.

    Stores go through it once and keep what training reads, so nothing else has to stay in memory. ``keep_gb`` is for
    who reads cases again and again, as validation does: the first cases that fit are prepared at once and stay, as
    MONAI's ``CacheDataset`` keeps them; all others are prepared anew each time.

    Args:
        data: case dictionaries, as ``load_cases`` lists them.
        transform: what prepares a case; its draws are to depend on the case alone where ``workers`` are used.
        workers: processes that prepare cases; 0: this one. Order and values are the same.
        progress: show a bar.
        keep_gb: at most so many GB (1e9 bytes) of prepared cases stay in memory.

    Raises:
        ValueError: a negative number of workers or GB.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable[[Any], Any] | None = None,
        workers: int = 0,
        progress: bool = True,
        keep_gb: float = 0.0,
    ) -> None:
        super().__init__(data, transform)
        if workers < 0 or keep_gb < 0:
            raise ValueError(f"workers and keep_gb must not be negative, got {workers} and {keep_gb}.")
        self.workers = workers
        self.progress = progress
        self.keep_gb = keep_gb
        self._kept: list[Any] = []
        if keep_gb:
            self._keep()

    def __getitem__(self, index: int | slice | Sequence[int]) -> Any:
        """One case, or some of the cases as ``PreparedCases`` that keep none."""
        if isinstance(index, slice):
            return PreparedCases(self.data[index], self.transform, self.workers, self.progress)
        if isinstance(index, Sequence):
            return PreparedCases([self.data[i] for i in index], self.transform, self.workers, self.progress)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        """The cases in order; several processes prepare the next ones meanwhile."""
        return self._shown(self._prepared())

    def _transform(self, index: int) -> Any:
        if 0 <= index % len(self.data) < len(self._kept):
            return copy.deepcopy(self._kept[index % len(self.data)])
        return super()._transform(index)

    def _prepared(self) -> Iterator[Any]:
        if not self.workers or len(self.data) < 2:
            return (self[number] for number in range(len(self.data)))
        return iter(
            DataLoader(
                self,
                batch_size=None,
                num_workers=min(self.workers, len(self.data)),
                collate_fn=_as_it_is,
                generator=torch.Generator(),  # the loader's draw leaves the global state alone
            )
        )

    def _shown(self, cases: Iterator[Any]) -> Iterator[Any]:
        if not self.progress:
            return cases
        from tqdm import tqdm

        return iter(tqdm(cases, total=len(self.data), desc="preparing cases", unit="case"))

    def _keep(self) -> None:
        """Prepare the first cases that fit into ``keep_gb``, and keep them."""
        room = self.keep_gb * 1e9
        for case in self:
            room -= _bytes_of(case)
            if room < 0:
                break
            self._kept.append(case)


def _as_it_is(case: Any) -> Any:
    return case


def _bytes_of(value: Any) -> int:
    """Bytes of the tensors of a case, arrays included."""
    if isinstance(value, Tensor):
        return int(value.untyped_storage().nbytes())
    if isinstance(value, dict):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes_of, value))
    return int(getattr(value, "nbytes", 0))
