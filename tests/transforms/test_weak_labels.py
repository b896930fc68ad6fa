# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.transforms import Compose

from wss_monai.functional.weak.generators import present_classes, slicewise
from wss_monai.transforms.weak_labels import (
    STRATEGIES,
    RandWeakLabel,
    RandWeakLabeld,
    WeakLabeld,
    case_seed,
    strategy_options,
)

NEEDED = {"sparse_slices": {"every": 3}}


def volume():
    label = np.zeros((1, 20, 22, 6), np.uint8)
    label[0, 3:13, 3:12, 1:5] = 1
    label[0, 14:19, 5:20, 2:] = 2
    return label


def cases(count=4):
    return [{"case": f"p{i}", "label": MetaTensor(volume())} for i in range(count)]


def drawn(case):
    return np.asarray(case["weak_label"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("slice_axis", [None, 2])
@pytest.mark.parametrize("kind", ["array", "tensor", "float tensor", "meta tensor"])
def test_kind_type_and_metadata_are_kept(strategy, slice_axis, kind):
    affine = torch.diag(torch.tensor([1.5, 1.5, 8.0, 1.0], dtype=torch.float64))
    label = {
        "array": volume(),
        "tensor": torch.from_numpy(volume()),
        "float tensor": torch.from_numpy(volume()).float(),
        "meta tensor": MetaTensor(volume(), affine=affine, meta={"filename_or_obj": "a.nii.gz"}),
    }[kind]
    transform = RandWeakLabel(strategy, slice_axis, **NEEDED.get(strategy, {})).set_random_state(1)
    weak = transform(label)
    assert type(weak) is type(label) and weak.shape == label.shape
    assert weak.dtype == (np.uint8 if kind == "array" else torch.uint8)
    if kind == "meta tensor":
        assert torch.equal(weak.affine, affine) and weak.meta["filename_or_obj"] == "a.nii.gz"
    if strategy != "box":
        assert np.array_equal(np.asarray(weak)[np.asarray(weak) != 255], volume()[np.asarray(weak) != 255])
    assert {1, 2} <= set(np.unique(np.asarray(weak)))


def test_slice_axis_draws_in_each_slice_and_none_in_the_volume():
    by_slice = RandWeakLabel("points", 2)(volume())[0]
    assert np.array_equal(present_classes(by_slice, 3, 2)[:, 1:], present_classes(volume()[0], 3, 2)[:, 1:])
    whole = RandWeakLabel("points")(volume())[0]
    assert (whole == 1).sum() == (whole == 2).sum() == 1
    flat = RandWeakLabel("points", radius=2)(volume()[..., 3])
    assert flat.shape == (1, 20, 22) and (flat == 1).sum() == 21


def test_the_core_does_the_work():
    transform = RandWeakLabel("erosion", slice_axis=0, iterations=2, background=True)
    expected = slicewise(STRATEGIES["erosion"], volume()[0], 0, iterations=2, background=True)
    assert np.array_equal(transform(volume())[0], expected)


def test_sparse_slices_lie_along_the_slice_axis():
    weak = RandWeakLabel("sparse_slices", 0, number=2)(volume())[0]
    assert (weak != 255).any(axis=(1, 2)).sum() == 2
    assert (RandWeakLabel("sparse_slices", number=2)(volume())[0] != 255).any(axis=(0, 1)).sum() == 2


def test_random_state_of_the_array_transform():
    first, second = (RandWeakLabel("points", 2).set_random_state(5) for _ in range(2))
    label = volume()
    a, b = first(label), first(label)
    assert not np.array_equal(a, b)
    assert np.array_equal(a, second(label)) and np.array_equal(b, second(label))
    assert np.array_equal(label, volume())


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"strategy must be one of random_blob, .*sparse_slices; got 'scribbel'"):
        RandWeakLabel("scribbel")
    with pytest.raises(ValueError, match=r"'points' has no option radios; it has classes, .*radius"):
        RandWeakLabel("points", radios=2)
    with pytest.raises(ValueError, match="'sparse_slices' has no option axis"):
        WeakLabeld(strategy="sparse_slices", axis=1)
    with pytest.raises(ValueError, match=r"one channel, shape \(1, \*spatial\); got shape \(3, 4, 5\)"):
        RandWeakLabel("points")(np.zeros((3, 4, 5), int))
    assert "inset" in strategy_options("scribble_border")


def test_a_case_gets_one_label_whatever_the_order():
    transform = WeakLabeld(strategy="scribble_interior", slice_axis=2, seed=3)
    there = {case["case"]: drawn(transform(case)) for case in cases()}
    back = {case["case"]: drawn(transform(case)) for case in reversed(cases())}
    assert all(np.array_equal(there[name], back[name]) for name in there)
    assert len({weak.tobytes() for weak in there.values()}) == 4
    other = drawn(WeakLabeld(strategy="scribble_interior", slice_axis=2, seed=4)(cases()[0]))
    assert not np.array_equal(there["p0"], other)


def test_the_draw_is_the_same_in_every_python_process():
    assert case_seed(0, "patient001") == 516544135


def test_workers_and_cache_do_not_change_the_draw():
    transform = Compose([WeakLabeld(strategy="points", slice_axis=2, seed=1)])
    expected = [drawn(transform(case)) for case in cases()]
    for workers in (0, 2):
        data = CacheDataset(cases(), transform, num_workers=workers or None, progress=False)
        assert "weak_label" in data._cache[0]
        loader = DataLoader(data, batch_size=1, num_workers=workers)
        got = [batch["weak_label"][0].numpy() for batch in loader]
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_the_random_one_draws_anew_unless_it_has_a_seed():
    transform = RandWeakLabeld(["label", "copy"], strategy="points", output_key=["weak_label", "weak_copy"])
    transform.set_random_state(2)
    case = {**cases()[0], "copy": cases()[0]["label"]}
    first, second = transform(case), transform(case)
    assert not torch.equal(first["weak_label"], second["weak_label"])
    assert torch.equal(first["weak_label"], first["weak_copy"])
    fixed = RandWeakLabeld(strategy="points", slice_axis=2, seed=7)
    assert np.array_equal(drawn(fixed(case)), drawn(WeakLabeld(strategy="points", slice_axis=2, seed=7)(case)))


def test_keys_ids_and_missing_labels():
    transform = WeakLabeld("dense", strategy="points", output_key="cue", id_key="name")
    case = transform({"dense": volume(), "name": "a"})
    assert set(case) == {"dense", "name", "cue"} and case["cue"].shape == (1, 20, 22, 6)
    with pytest.raises(ValueError, match="no 'name', which makes its draw its own"):
        transform({"dense": volume()})
    with pytest.raises(KeyError, match="dense"):
        transform({"name": "a"})
    kept = WeakLabeld(strategy="points", allow_missing_keys=True)({"case": "a", "weak_label": 5})
    assert kept == {"case": "a", "weak_label": 5}


def test_an_error_names_the_case():
    with pytest.raises(ValueError, match="case 'a', key 'label': label must hold whole class indices"):
        WeakLabeld(strategy="points")({"case": "a", "label": np.full((1, 4, 4), 0.5)})


@pytest.mark.parametrize(
    ("strategy", "options", "match"),
    [
        ("random_blob", {"width": None}, "option width must be a whole number or a list of such, got None"),
        ("random_blob", {"width": "x"}, "option width must be a whole number"),
        ("erosion", {"iterations": math.nan}, "option iterations must be a whole number, got nan"),
        ("erosion", {"iterations": 1.5}, "option iterations must be a whole number, got 1.5"),
        ("points", {"number": 10**30}, "option number must be a whole number"),
        ("box", {"per_component": 1}, "option per_component must be true or false, got 1"),
        ("scribble_border", {"length": math.nan}, "option length must be a number"),
    ],
)
def test_options_of_another_type_are_refused(strategy, options, match):
    with pytest.raises(ValueError, match=match):
        RandWeakLabel(strategy, **options)
