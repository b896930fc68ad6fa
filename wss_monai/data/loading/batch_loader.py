# SPDX-License-Identifier: Apache-2.0
"""Batches from an in-memory store; every draw is a function of (seed, epoch, iteration, rank)."""

from __future__ import annotations

import itertools
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
        volumes_per_batch: volumes in a batch; with ``pairs``, pairs.
        pairs: "patient": the cases of a patient come in pairs, for constraints across cases (``EqualVolumeLoss``). Who
            has more than two is paired anew in each pass, an odd one makes three; who has one comes alone. The slices
            that are drawn of the volumes of a pair lie at the same places within them. None: no pairs.

    Raises:
        ValueError: numbers below 1, another word for ``pairs``.
    """

    def __init__(
        self, slices_per_volume: int | None = None, volumes_per_batch: int = 1, pairs: str | None = None
    ) -> None:
        if volumes_per_batch < 1 or (slices_per_volume is not None and slices_per_volume < 1):
            raise ValueError(
                f"slices_per_volume and volumes_per_batch must be at least 1, got {slices_per_volume}, "
                f"{volumes_per_batch}."
            )
        if pairs not in (None, "patient"):
            raise ValueError(f"pairs must be 'patient' or null, got {pairs!r}.")
        self.slices_per_volume = slices_per_volume
        self.volumes_per_batch = volumes_per_batch
        self.pairs = pairs

    def batches(
        self, volume: Tensor, R: np.random.RandomState, ranks: int = 1, patient: Tensor | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(indices, weights) of the batches of an epoch, for all ranks.

        Args:
            volume: (N,) whose slice each is.
            R: source of randomness.
            ranks: processes.
            patient: (volumes,) number of the patient of each volume, for ``pairs``.
        """
        by_volume = np.argsort(volume.numpy(), kind="stable")
        found, starts = np.unique(volume.numpy()[by_volume], return_index=True)
        slices = np.split(by_volume, starts[1:])
        if self.pairs is None:
            units = [np.array([v]) for v in range(len(found))]
        elif patient is None:
            raise ValueError("pairs need to know the patient of each volume.")
        else:
            units = _paired(patient.numpy()[found], R)
        out = []
        for chosen in _chunks(R.permutation(len(units)), self.volumes_per_batch, ranks):
            picks = [pick for u in chosen for pick in self._pick([slices[v] for v in units[u]], R)]
            out.append((np.concatenate([p[0] for p in picks]), np.concatenate([p[1] for p in picks])))
        return out

    def _pick(self, volumes: list[np.ndarray], R: np.random.RandomState) -> list[tuple[np.ndarray, np.ndarray]]:
        """Slices and weights of volumes that are drawn together."""
        number = self.slices_per_volume
        out, places = [], None
        for slices in volumes:
            if number is None or len(slices) <= number:
                out.append((slices, np.ones(len(slices))))
                continue
            parts = np.array_split(slices, number)
            if self.pairs is None:
                drawn = [R.choice(part) for part in parts]
            else:  # at the same places in all, so that less of a difference between them comes from the draw
                places = R.random_sample(number) if places is None else places
                drawn = [part[int(place * len(part))] for part, place in zip(parts, places, strict=True)]
            out.append((np.array(drawn), np.array([float(len(part)) for part in parts])))
        return out


class BatchLoader:
    """Iterable of batches (dictionaries of plain tensors) for a MONAI trainer.

    Besides the store's tensors a batch has ``draw``, the seed of everything that is still to be drawn for it, and,
    with a ``VolumeBatchSampler``, ``group_<term>`` and ``group_weight_<term>`` for the terms about whole volumes and
    ``group``, whose members get one geometric draw. With ``pairs`` it has ``pairs`` (P, 3): the numbers of two volumes
    of one patient in the batch, and the number of this pair.

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
        ValueError: batch_size or iterations below 1, or bounds on volumes without ``volume_sampler``; pairs where no
            patient has two cases.
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
        self._pairs: dict[tuple[int, int], int] | None = None

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
                if getattr(self.volume_sampler, "pairs", None):
                    batch["pairs"] = self._pairs_of(batch["volume"])
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
                self._sequence = Passes(lambda R: self._volumes(sampler, R, 1), self.seed, 0)
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
                order = self._volumes(self.volume_sampler, R, ranks)
            else:
                chunks = _chunks(R.permutation(len(self.store)), self.batch_size, ranks)
                order = [(chunk, np.ones(len(chunk))) for chunk in chunks]
            self._order = (self.epoch, order)
        return self._order[1]

    def _volumes(
        self, sampler: VolumeBatchSampler, R: np.random.RandomState, ranks: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Samples and weights of the batches of a pass of whole volumes."""
        if not getattr(sampler, "pairs", None):
            return sampler.batches(self.store.volume, R, ranks)
        self._pair_numbers()  # refuses a training set without pairs
        return sampler.batches(self.store.volume, R, ranks, self.store.patient)

    def _pair_numbers(self) -> dict[tuple[int, int], int]:
        """Two volumes of one patient -> number of this pair."""
        if self._pairs is None:
            members: dict[int, list[int]] = {}
            for number, patient in enumerate(self.store.patient.tolist()):
                members.setdefault(patient, []).append(number)
            found = (pair for each in members.values() for pair in itertools.combinations(each, 2))
            self._pairs = {pair: number for number, pair in enumerate(found)}
            if not self._pairs:
                raise ValueError(
                    f"the cases of a patient are to come in pairs, but none of the {len(members)} training patients "
                    "has two: give cases of one patient the same 'patient' in dataset.json, or leave out "
                    "equal_volume.yaml (pairs of the volume_sampler)."
                )
        return self._pairs

    def _pairs_of(self, volume: Tensor) -> Tensor:
        """(P, 3) pairs of volumes in a batch, and their numbers."""
        there = itertools.combinations(sorted(set(volume.tolist())), 2)
        numbers = self._pair_numbers()
        rows = [(*pair, numbers[pair]) for pair in there if pair in numbers]
        return torch.tensor(rows, dtype=torch.int64).view(-1, 3)


def _paired(patient: np.ndarray, R: np.random.RandomState) -> list[np.ndarray]:
    """Volumes of one patient in twos, drawn anew; three where one is left, one where there is no more."""
    out = []
    for number in np.unique(patient):
        members = R.permutation(np.flatnonzero(patient == number))
        out += np.array_split(members, max(1, len(members) // 2))
    return out


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
