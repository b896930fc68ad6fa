# SPDX-License-Identifier: Apache-2.0
"""The overlay for boxes: it trains, evaluates, resumes; exact augmentation; what each slice is bounded by."""

from __future__ import annotations

import csv
import json
import math
from math import inf as INF

import pytest
import torch

from wss_monai.__main__ import main

BOX = ("train.yaml", "box.yaml")
TERMS = ("tightness", "size", "outside")


@pytest.fixture(scope="module")
def boxes(dataset, tmp_path_factory):
    """Boxes of the tiny data set: LV's in Myo's, RV's over a part of both."""
    out = tmp_path_factory.mktemp("boxes") / "data"
    assert main(["weaken", "--data", str(dataset), "--strategy", "box", "--out", str(out)]) == 0
    return out


def rows(path):
    return list(csv.DictReader(path.open()))


@pytest.mark.parametrize("penalty", ["logbarrier", "quadratic"])
def test_it_trains_and_evaluates(boxes, run_bundle, penalty):
    _, out = run_bundle(*BOX, folder=boxes, box_penalty=penalty)
    lines = rows(out / "metrics.csv")
    assert len(lines) == 2
    terms = {f"loss_{term}" for term in ("partial", "tightness", "size", "outside")}
    assert terms <= set(lines[0])
    assert all(math.isfinite(float(line[key])) for line in lines for key in terms)
    assert (lines[0].get("t", "") != "") == (penalty == "logbarrier")
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "box"
    run_bundle(*BOX, "evaluate.yaml", folder=boxes, out=out, box_penalty=penalty)
    summary = json.loads((out / "metrics_summary.json").read_text())
    assert set(summary["constraint_satisfaction"]) == {"size", "tightness", "outside"}
    assert summary["bounds_origin"] == "box"
    measured = rows(out / "evaluation" / "constraints.csv")
    assert {row["unit"] for row in measured if row["term"] == "tightness"} == {"voxel a line"}
    assert {row["origin"] for row in measured} == {"box"}


@pytest.mark.parametrize("name", ["relu", "augmented_lagrangian", "primal_dual"])
def test_each_term_has_multipliers_of_its_own(boxes, run_bundle, name):
    flow, out = run_bundle(*BOX, folder=boxes, enforcer=name)
    lines = rows(out / "metrics.csv")
    assert all(float(lines[0][f"violation_{term}"]) > 0 for term in TERMS)
    loss = flow.parser.get_parsed_content("loss")
    assert len({id(loss.terms[term].penalty) for term in TERMS}) == 3
    assert [loss.weights[term] for term in TERMS] == [0.1, 1.0, 0.1]
    if name != "relu":
        assert all(float(lines[-1][f"multiplier_max_{term}"]) > 0 for term in TERMS)


def test_the_former_name_of_the_setting_stays(boxes, run_bundle, tmp_path):
    found = []
    for settings in ({"enforcer": "quadratic"}, {"box_penalty": "quadratic"}):
        _, out = run_bundle(*BOX, folder=boxes, out=tmp_path / next(iter(settings)), **settings)
        found.append(torch.load(out / "model.pt", weights_only=True))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_pseudo_labels_lie_in_the_boxes(boxes, run_bundle):
    settings = {"mode": "pseudo", "pseudo_start": 0.0, "pseudo_ramp": 0.0}
    flow, out = run_bundle(*BOX, folder=boxes, **settings)
    lines = rows(out / "metrics.csv")
    assert all(float(line[f"loss_{term}"]) != 0 for line in lines for term in ("pseudo", "tightness", "size"))
    loss, loader = (flow.parser.get_parsed_content(name) for name in ("loss", "train#dataloader"))
    batch = next(iter(loader))
    _, targets = flow.parser.get_parsed_content("train#trainer").prepare_batch(batch, "cpu")
    soft = targets["teacher"]
    term = loss.terms["pseudo"]
    index = term.labels(soft, soft, 0.5, targets["weak_label"], tags=targets["slice_tags"], boxes=targets["boxes"])
    inside = (targets["boxes"] > 0) & (targets["boxes"] != 255)
    for k in (1, 2, 3):
        assert not ((index[:, 0] == k) & ~inside[:, k] & (targets["boxes"][:, k] != 255)).any()


def test_each_slice_is_bounded_by_its_boxes(boxes, run_bundle):
    flow, _ = run_bundle(*BOX, folder=boxes, run=False, validation=0)
    store = flow.parser.get_parsed_content("train#dataloader").store
    tensors = store.tensors
    inside = tensors["boxes"] == 1
    there = inside.flatten(2).any(2)
    assert there[:, 1:].float().mean(0).tolist() == pytest.approx([0.75, 1, 1]), "RV is absent from the first slices"
    fractions = torch.tensor([[0.3, 0.8], [0.2, 0.6], [0.5, 0.9]])
    voxels = inside.flatten(2).sum(2)[:, 1:, None]
    expected = torch.where(there[:, 1:, None], voxels * fractions, torch.tensor([-INF, 0.0]))
    torch.testing.assert_close(tensors["bounds_size"][:, 1:, 0], expected)
    lower = tensors["bounds_tightness"][:, 1:, 0, 0]
    assert torch.equal(lower == 1, there[:, 1:])
    assert (tensors["bounds_outside"][:, 1:, 0, 1] == 0).all()
    outside = ~inside.any(1, keepdim=True)
    known = tensors["boxes"][:, :1] != 255
    assert torch.equal(tensors["weak_label"] == 0, outside & known)


def test_the_augmentation_keeps_boxes(boxes, run_bundle):
    flow, _ = run_bundle(*BOX, folder=boxes, run=False)
    loss = flow.parser.get_parsed_content("loss")
    prepare = flow.parser.get_parsed_content("train#trainer").prepare_batch
    loader = flow.parser.get_parsed_content("train#dataloader")
    found = []
    for _ in range(5):
        for batch in loader:
            _, targets = prepare(batch, torch.device("cpu"))
            assert targets["boxes"].shape[1] == 4
            found.append(targets["bounds_tightness"][..., 0, 0])
            assert math.isfinite(float(loss(torch.randn(len(targets["boxes"]), 4, 32, 32), targets)))
    lower = torch.cat(found)[:, 1:]
    lower = lower[lower.isfinite()]
    assert 0.9 <= float(lower.min()) <= 1 == float(lower.max())


def test_boxes_taken_for_the_organs(boxes, run_bundle):
    settings = {"folder": boxes, "mode": "partial", "train#trainer#max_epochs": 1}
    _, out = run_bundle(*BOX, box_filled=True, **settings)
    (line,) = rows(out / "metrics.csv")
    assert {key for key, value in line.items() if key.startswith("loss_") and value} == {"loss_partial"}
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "none"
    with pytest.raises(RuntimeError) as caught:
        run_bundle(*BOX, out=out.parent / "bare", **settings)
    assert "no constraint says how much of them there is at least" in str(caught.value.__cause__)


def test_resuming_ends_where_the_whole_run_ends(boxes, run_bundle, tmp_path):
    both = {"folder": boxes, "schedule_epochs": 2}
    _, whole = run_bundle(*BOX, out=tmp_path / "whole", **both)
    run_bundle(*BOX, out=tmp_path / "parts", **both, **{"train#trainer#max_epochs": 1})
    _, parts = run_bundle(*BOX, out=tmp_path / "parts", **both, resume=True)
    a, b = (torch.load(folder / "model.pt", weights_only=True) for folder in (whole, parts))
    assert all(torch.equal(a[key], b[key]) for key in a)
