# SPDX-License-Identifier: Apache-2.0
"""Batches: every sample once, draws that are functions of (seed, epoch, iteration)."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from wss_monai.data import BatchLoader, PatchStore, SliceStore, VolumeBatchSampler
from wss_monai.data.loading import batch_loader

INF = math.inf
DEPTHS = (5, 7, 4, 6, 1)


def store(depths: tuple[int, ...] = DEPTHS, volume_bounds: bool = False) -> SliceStore:
    """Slices whose intensity is their number in the store."""
    cases, start = [], 0
    for depth in depths:
        image = torch.arange(start, start + depth, dtype=torch.float32).expand(1, 2, 2, depth)
        case = {"image": image, "weak_label": torch.zeros(1, 2, 2, depth)}
        if volume_bounds:
            case["bounds_ml"] = torch.tensor([-INF, 100.0]).repeat(2, 1, 1)
        cases.append(case)
        start += depth
    return SliceStore(cases)


def samples(loader: BatchLoader) -> list[list[int]]:
    return [batch["image"][:, 0, 0, 0].int().tolist() for batch in loader]


def flat(batches: list[list]) -> list:
    return [item for batch in batches for item in batch]


def as_rank(monkeypatch, rank: int, ranks: int) -> None:
    monkeypatch.setattr(batch_loader, "rank_and_size", lambda: (rank, ranks))


class TestShuffled:
    @pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
    def test_every_slice_once_an_epoch(self, batch_size):
        loader = BatchLoader(store(), batch_size=batch_size)
        batches = samples(loader)
        assert sorted(flat(batches)) == list(range(23))
        assert len(batches) == len(loader) == math.ceil(23 / batch_size)
        assert all(len(batch) == min(batch_size, 23) for batch in batches[:-1])

    def test_order_and_draws_are_functions_of_seed_and_epoch(self):
        def run(seed: int, epoch: int) -> tuple:
            loader = BatchLoader(store(), batch_size=4, seed=seed)
            loader.set_epoch(epoch)
            return samples(loader), [int(batch["draw"]) for batch in loader]

        assert run(0, 1) == run(0, 1)
        seen = [run(seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)]
        assert len({str(order) for order, _ in seen}) == 6
        draws = [draw for _, part in seen for draw in part]
        assert len(set(draws)) == len(draws) == 36
        assert all(0 <= draw < 2**62 for draw in draws)

    def test_epochs_can_be_visited_in_any_order(self):
        loader = BatchLoader(store(), batch_size=4)
        first = samples(loader)
        loader.set_epoch(5)
        fifth = samples(loader)
        loader.set_epoch(1)
        assert samples(loader) == first != fifth
        assert samples(loader) == first  # a second pass of the same epoch repeats it

    def test_the_global_state_is_left_alone(self):
        state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
        samples(BatchLoader(store(), batch_size=4))
        assert torch.equal(torch.get_rng_state(), state)
        assert (np.random.get_state()[1] == numbers).all()

    def test_a_store_may_be_made_late(self):
        made = []

        def make() -> SliceStore:
            made.append(1)
            return store()

        loader = BatchLoader(make, batch_size=4)
        assert not made
        assert len(loader) == 6
        assert sorted(flat(samples(loader))) == list(range(23))
        assert made == [1]

    def test_patches(self):
        patches = PatchStore([{"image": torch.rand(1, 6, 6, 6)}] * 3, (3, 3, 3), patches_per_volume=4)
        loader = BatchLoader(patches, batch_size=5)
        first = [batch["image"] for batch in loader]
        assert [len(batch) for batch in first] == [5, 5, 2]
        assert Counter(int(v) for batch in loader for v in batch["volume"]) == {0: 4, 1: 4, 2: 4}
        again = [batch["image"] for batch in loader]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        loader.set_epoch(2)
        assert not any(torch.equal(a, b["image"]) for a, b in zip(first, loader, strict=True))


class TestRanks:
    @pytest.mark.parametrize("ranks", [2, 3])
    @pytest.mark.parametrize("batch_size", [1, 4, 8, 40])
    @pytest.mark.parametrize("depths", [DEPTHS, (3,), (4,), (8, 8)])
    def test_every_sample_once_and_equally_many_batches(self, monkeypatch, ranks, batch_size, depths):
        batches, draws = [], []
        for rank in range(ranks):
            as_rank(monkeypatch, rank, ranks)
            loader = BatchLoader(store(depths), batch_size=batch_size)
            batches.append(samples(loader))
            draws.append([int(batch["draw"]) for batch in loader])
            assert len(batches[-1]) == len(loader)
        assert len({len(part) for part in batches}) == 1
        assert sorted(flat(flat(batches))) == list(range(sum(depths)))
        assert all(batch for part in batches for batch in part)
        assert max(len(batch) for part in batches for batch in part) <= batch_size + 1
        assert len(set(flat(draws))) == len(flat(draws))

    @pytest.mark.parametrize("ranks", [2, 3])
    def test_volumes_stay_whole(self, monkeypatch, ranks):
        seen = []
        for rank in range(ranks):
            as_rank(monkeypatch, rank, ranks)
            loader = BatchLoader(store(volume_bounds=True), volume_sampler=VolumeBatchSampler())
            batches = list(loader)
            seen.append([sorted(batch["volume"].unique().tolist()) for batch in batches])
            for batch in batches:
                for number, depth in enumerate(DEPTHS):
                    assert int((batch["volume"] == number).sum()) in (0, depth)
        assert len({len(part) for part in seen}) == 1
        assert sorted(flat(flat(seen))) == [0, 1, 2, 3, 4]

    def test_more_processes_than_samples(self, monkeypatch):
        as_rank(monkeypatch, 0, 3)
        with pytest.raises(ValueError, match=r"2 samples .* are too few for 3 processes"):
            list(BatchLoader(store((2,)), batch_size=1))


class TestVolumes:
    def test_all_slices_of_each_volume(self):
        loader = BatchLoader(store(volume_bounds=True), volume_sampler=VolumeBatchSampler(volumes_per_batch=2), seed=3)
        batches = list(loader)
        assert len(batches) == len(loader) == 3
        assert sorted(flat(samples(loader))) == list(range(23))
        for batch in batches:
            assert torch.equal(batch["group"], batch["volume"])
            assert torch.equal(batch["group_ml"], batch["volume"])
            assert (batch["group_weight_ml"] == 1).all()
        assert [len(b["volume"].unique()) for b in batches] == [2, 2, 1]

    @pytest.mark.parametrize("count", [1, 3, 5, 6, 99])
    def test_stratified_weights_sum_to_the_number_of_slices(self, count):
        loader = BatchLoader(store(volume_bounds=True), volume_sampler=VolumeBatchSampler(count))
        seen = set()
        for batch in loader:
            number = int(batch["volume"][0])
            assert len(batch["volume"]) == min(count, DEPTHS[number])
            assert batch["group_weight_ml"].sum() == DEPTHS[number]
            assert batch["group_weight_ml"].dtype == torch.float32
            places = batch["image"][:, 0, 0, 0].int().tolist()
            assert places == sorted(set(places))
            start = sum(DEPTHS[:number])
            ends = (start + batch["group_weight_ml"].cumsum(0)).tolist()
            for place, end, weight in zip(places, ends, batch["group_weight_ml"].tolist(), strict=True):
                assert end - weight <= place < end  # one slice of each part
            seen.add(number)
        assert seen == {0, 1, 2, 3, 4}

    def test_every_slice_has_its_turn(self):
        loader = BatchLoader(store((6,), volume_bounds=True), volume_sampler=VolumeBatchSampler(2))
        seen = set()
        for epoch in range(1, 40):
            loader.set_epoch(epoch)
            seen |= set(flat(samples(loader)))
        assert seen == set(range(6))

    def test_a_stratified_estimate_is_unbiased_for_equal_parts(self):
        loader = BatchLoader(store((6,), volume_bounds=True), volume_sampler=VolumeBatchSampler(3))
        sums = []
        for epoch in range(1, 200):
            loader.set_epoch(epoch)
            batch = next(iter(loader))
            sums.append(float((batch["image"][:, 0, 0, 0] * batch["group_weight_ml"]).sum()))
        assert np.mean(sums) == pytest.approx(15, abs=0.5)

    def test_groups_for_the_augmentation_without_volume_terms(self):
        batch = next(iter(BatchLoader(store(), volume_sampler=VolumeBatchSampler())))
        assert torch.equal(batch["group"], batch["volume"])
        assert not [key for key in batch if key.startswith("group_")]

    def test_volume_bounds_need_it(self):
        loader = BatchLoader(store(volume_bounds=True), batch_size=4)
        with pytest.raises(ValueError, match=r"the bounds of \['ml'\] are about whole volumes.*VolumeBatchSampler"):
            next(iter(loader))


def pairs_store(patients: tuple[str, ...], depths: tuple[int, ...] | None = None) -> SliceStore:
    """A volume of each of these patients; intensities are the number of the slice."""
    cases, start = [], 0
    for patient, depth in zip(patients, depths or (6,) * len(patients), strict=True):
        image = torch.arange(start, start + depth, dtype=torch.float32).expand(1, 2, 2, depth)
        bounds = torch.tensor([1.0, 2.0]).repeat(2, 1, 1)
        cases.append({"image": image, "bounds_ml": bounds, "patient": patient, "case": f"c{len(cases)}"})
        start += depth
    return SliceStore(cases)


class TestPairs:
    def test_both_cases_of_a_patient_and_single_ones_alone(self):
        loader = BatchLoader(pairs_store(("a", "b", "a", "c", "b")), volume_sampler=VolumeBatchSampler(pairs="patient"))
        assert loader.store.patient.tolist() == [0, 1, 0, 2, 1]
        found = {}
        for batch in loader:
            volumes = tuple(batch["volume"].unique().tolist())
            assert len(batch["volume"]) == 6 * len(volumes)
            assert torch.equal(batch["group"], batch["volume"])  # each case has an augmentation of its own
            found[volumes] = batch["pairs"].tolist()
        assert found == {(0, 2): [[0, 2, 0]], (1, 4): [[1, 4, 1]], (3,): []}
        assert batch["pairs"].dtype == torch.int64 and batch["pairs"].shape[1] == 3
        assert len(loader) == 3

    def test_three_pairs_in_a_batch(self):
        sampler = VolumeBatchSampler(volumes_per_batch=3, pairs="patient")
        (batch,) = BatchLoader(pairs_store(("a", "b", "a", "c", "b", "c")), volume_sampler=sampler)
        assert batch["pairs"].tolist() == [[0, 2, 0], [1, 4, 1], [3, 5, 2]]

    def test_many_cases_of_a_patient_are_paired_anew(self):
        loader = BatchLoader(pairs_store(("a",) * 5), volume_sampler=VolumeBatchSampler(pairs="patient"))
        seen = set()
        for epoch in range(1, 20):
            loader.set_epoch(epoch)
            parts = [batch["volume"].unique().tolist() for batch in loader]
            assert sorted(map(len, parts)) == [2, 3] and sorted(flat(parts)) == [0, 1, 2, 3, 4]
            seen |= {tuple(row) for batch in loader for row in batch["pairs"].tolist()}
        pairs = {(a, b) for a, b, _ in seen}
        assert len(pairs) == len(seen) == 10 and {number for *_, number in seen} == set(range(10))

    def test_slices_at_the_same_places_of_both(self):
        sampler = VolumeBatchSampler(3, pairs="patient")
        loader = BatchLoader(pairs_store(("a", "a"), (9, 9)), volume_sampler=sampler)
        drawn = set()
        for epoch in range(1, 30):
            loader.set_epoch(epoch)
            (batch,) = loader
            first, second = batch["image"][:, 0, 0, 0].view(2, 3).tolist()
            places = [first, second] if first[0] < 9 else [second, first]
            assert [place + 9 for place in places[0]] == places[1]
            assert batch["group_weight_ml"].tolist() == [3.0] * 6
            drawn |= set(places[0])
        assert drawn == set(range(9))

    def test_epochs_of_a_fixed_length(self):
        sampler = VolumeBatchSampler(pairs="patient")
        loader = BatchLoader(pairs_store(("a", "b", "a", "b")), iterations=3, volume_sampler=sampler)
        assert [batch["pairs"].shape[0] for batch in loader] == [1, 1, 1]

    def test_ranks_keep_pairs_together(self, monkeypatch):
        seen = []
        for rank in range(2):
            as_rank(monkeypatch, rank, 2)
            sampler = VolumeBatchSampler(pairs="patient")
            loader = BatchLoader(pairs_store(("a", "b", "a", "c", "b", "c")), volume_sampler=sampler)
            seen.append([batch["pairs"].tolist() for batch in loader])
        assert len(seen[0]) == len(seen[1])
        assert sorted(row[2] for part in seen for rows in part for row in rows) == [0, 1, 2]

    def test_patches_of_whole_volumes(self):
        cases = [{"image": torch.rand(1, 4, 4, 4), "patient": name} for name in "aba"]
        store = PatchStore(cases, (4, 4, 4), patches_per_volume=1)
        loader = BatchLoader(store, volume_sampler=VolumeBatchSampler(pairs="patient"))
        assert sorted(batch["pairs"].tolist() for batch in loader) == [[], [[0, 2, 0]]]

    def test_the_patient_is_kept_with_the_case(self):
        assert [case["patient"] for case in pairs_store(("a", "b")).whole_cases] == ["a", "b"]
        assert store().patient.tolist() == [0, 1, 2, 3, 4]

    def test_nobody_with_two_cases_is_refused(self):
        loader = BatchLoader(pairs_store(("a", "b")), volume_sampler=VolumeBatchSampler(pairs="patient"))
        with pytest.raises(ValueError, match="none of the 2 training patients has two"):
            next(iter(loader))
        with pytest.raises(ValueError, match="pairs must be 'patient' or null, got 'case'"):
            VolumeBatchSampler(pairs="case")


@pytest.mark.parametrize("settings", [{"slices_per_volume": 0}, {"volumes_per_batch": 0}])
def test_sampler_refuses(settings):
    with pytest.raises(ValueError, match="slices_per_volume and volumes_per_batch must be at least 1"):
        VolumeBatchSampler(**settings)


def test_loader_refuses():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BatchLoader(store(), batch_size=0)


class TestEpochsOfAFixedLength:
    def run(self, epochs: int = 4, depths: tuple[int, ...] = DEPTHS, **how) -> list[list[list[int]]]:
        loader = BatchLoader(store(depths), **{"batch_size": 4, "iterations": 5, **how})
        out = []
        for epoch in range(1, epochs + 1):
            loader.set_epoch(epoch)
            out.append(samples(loader))
            assert len(loader) == len(out[-1])
        return out

    @pytest.mark.parametrize("depths", [(5, 7, 4, 6, 1), (2, 1), (1,)])
    def test_an_epoch_has_as_many_full_batches_whatever_the_data(self, depths):
        epochs = self.run(depths=depths)
        assert all(len(epoch) == 5 and all(len(batch) == 4 for batch in epoch) for epoch in epochs)

    def test_samples_come_in_whole_passes_across_epochs(self):
        sequence = flat(flat(self.run(epochs=7)))  # 7 x 5 x 4 = 140 of 23 slices: six passes and two
        passes = [sequence[i : i + 23] for i in range(0, 138, 23)]
        assert all(sorted(one) == list(range(23)) for one in passes)
        assert len({str(one) for one in passes}) == 6  # each in an order of its own

    def test_an_epoch_is_the_same_whatever_was_drawn_before(self):
        loader = BatchLoader(store(), batch_size=4, iterations=5)
        loader.set_epoch(3)
        assert samples(loader) == self.run()[2]
        assert samples(BatchLoader(store(), batch_size=4, iterations=5, seed=1)) != self.run()[0]

    def test_draws_differ_between_epochs_and_iterations(self):
        loader = BatchLoader(store(), batch_size=4, iterations=5)
        draws = []
        for epoch in (1, 2, 3):
            loader.set_epoch(epoch)
            draws += [int(batch["draw"]) for batch in loader]
        assert len(set(draws)) == 15

    @pytest.mark.parametrize(("iterations", "each"), [(6, 2), (7, 3)])
    def test_processes_share_an_epoch(self, monkeypatch, iterations, each):
        seen = []
        for rank in range(3):
            as_rank(monkeypatch, rank, 3)
            seen.append(self.run(epochs=2, iterations=iterations))
        assert all(len(epoch) == each for one in seen for epoch in one)
        order = [seen[rank][epoch][i] for epoch in range(2) for i in range(each) for rank in range(3)]
        as_rank(monkeypatch, 0, 1)
        assert order == flat(self.run(epochs=2, iterations=3 * each))  # the sequence of one process, dealt out

    def test_whole_volumes(self):
        sampler = VolumeBatchSampler(volumes_per_batch=2)
        loader = BatchLoader(store(volume_bounds=True), iterations=6, volume_sampler=sampler)
        batches = [batch["group"].unique().tolist() for batch in loader]
        assert [len(batch) for batch in batches] == [2, 2, 1] * 2  # five volumes: a pass is three batches
        assert sorted(flat(batches[:3])) == sorted(flat(batches[3:])) == list(range(5))
        assert batches[:3] != batches[3:]

    def test_no_iteration_is_refused(self):
        with pytest.raises(ValueError, match=r"iterations of an epoch must be at least 1.*got 0"):
            BatchLoader(store(), iterations=0)
