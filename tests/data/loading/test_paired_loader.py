# SPDX-License-Identifier: Apache-2.0
"""Labelled and unlabelled samples in one batch: constant sizes, endless rounds, draws that are functions of numbers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from wss_monai.data import PairedLoader, PairedStore, PatchStore, SliceStore
from wss_monai.data.loading import paired_loader
from wss_monai.handlers.set_epoch import SetEpoch
from wss_monai.handlers.training_check import TrainingCheck
from wss_monai.losses import PartialCrossEntropyLoss, WeightedSumLoss


def volumes(depths, start=0, value=255, **more):
    """Volumes whose intensity is the number of the slice in the store, from `start`."""
    cases = []
    for number, depth in enumerate(depths):
        image = torch.arange(start, start + depth, dtype=torch.float32).expand(1, 4, 4, depth)
        label = torch.full((1, 4, 4, depth), value, dtype=torch.uint8)
        cases.append({"case": f"c{value}_{number}", "image": image, "weak_label": label, **more})
        start += depth
    return cases


def labelled(depths=(3, 4)):
    cases = volumes(depths, value=1)
    for case in cases:
        case["weak_label"] = case["weak_label"].clone()
        case["weak_label"][..., :2, :] = 0
    return SliceStore(cases)


def unlabelled(depths=(5, 6, 2)):
    return SliceStore(volumes(depths, start=100))


def images(batch):
    return batch["image"][:, 0, 0, 0].int().tolist()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def run(loader, epochs=(1,)):
    batches = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        batches += list(loader)
    return batches


def as_rank(monkeypatch, rank, ranks):
    monkeypatch.setattr(paired_loader, "rank_and_size", lambda: (rank, ranks))


class TestBatches:
    def test_labelled_samples_come_first_and_sizes_are_constant(self):
        loader = PairedLoader(labelled(), unlabelled(), labelled_batch=4, unlabelled_batch=5, iterations=20)
        batches = list(loader)
        assert len(batches) == len(loader) == 20
        for batch in batches:
            assert batch["labelled"].shape == () and int(batch["labelled"]) == 4
            assert batch["image"].shape == (9, 1, 4, 4) and batch["weak_label"].shape == (9, 1, 4, 4)
            assert all(value < 7 for value in images(batch)[:4]) and all(value >= 100 for value in images(batch)[4:])
            assert bool((batch["weak_label"][4:] == 255).all()) and bool((batch["weak_label"][:4] < 2).all())
            assert batch["draw"].dtype == torch.int64 and batch["draw"].shape == ()
        assert len({int(batch["draw"]) for batch in batches}) == 20

    def test_numbers_of_volumes_are_distinct(self):
        names = {}
        loader = PairedLoader(labelled(), unlabelled(), iterations=10)
        for batch in loader:
            for value, number in zip(images(batch), batch["volume"].tolist(), strict=True):
                assert names.setdefault(value, number) == number
        store = loader.store
        assert store.cases == ["c1_0", "c1_1", "c255_0", "c255_1", "c255_2"]
        assert [names[value] for value in (0, 2, 3, 6, 100, 104, 105, 110, 111, 112)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert store.volume.tolist() == [0] * 3 + [1] * 4 + [2] * 5 + [3] * 6 + [4] * 2

    @pytest.mark.parametrize(("sizes", "rounds"), [((4, 5), 20), ((1, 1), 30), ((9, 40), 10)])
    def test_every_sample_equally_often_in_shuffled_rounds(self, sizes, rounds):
        loader = PairedLoader(labelled(), unlabelled(), *sizes, iterations=rounds)
        first = [value for batch in loader for value in images(batch)[: sizes[0]]]
        second = [value for batch in loader for value in images(batch)[sizes[0] :]]
        for drawn, total in ((first, 7), (second, 13)):
            whole = [tuple(drawn[i : i + total]) for i in range(0, len(drawn) - total + 1, total)]
            assert all(len(set(order)) == total for order in whole)
            assert all(a != b for a, b in pairwise(whole))

    def test_epochs_go_on_where_the_last_one_ended(self):
        short = PairedLoader(labelled(), unlabelled(), iterations=3)
        long = PairedLoader(labelled(), unlabelled(), iterations=9)
        assert [images(b) for b in run(short, (1, 2, 3))] == [images(b) for b in run(long)]

    def test_set_epoch_gives_what_an_uninterrupted_run_gives(self):
        loader = PairedLoader(labelled(), unlabelled(), iterations=4, seed=3)
        whole = run(loader, (1, 2, 3, 4))
        resumed = run(PairedLoader(labelled(), unlabelled(), iterations=4, seed=3), (3, 4))
        assert all(same(a, b) for a, b in zip(whole[8:], resumed, strict=True))
        assert all(same(a, b) for a, b in zip(run(loader, (2,)), whole[4:8], strict=True))

    def test_global_random_state_neither_matters_nor_changes(self):
        first = run(PairedLoader(labelled(), unlabelled(), iterations=3))
        torch.manual_seed(5)
        np.random.seed(5)
        states = torch.get_rng_state(), np.random.get_state()[1].copy()
        second = run(PairedLoader(labelled(), unlabelled(), iterations=3))
        assert all(same(a, b) for a, b in zip(first, second, strict=True))
        assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()

    def test_seeds_and_epochs_differ(self):
        seen = set()
        for seed in (0, 1):
            for epoch in (1, 2, 3):
                batches = run(PairedLoader(labelled(), unlabelled(), iterations=4, seed=seed), (epoch,))
                seen.add(str([(images(batch), int(batch["draw"])) for batch in batches]))
        assert len(seen) == 6

    def test_without_unlabelled_samples(self):
        alone = PairedLoader(labelled(), iterations=6, seed=2)
        paired = PairedLoader(labelled(), unlabelled(), iterations=6, seed=2)
        for a, b in zip(alone, paired, strict=True):
            assert images(a) == images(b)[:4] and int(a["labelled"]) == 4
            assert torch.equal(a["draw"], b["draw"])
        assert alone.store.cases == ["c1_0", "c1_1"] and alone.store.unlabelled is None

    def test_an_unlabelled_batch_of_one(self):
        batch = next(iter(PairedLoader(labelled(), unlabelled(), 1, 1)))
        assert batch["image"].shape[0] == 2 and int(batch["labelled"]) == 1

    def test_the_readme_sizes_are_the_defaults(self):
        loader = PairedLoader(labelled(), unlabelled())
        assert (loader.labelled_batch, loader.unlabelled_batch, len(loader)) == (4, 10, 300)


class TestProcesses:
    @pytest.mark.parametrize("ranks", [2, 3])
    def test_the_sequence_is_shared_out(self, monkeypatch, ranks):
        alone = PairedLoader(labelled(), unlabelled(), 2, 3, iterations=4 * ranks)
        whole = run(alone, (1, 2))
        shares = []
        for rank in range(ranks):
            as_rank(monkeypatch, rank, ranks)
            shares.append(run(PairedLoader(labelled(), unlabelled(), 2, 3, iterations=4), (1, 2)))
        assert all(len(share) == 8 for share in shares)
        merged = [share[i] for i in range(8) for share in shares]
        assert [images(batch) for batch in merged] == [images(batch) for batch in whole]
        assert len({int(batch["draw"]) for batch in merged}) == 8 * ranks

    def test_a_process_gets_the_same_again(self, monkeypatch):
        as_rank(monkeypatch, 1, 2)
        loader = PairedLoader(labelled(), unlabelled(), iterations=3)
        assert all(same(a, b) for a, b in zip(run(loader, (2,)), run(loader, (2,)), strict=True))


class TestPatches:
    def stores(self):
        def patches(cases, value):
            for number, case in enumerate(cases):
                case["image"] = torch.arange(4.0 * 4 * 6).view(1, 4, 4, 6) + 1000 * number + value
            return PatchStore(cases, patch_size=(2, 2, 4), patches_per_volume=2)

        return patches(volumes((6, 6), value=1), 0), patches(volumes((6, 6, 6)), 10_000)

    def test_places_are_functions_of_seed_epoch_and_iteration(self):
        first = run(PairedLoader(*self.stores(), 2, 3, iterations=5), (1, 2))
        again = run(PairedLoader(*self.stores(), 2, 3, iterations=5), (2,))
        assert first[0]["image"].shape == (5, 1, 2, 2, 4)
        assert all(same(a, b) for a, b in zip(first[5:], again, strict=True))
        corners = {tuple(batch["image"][:, 0, 0, 0, 0].tolist()) for batch in first}
        assert len(corners) == 10

    def test_labelled_patches_are_the_same_without_unlabelled_ones(self):
        some, others = self.stores()
        alone = run(PairedLoader(some, None, 2, 3, iterations=5))
        paired = run(PairedLoader(some, others, 2, 3, iterations=5))
        assert all(torch.equal(a["image"], b["image"][:2]) for a, b in zip(alone, paired, strict=True))

    def test_numbers_of_volumes_are_distinct(self):
        batch = next(iter(PairedLoader(*self.stores(), 4, 6)))
        assert batch["volume"].tolist()[:4] == [n % 2 for n in batch["volume"].tolist()[:4]]
        assert set(batch["volume"].tolist()[4:]) == {2, 3, 4}


class TestStore:
    def test_by_case_goes_over_both(self):
        store = PairedLoader(labelled(), unlabelled()).store
        found = [(name, len(entries)) for name, entries in store.by_case("image")]
        assert found == [("c1_0", 3), ("c1_1", 4), ("c255_0", 5), ("c255_1", 6), ("c255_2", 2)]
        assert len(store) == 20 and store.volume_terms == set()

    def test_a_batch_by_numbers_over_both(self):
        store = PairedStore(labelled(), unlabelled())
        assert images(store.batch([0, 7, 6, 19], 0)) == [0, 6, 100, 112]

    def test_functions_make_the_stores_when_first_needed(self):
        made = Counter()

        def make(name, maker):
            made[name] += 1
            return maker()

        loader = PairedLoader(lambda: make("some", labelled), lambda: make("others", unlabelled), iterations=2)
        loader.set_epoch(2)
        assert len(loader) == 2 and not made
        list(loader), list(loader), loader.store
        assert made == {"some": 1, "others": 1}

    def test_the_training_check_reads_it(self):
        loss = WeightedSumLoss({"ce": [PartialCrossEntropyLoss(), 1.0]})
        loader = PairedLoader(labelled(), unlabelled())
        TrainingCheck(loader, loss, ["background", "RV"])(None)
        with pytest.raises(ValueError, match=r"\['LV'\] have no labelled voxel .* of the 5 training cases"):
            TrainingCheck(loader, loss, ["background", "RV", "LV"])(None)

    def test_with_the_handler_of_epochs(self):
        loader = PairedLoader(labelled(), unlabelled(), iterations=3)
        seen = []
        engine = Engine(lambda _, batch: seen.append(batch))
        SetEpoch(loader).attach(engine)
        engine.run(loader, max_epochs=3)
        fresh = run(PairedLoader(labelled(), unlabelled(), iterations=3), (1, 2, 3))
        assert len(seen) == 9 and all(same(a, b) for a, b in zip(seen, fresh, strict=True))

    def test_a_resumed_engine_gets_the_same(self):
        seen = []
        engine = Engine(lambda _, batch: seen.append(batch))
        loader = PairedLoader(labelled(), unlabelled(), iterations=3)
        SetEpoch(loader).attach(engine)
        engine.load_state_dict({"iteration": 6, "max_epochs": 3, "epoch_length": 3, "seed": None})
        engine.run(loader)
        assert all(same(a, b) for a, b in zip(seen, run(loader, (3,)), strict=True))


class TestRefusals:
    @pytest.mark.parametrize("name", ["labelled_batch", "unlabelled_batch", "iterations"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_numbers_below_one(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
            PairedLoader(labelled(), unlabelled(), **{name: value})

    def test_epochs_count_from_one(self):
        with pytest.raises(ValueError, match="epochs count from 1, got 0"):
            PairedLoader(labelled()).set_epoch(0)

    def test_other_entries(self):
        cases = volumes((5,))
        del cases[0]["weak_label"]
        loader = PairedLoader(labelled(), SliceStore(cases))
        with pytest.raises(ValueError, match=r"labelled samples have .*'weak_label'.* but unlabelled ones"):
            next(iter(loader))

    def test_other_sizes(self):
        cases = [{"image": torch.zeros(1, 6, 4, 3), "weak_label": torch.zeros(1, 6, 4, 3)}]
        with pytest.raises(ValueError, match=r"image of labelled samples has \(1, 4, 4\), but of unlabelled ones"):
            PairedStore(labelled(), SliceStore(cases))

    def test_bounds_on_whole_volumes(self):
        bounds = {"bounds_ml": torch.tensor([0.0, 9.0]).repeat(2, 1, 1)}
        loader = PairedLoader(SliceStore(volumes((5,), value=1, **bounds)), SliceStore(volumes((5,), **bounds)))
        with pytest.raises(ValueError, match=r"bounds of \['ml'\] are about whole volumes.*bound slices"):
            next(iter(loader))

    def test_an_empty_store(self):
        class Nothing:
            volume, volume_terms, cases = torch.zeros(0, dtype=torch.long), set(), []

            def __len__(self):
                return 0

        with pytest.raises(ValueError, match="the unlabelled store is empty"):
            PairedStore(labelled(), Nothing())
        with pytest.raises(ValueError, match="the labelled store is empty"):
            PairedStore(Nothing(), unlabelled())
        with pytest.raises(ValueError, match="the training set is empty"):
            next(iter(PairedLoader(lambda: SliceStore([]), unlabelled())))

    def test_no_labelled_store(self):
        with pytest.raises(ValueError, match="labelled must be a store"):
            next(iter(PairedLoader(None)))
