# SPDX-License-Identifier: Apache-2.0
"""The toys of the tutorials: every mode, the published loss by hand, the editions, the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import pytest
import torch
from tiny import ROOT, command_here, command_line, differing_voxels, interrupt, workflow

from wss_monai.__main__ import main

SMALL = {"window": [32, 32], "train#trainer#max_epochs": 2, "device": "$torch.device('cpu')"}


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "data"
    words = ["--images", "3", "2", "--size", "32", "32", "--radius", "7"]
    assert main(["synthesize", "toy", "--out", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="session")
def circles(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("circles") / "data"
    words = ["--images", "6", "2", "--size", "32", "32", "--radius", "5"]
    assert main(["synthesize", "two-circles", "--out", str(folder), *words]) == 0
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a toy's workflow from the repository root; gives it and the rows of metrics.csv."""
    monkeypatch.chdir(ROOT)

    def go(bundle: str, *files: str, folder: Path, out: Path = tmp_path / "run", start: bool = True, **overrides):
        flow = workflow(*files, bundle=bundle, tiny=SMALL, folder=folder, out=out, **overrides)
        flow.initialize()
        if start:
            flow.run()
        file = out / "metrics.csv"
        return flow, list(csv.DictReader(file.open())) if file.is_file() else []

    return go


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)


@pytest.mark.parametrize("mode", ["full", "unconstrained", "constrained"])
def test_toy_1_trains_and_is_evaluated_in_every_mode(run, toy, tmp_path, mode):
    _, rows = run("toy_size", "train.yaml", folder=toy, mode=mode)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_dice", "size_difference", "size_difference_abs", "val_dice"} <= set(rows[-1])
    assert ("loss_size" in rows[0]) == (mode == "constrained")
    out = tmp_path / "run"
    assert list((out / "snapshots").glob("epoch_*.png"))
    run("toy_size", "train.yaml", "evaluate.yaml", folder=toy, mode=mode)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert result["n_volumes"] == 2
    assert result["bounds_origin"] == ("oracle" if mode == "constrained" else "none")
    assert set(differing_voxels(out).values()) == {0}


def test_a_step_of_toy_1_is_the_tutorials(run, toy):
    """Partial cross-entropy of the disc alone at temperature 5, and 0.01 x squared violations / pixels."""
    flow, _ = run("toy_size", "train.yaml", folder=toy, start=False)
    loss, network = (flow.parser.get_parsed_content(name) for name in ("loss", "network_def"))
    loader = flow.parser.get_parsed_content("train#dataloader")
    prepare = flow.parser.get_parsed_content("train#trainer").prepare_batch
    batch = next(iter(loader))
    image, target = prepare(batch, torch.device("cpu"))
    assert image.shape == (1, 1, 32, 32)
    assert image.max() <= 1
    probs = torch.softmax(5 * network(image), 1)
    drawn = target["weak_label"][0, 0] == 1
    entropy = -probs[0, 1][drawn].log().mean()
    size, true = probs[0, 1].sum(), float((target["label"] == 1).sum())
    violation = (size - 1.1 * true).relu() ** 2 + (0.9 * true - size).relu() ** 2
    torch.testing.assert_close(loss(network(image), target), entropy + 0.01 * violation / 32**2)


def test_the_constraint_of_toy_1_holds_the_size(run, toy, tmp_path):
    longer = {"train#trainer#max_epochs": 40, "learning_rate": 0.005, "val_interval": 40}
    difference = {}
    for mode in ("unconstrained", "constrained"):
        _, rows = run("toy_size", "train.yaml", folder=toy, out=tmp_path / mode, mode=mode, **longer)
        difference[mode] = float(rows[-1]["size_difference"])
    assert difference["unconstrained"] > 80  # background is never supervised: everything grey is taken
    assert abs(difference["constrained"]) < 40


def test_the_edition_of_2019_starts_its_common_size_late(run, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    words = ["--edition", "2019", "--images", "3", "2", "--size", "32", "32", "--radius", "7"]
    assert main(["synthesize", "toy", "--out", str(folder), *words]) == 0
    settings = {"size_bounds": {"disc": [150, 150]}, "train#trainer#max_epochs": 5, "val_interval": 5}
    _, rows = run("toy_size", "train.yaml", "edition_2019.yaml", folder=folder, **settings)
    totals = [(float(r["loss"]), float(r["loss_partial"]), 0.01 * float(r["loss_size"])) for r in rows]
    for total, partial, size in totals[:3]:
        assert size > 0
        assert total == pytest.approx(partial, rel=1e-4)
    for total, partial, size in totals[3:]:
        assert total == pytest.approx(partial + size, rel=1e-4)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["bounds_origin"] == "constant"


@pytest.mark.parametrize("mode", ["full", "quadratic", "logbarrier"])
def test_toy_2_trains_without_a_labelled_pixel(run, circles, tmp_path, mode):
    flow, rows = run("toy_logbarrier", "train.yaml", folder=circles, mode=mode, centroid_margin=2.0)
    store = flow.parser.get_parsed_content("train#dataloader").store.tensors
    assert "weak_label" not in store
    reads = flow.parser.get_parsed_content("loss").target_keys()
    assert ("label" in reads) == (mode == "full")
    if mode != "full":  # both constraints really act: the original quadratic one is identically zero
        assert float(rows[0]["loss_size"]) != 0
        assert float(rows[0]["loss_centroid"]) != 0
        network = flow.parser.get_parsed_content("network_def")
        fresh = type(network)(2, 1, 2).state_dict()
        assert any(not torch.equal(v, fresh[name]) for name, v in weights(tmp_path / "run").items())
    run("toy_logbarrier", "train.yaml", "evaluate.yaml", folder=circles, mode=mode, centroid_margin=2.0)
    result = json.loads((tmp_path / "run" / "metrics_summary.json").read_text())
    assert set(result["constraint_satisfaction"]) == {"size", "centroid"}
    assert set(differing_voxels(tmp_path / "run").values()) == {0}


@pytest.mark.parametrize("name", ["relu", "logbarrier", "augmented_lagrangian", "primal_dual"])
def test_toy_2_takes_any_enforcer_for_both_terms(run, circles, name):
    settings = {"mode": "constrained", "enforcer": name, "centroid_margin": 2.0}
    flow, rows = run("toy_logbarrier", "train.yaml", folder=circles, **settings)
    assert all(float(rows[0][f"violation_{term}"]) > 0 for term in ("size", "centroid"))
    terms = flow.parser.get_parsed_content("loss").terms
    assert terms["size"].penalty is not terms["centroid"].penalty
    if name in ("augmented_lagrangian", "primal_dual"):
        assert all(float(rows[1][f"multiplier_max_{term}"]) > 0 for term in ("size", "centroid"))
    assert (rows[1].get("t", "") == "1.1") == (name == "logbarrier")


@pytest.mark.parametrize(
    ("bundle", "same"),
    [
        ("toy_logbarrier", {"mode": "quadratic"}),
        ("toy_logbarrier", {"mode": "logbarrier"}),
        ("toy_size", {"mode": "quadratic"}),
    ],
)
def test_the_enforcer_of_that_name_is_the_mode(run, toy, circles, tmp_path, bundle, same):
    folder = toy if bundle == "toy_size" else circles
    run(bundle, "train.yaml", folder=folder, out=tmp_path / "mode", **same)
    enforced = {"mode": "constrained", "enforcer": same["mode"]}
    run(bundle, "train.yaml", folder=folder, out=tmp_path / "constrained", **enforced)
    first, second = weights(tmp_path / "mode"), weights(tmp_path / "constrained")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_toy_1_by_multipliers(run, toy):
    settings = {"mode": "constrained", "enforcer": "augmented_lagrangian", "train#trainer#max_epochs": 3}
    _, rows = run("toy_size", "train.yaml", folder=toy, **settings)
    assert float(rows[0]["multiplier_max_size"]) == 0 < float(rows[-1]["multiplier_max_size"])
    _, rows = run("toy_size", "train.yaml", folder=toy, overwrite=True, **settings | {"enforcer": "logbarrier"})
    assert float(rows[-1]["t"]) > float(rows[0]["t"]) > 1


def test_t_of_toy_2_grows_by_a_tenth_an_epoch(run, circles):
    _, rows = run("toy_logbarrier", "train.yaml", folder=circles, **{"train#trainer#max_epochs": 3})
    assert [float(row["t"]) for row in rows] == pytest.approx([1, 1.1, 1.21])


@pytest.mark.parametrize("bundle", ["toy_size", "toy_logbarrier"])
def test_a_resumed_toy_ends_where_the_uninterrupted_run_ends(run, toy, circles, tmp_path, bundle):
    folder = toy if bundle == "toy_size" else circles
    settings = {"train#trainer#max_epochs": 4, "val_interval": 2}
    settings |= {"save_interval": 1} if bundle == "toy_size" else {}
    _, whole = run(bundle, "train.yaml", folder=folder, out=tmp_path / "whole", **settings)
    flow, _ = run(bundle, "train.yaml", folder=folder, out=tmp_path / "broken", start=False, **settings)
    interrupt(flow, 3)
    _, rows = run(bundle, "train.yaml", folder=folder, out=tmp_path / "broken", resume=True, **settings)
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole]
    expected, got = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_command_line_of_toy_1_and_prediction(toy, tmp_path):
    configs = "bundles/toy_size/configs"
    done = command_here(
        "run", "training", "--config_file", f"{configs}/train.yaml", dataset_dir=toy, output_dir=tmp_path / "run",
        mode="constrained", **SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = command_line(
        "run", "--config_file", "configs/inference.yaml", cwd=ROOT / "bundles" / "toy_size",
        dataset_dir=toy / "images", ckpt_path=tmp_path / "run" / "model.pt", output_dir=tmp_path / "out",
        window=[32, 32],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predictions = sorted((tmp_path / "out").glob("*_seg.nii.gz"))
    assert len(predictions) == 5
    assert nib.load(predictions[0]).shape[:2] == (32, 32)  # MONAI's writer drops a last axis of length 1


def test_command_line_of_toy_2_from_its_own_folder(circles, tmp_path):
    done = command_line(
        "run", "training", "--config_file", "configs/train.yaml", cwd=ROOT / "bundles" / "toy_logbarrier",
        dataset_dir=circles, output_dir=tmp_path / "run", mode="quadratic", **SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.pt").is_file()
