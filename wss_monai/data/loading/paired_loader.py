# SPDX-License-Identifier: Apache-2.0
"""Batches of labelled and unlabelled samples; every draw is a function of (seed, epoch, iteration, rank)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from wss_monai.data.loading.ahead import ahead
from wss_monai.data.loading.batch_loader import Store
from wss_monai.data.loading.rounds import Rounds
from wss_monai.functional.seeds import seed_of
from wss_monai.functional.transfer import send
from wss_monai.io.processes import rank_and_size

__all__ = ["PairedLoader", "PairedStore"]


class PairedStore:
    """Two stores as one, labelled samples first.

    Args:
        labelled: store of the labelled samples.
        unlabelled: store of the others; None: there are none.

    Attributes:
        cases: names of the cases of both.
        volume: (N,) index into ``cases`` of each sample.
        volume_terms: constraint terms whose bounds are about whole volumes.

    Raises:
        ValueError: a store is empty, or samples of the two have other entries or sizes.
    """

    def __init__(self, labelled: Store, unlabelled: Store | None = None) -> None:
        self.labelled: Any = labelled
        self.unlabelled: Any = unlabelled
        self.stores: list[Any] = [labelled] if unlabelled is None else [labelled, unlabelled]
        for store, name in zip(self.stores, ("labelled", "unlabelled"), strict=False):
            if len(store) == 0:
                raise ValueError(f"the {name} store is empty: no {name} case is left after the split.")
        self.volume_terms: set[str] = set().union(*(store.volume_terms for store in self.stores))
        self.cases: list[str] = [case for store in self.stores for case in store.cases]
        self._offsets = [0, len(self.stores[0].cases)][: len(self.stores)]
        self.volume = torch.cat([store.volume + by for store, by in zip(self.stores, self._offsets, strict=True)])
        if unlabelled is not None:
            _check_alike(labelled.batch([0], 0), unlabelled.batch([0], 0))

    def __len__(self) -> int:
        return len(self.volume)

    def by_case(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Name and entries (n, ...) of each case, labelled cases first."""
        for store in self.stores:
            yield from store.by_case(key)

    def batch(self, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of the chosen samples, labelled ones first: those below ``len(labelled)``."""
        border = len(self.labelled)
        first = [i for i in indices if i < border]
        return self.paired_batch(first, [i - border for i in indices if i >= border], seed)

    def paired_batch(self, labelled: Sequence[int], unlabelled: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of samples of both stores, by their own indices; ``volume`` and ``sample`` count on."""
        parts = []
        for number, indices in enumerate((labelled, unlabelled)):
            if len(indices):
                part = self.stores[number].batch(indices, seed if number == 0 else seed_of(seed, number))
                before = {"volume": self._offsets[number], "sample": number * len(self.labelled)}
                parts.append({**part, **{key: part[key] + by for key, by in before.items() if key in part}})
        if len(parts) == 1:
            return parts[0]
        where = {key: value.device for part in parts for key, value in part.items() if value.device.type != "cpu"}
        return {key: torch.cat([send(part[key], where.get(key)) for part in parts]) for key in parts[0]}


class PairedLoader:
    """Iterable of batches (dictionaries of plain tensors) of labelled and then unlabelled samples, of constant size.

    Both kinds come in an endless sequence of shuffled rounds through their store, independent of each other, which an
    epoch continues where the one before ended; so a batch is a function of (seed, epoch, iteration, rank, processes).
    Processes get different samples of one sequence. Besides the tensors of the stores a batch has ``labelled``, the
    number of labelled samples (0-dim), and ``draw``, the seed of everything that is still to be drawn for it.

    Args:
        labelled: a store (``SliceStore``, ``PatchStore``), or a function that makes one (called when first needed).
        unlabelled: the same, with the same entries; None: batches of labelled samples alone, the same ones.
        labelled_batch: labelled samples in a batch of each process.
        unlabelled_batch: unlabelled samples in it.
        iterations: batches in an epoch of each process.
        seed: of order and draws.
        device: as of a ``BatchLoader``.

    Raises:
        ValueError: numbers below 1; when the stores are made also what ``PairedStore`` refuses, and bounds on whole
            volumes, which such a batch does not hold.
    """

    def __init__(
        self,
        labelled: Store | Callable[[], Store],
        unlabelled: Store | Callable[[], Store] | None = None,
        labelled_batch: int = 4,
        unlabelled_batch: int = 10,
        iterations: int = 300,
        seed: int = 0,
        device: str | torch.device | None = None,
    ) -> None:
        sizes = {"labelled_batch": labelled_batch, "unlabelled_batch": unlabelled_batch, "iterations": iterations}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self._makers = (labelled, unlabelled)
        self._store: PairedStore | None = None
        self.labelled_batch = labelled_batch
        self.unlabelled_batch = unlabelled_batch
        self.iterations = iterations
        self.seed = seed
        self.device = device
        self.epoch = 1

    @property
    def store(self) -> PairedStore:
        """Both stores as one, made when first asked for."""
        if self._store is None:
            labelled, unlabelled = (maker() if callable(maker) else maker for maker in self._makers)
            if labelled is None:
                raise ValueError("labelled must be a store or a function that makes one, got None.")
            store = PairedStore(labelled, unlabelled)
            if store.volume_terms:
                raise ValueError(
                    f"the bounds of {sorted(store.volume_terms)} are about whole volumes, but a batch of labelled and "
                    "unlabelled samples does not hold one: bound slices (in 2D) or patches (in 3D) instead."
                )
            self._store = store
        return self._store

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 1) whose batches the next iteration gives."""
        if epoch < 1:
            raise ValueError(f"epochs count from 1, got {epoch}.")
        self.epoch = epoch

    def __len__(self) -> int:
        return self.iterations

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return ahead(self._made(), self.device)

    def _made(self) -> Iterator[dict[str, Tensor]]:
        store, epoch = self.store, self.epoch
        rank, ranks = rank_and_size()
        labelled = Rounds(len(store.labelled), self.labelled_batch, self.seed, 1)
        unlabelled = None
        if store.unlabelled is not None:
            unlabelled = Rounds(len(store.unlabelled), self.unlabelled_batch, self.seed, 2)
        for iteration in range(self.iterations):
            number = ((epoch - 1) * self.iterations + iteration) * ranks + rank
            seed = seed_of(self.seed, epoch, iteration, rank)
            first = labelled.batch(number)
            second = [] if unlabelled is None else unlabelled.batch(number)
            batch = store.paired_batch(first, second, seed)
            yield {**batch, "labelled": torch.tensor(len(first)), "draw": torch.tensor(seed)}


def _check_alike(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Refuse stores whose samples cannot be in one batch."""
    if first.keys() != second.keys():
        raise ValueError(
            f"labelled samples have {sorted(first)}, but unlabelled ones {sorted(second)}: prepare both with the same "
            "transforms (LoadCased and the bounds write every entry)."
        )
    for key, value in first.items():
        if value.shape[1:] != second[key].shape[1:]:
            raise ValueError(
                f"{key} of labelled samples has {tuple(value.shape[1:])}, but of unlabelled ones "
                f"{tuple(second[key].shape[1:])}; crop or pad all volumes to one size (ResizeWithPadOrCropd)."
            )
