# SPDX-License-Identifier: Apache-2.0
"""Cases of every kind in one data set: they load, share a batch and train, and each teaches what it knows."""

from __future__ import annotations

import csv
import json
from math import inf as INF
from math import isfinite

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import make_dataset

KINDS = ["dense", "scribble", "points", "box", "tags", "slices", "nothing"]
NAMES = ["background", "RV", "Myo", "LV"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Patients p1 to p7, one of each kind; p0 is the test patient."""
    folder = make_dataset(tmp_path_factory.mktemp("mixed"), patients=8)
    content = json.loads((folder / "dataset.json").read_text())
    for case, kind in zip(content["training"], KINDS, strict=True):
        stored = nib.load(folder / case["label"])
        label = np.asarray(stored.dataobj)
        weak = folder / case["weak_label"]
        case["weak_labels"] = {"kind": kind}
        if kind == "points":
            drawn = np.zeros_like(label)
            for k in range(4):
                places = np.argwhere(label == k)
                x, y, z = places[len(places) // 2] if k else (6, 30, 2)
                drawn[x : x + 2, y : y + 2, z] = k + 1
            values = {str(k + 1): name for k, name in enumerate(NAMES)} | {"0": "unlabelled"}
            case["weak_labels"] |= {"values": values, "undrawn_means_absent": False}
            nib.save(nib.Nifti1Image(drawn, stored.affine), weak)
        elif kind == "box":
            drawn = np.full_like(label, 255)
            drawn[2:30, 2:30, 1:], drawn[8:28, 8:26, 1:] = 2, 3
            nib.save(nib.Nifti1Image(drawn, stored.affine), weak)
        elif kind == "slices":
            drawn = np.full_like(label, 255)
            drawn[..., 2] = label[..., 2]
            nib.save(nib.Nifti1Image(drawn, stored.affine), weak)
        elif kind == "tags":
            case["slice_tags"] = [[1, int((label[..., i] == 1).any()), 1, 1] for i in range(label.shape[2])]
        if kind in ("dense", "tags", "nothing"):
            del case["weak_label"]
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("mode", ["full", "partial", "pseudo", "quadratic", "logbarrier"])
def test_a_batch_of_all_kinds_trains(mixed, run_bundle, mode):
    overrides = {"mode": mode, "batch_size": 28, "validation": 0, "train#trainer#max_epochs": 1}
    _, out = run_bundle("train.yaml", folder=mixed, **overrides)
    (row,) = csv.DictReader((out / "metrics.csv").open())
    losses = {key: float(value) for key, value in row.items() if key.startswith("loss")}
    assert losses
    assert all(isfinite(value) for value in losses.values())


@pytest.mark.parametrize("patient", ["p4", "p5", "p7"])
def test_patients_without_any_drawn_voxel_can_validate(mixed, run_bundle, patient):
    rest = sorted({f"p{i}" for i in range(1, 8)} - {patient})
    split = mixed / f"{patient}.json"
    split.write_text(json.dumps({"training": rest, "validation": [patient], "test": ["p0"]}))
    _, out = run_bundle("train.yaml", folder=mixed, split=str(split), **{"train#trainer#max_epochs": 1})
    assert json.loads((out / "run.json").read_text())["patients"]["validation"] == [patient]
    assert "nan" not in (out / "metrics.csv").read_text().lower()


def test_each_kind_teaches_what_it_knows(mixed, run_bundle):
    flow, _ = run_bundle("train.yaml", folder=mixed, run=False, mode="quadratic", validation=0)
    loader, loss = flow.parser.get_parsed_content("train#dataloader"), flow.parser.get_parsed_content("loss")
    store = loader.store
    torch.manual_seed(0)
    facts = {}
    for number, case in enumerate(store.cases):
        batch = store.batch(torch.where(store.volume == number)[0].tolist(), seed=0)
        logits = torch.randn(len(batch["image"]), 4, 32, 32, requires_grad=True)
        total = loss(logits, batch)
        total.backward()
        drawn = set(batch["weak_label"].unique().tolist()) - {255}
        parts = {name: float(value) for name, value in loss.parts.items()}
        kind = KINDS[int(case[1]) - 1]
        facts[kind] = drawn, parts["partial"] != 0, bool(batch["bounds_size"].isfinite().any()), total.item()
        assert isfinite(total.item()), kind
        assert bool(logits.grad.isfinite().all()), kind
        assert bool((logits.grad != 0).any()) == (kind != "nothing"), kind
    assert facts["dense"][:2] == facts["scribble"][:2] == facts["points"][:2] == facts["slices"][:2]
    assert facts["dense"][:2] == ({0, 1, 2, 3}, True)
    assert facts["box"][:3] == ({0}, True, True), "outside of the boxes is background, inside is unknown"
    assert facts["tags"][:3] == (set(), False, True), "tags teach through bounds alone"
    assert facts["nothing"] == (set(), False, True, 0.0)


def test_tags_of_each_kind(mixed, run_bundle):
    flow, _ = run_bundle("train.yaml", folder=mixed, run=False, validation=0)
    tags = {
        KINDS[int(case["case"][1]) - 1]: case["slice_tags"] for case in flow.parser.get_parsed_content("train#dataset")
    }
    assert tags["box"].tolist() == [[-1] * 4, *[[1, 0, 1, 1]] * 3]
    assert tags["tags"].tolist() == [[1, 0, 1, 1], *[[1, 1, 1, 1]] * 3]
    assert tags["dense"].tolist() == tags["tags"].tolist()
    assert tags["slices"].tolist() == [[-1] * 4, [-1] * 4, [1] * 4, [-1] * 4]
    assert (tags["nothing"] == -1).all()
    assert set(tags["points"].unique().tolist()) == {-1, 1}


def test_the_overlay_for_boxes(mixed, run_bundle):
    settings = {"box_fractions": {"Myo": [0.5, 0.9], "LV": [0.5, 0.9]}}
    flow, _ = run_bundle("train.yaml", "box.yaml", folder=mixed, validation=2, run=False, **settings)
    store = flow.parser.get_parsed_content("train#dataloader").store
    box = [KINDS[int(case[1]) - 1] for case in store.cases].index("box")
    bounds = store.tensors["bounds_size"][store.volume == box]
    # 28 x 28 and 20 x 18 voxels, the second in the first: half to nine tenths; RV is absent where something is drawn
    assert bounds[0].isinf().all()
    assert bounds[1, :, 0].tolist() == [[-INF, INF], [-INF, 0], [392, pytest.approx(705.6)], [180, 324]]
    assert store.tensors["boxes"].shape[1] == 4
    others = store.volume != box
    assert store.tensors["bounds_tightness"][others].isinf().all()
    assert (store.tensors["boxes"][others] == 255).all()
