# SPDX-License-Identifier: Apache-2.0
"""Batches from an in-memory store; every draw is a function of (seed, epoch, iteration, rank)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from wss_monai.data.loading.ahead import ahead
from wss_monai.data.loading.rounds import Passes, Rounds
from wss_monai.functional.seeds import seed_of
from wss_monai.io.processes import rank_and_size


class Store(Protocol):
    """What a loader asks of a store."""

    volume: Tensor
    volume_terms: set[str]

    def __len__(self) -> int: ...

    def by_case(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Name and entries (n, ...) of each case."""

    def batch(self, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Plain tensors of the chosen samples."""


class VolumeBatchSampler:
    """Batches that hold whole volumes, for bounds on volumes in training on slices.

    Args:
        slices_per_volume: with a number, a stratified subset: the volume is divided along its axis into so many parts
            and one slice of each is drawn, which stands for its whole part; None = all slices.
        volumes_per_batch: volumes in a batch.

    Raises:
        ValueError: numbers below 1.
    """

    def __init__(self, slices_per_volume: int | None = None, volumes_per_batch: int = 1) -> None:
        if volumes_per_batch < 1 or (slices_per_volume is not None and slices_per_volume < 1):
            raise ValueError(
                f"slices_per_volume and volumes_per_batch must be at least 1, got {slices_per_volume}, "
                f"{volumes_per_batch}."
            )
        self.slices_per_volume = slices_per_volume
        self.volumes_per_batch = volumes_per_batch

    def batches(self, volume: Tensor, R: np.random.RandomState, ranks: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
        """(indices, weights) of the batches of an epoch, for all ranks; ``volume`` (N,) says whose slice each is."""
        by_volume = np.argsort(volume.numpy(), kind="stable")
        found, starts = np.unique(volume.numpy()[by_volume], return_index=True)
        slices = np.split(by_volume, starts[1:])
        out = []
        for chosen in _chunks(R.permutation(len(found)), self.volumes_per_batch, ranks):
            picks = [self._pick(slices[v], R) for v in chosen]
            out.append((np.concatenate([p[0] for p in picks]), np.concatenate([p[1] for p in picks])))
        return out

    def _pick(self, slices: np.ndarray, R: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        if self.slices_per_volume is None or len(slices) <= self.slices_per_volume:
            return slices, np.ones(len(slices))
        parts = np.array_split(slices, self.slices_per_volume)
        return np.array([R.choice(part) for part in parts]), np.array([float(len(part)) for part in parts])


class BatchLoader:
    """Iterable of batches (dictionaries of plain tensors) for a MONAI trainer.

    Besides the store's tensors a batch has ``draw``, the seed of everything that is still to be drawn for it, and,
    with a ``VolumeBatchSampler``, ``group_<term>`` and ``group_weight_<term>`` for the terms about whole volumes and
    ``group``, whose members get one geometric draw.

    Args:
        store: a store, or a function that makes one (called when first needed).
        batch_size: samples in a batch of each process.
        seed: with the epoch it fixes order and draws.
        volume_sampler: batches of whole volumes instead of shuffled samples.
        device: what the batches are for; for a GPU the next one is made in pinned memory while this one is in use.
        iterations: batches of an epoch, of all processes together (rounded up to the same number for each). They
            continue an endless sequence of shuffled passes through the store where the epoch before ended, so that an
            epoch is as long for 5 patients as for 50, and every batch is full. None: an epoch is one pass, of which
            the last batch may be smaller.

    Raises:
        ValueError: batch_size or iterations below 1, or bounds on volumes without ``volume_sampler``.
    """

    def __init__(
        self,
        store: Store | Callable[[], Store],
        batch_size: int = 8,
        seed: int = 0,
        volume_sampler: VolumeBatchSampler | None = None,
        device: str | torch.device | None = None,
        iterations: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if volume_sampler is not None and not hasattr(volume_sampler, "batches"):
            raise ValueError(f"volume_sampler must be a VolumeBatchSampler or null; got {volume_sampler!r}.")
        if iterations is not None and iterations < 1:
            raise ValueError(f"iterations of an epoch must be at least 1, or None for one pass; got {iterations}.")
        self._store = store
        self.batch_size = batch_size
        self.seed = seed
        self.volume_sampler = volume_sampler
        self.device = device
        self.iterations = iterations
        self.epoch = 1
        self._sequence: Rounds | Passes[tuple[np.ndarray, np.ndarray]] | None = None
        self._order: tuple[int, list[tuple[np.ndarray, np.ndarray]]] | None = None

    @property
    def store(self) -> Any:
        """The store, made when first asked for."""
        if callable(self._store):
            self._store = self._store()
        if self._store.volume_terms and self.volume_sampler is None:
            raise ValueError(
                f"the bounds of {sorted(self._store.volume_terms)} are about whole volumes, but a batch of shuffled "
                "slices does not hold one: set volume_sampler to a wss_monai.data.VolumeBatchSampler (the overlay "
                "volume_bounds.yaml does)."
            )
        return self._store

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 1) whose batches the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        ranks = rank_and_size()[1]
        return len(self._batches()) // ranks if self.iterations is None else -(-self.iterations // ranks)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return ahead(self._made(), self.device)

    def _made(self) -> Iterator[dict[str, Tensor]]:
        store = self.store
        terms = sorted(store.volume_terms)
        rank, ranks = rank_and_size()
        epoch = self.epoch
        for iteration, (indices, weights) in enumerate(self._batches_of(rank, ranks)):
            seed = seed_of(self.seed, epoch, iteration, rank)
            batch = store.batch(indices.tolist(), seed)
            batch["draw"] = torch.tensor(seed)
            if self.volume_sampler is not None:
                batch["group"] = batch["volume"]
                for term in terms:
                    batch[f"group_{term}"] = batch["volume"]
                    batch[f"group_weight_{term}"] = torch.as_tensor(weights, dtype=torch.float32)
            yield batch

    def _batches_of(self, rank: int, ranks: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Samples and weights of the epoch's batches of a process."""
        if self.iterations is None:
            yield from self._batches()[rank::ranks]
            return
        if self._sequence is None:
            sampler, store = self.volume_sampler, self.store
            if sampler is None:
                self._sequence = Rounds(len(store), self.batch_size, self.seed, 0)
            else:
                self._sequence = Passes(lambda R: sampler.batches(store.volume, R), self.seed, 0)
        length = len(self)
        for number in range((self.epoch - 1) * length, self.epoch * length):
            found = self._sequence.batch(number * ranks + rank)
            yield found if isinstance(found, tuple) else (np.asarray(found), np.ones(len(found)))

    def _batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The epoch's batches for all ranks; every sample once, no rank with fewer batches than another."""
        if self._order is None or self._order[0] != self.epoch:
            ranks = rank_and_size()[1]
            R = np.random.RandomState(seed_of(self.seed, self.epoch) % 2**32)
            if self.volume_sampler is not None:
                order = self.volume_sampler.batches(self.store.volume, R, ranks)
            else:
                chunks = _chunks(R.permutation(len(self.store)), self.batch_size, ranks)
                order = [(chunk, np.ones(len(chunk))) for chunk in chunks]
            self._order = (self.epoch, order)
        return self._order[1]


def _chunks(order: np.ndarray, size: int, ranks: int) -> list[np.ndarray]:
    """Cut into batches of ``size`` or fewer, the same number for every rank and none empty.

    Where the two cannot both be had (three volumes, one a batch, for two processes) some batches hold one more.
    """
    if len(order) < ranks:
        raise ValueError(f"{len(order)} samples (or volumes) are too few for {ranks} processes.")
    if ranks == 1:
        return [order[i : i + size] for i in range(0, len(order), size)]
    rounds = min(-(-len(order) // (size * ranks)), len(order) // ranks)
    return np.array_split(order, rounds * ranks)
