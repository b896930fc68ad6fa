# SPDX-License-Identifier: Apache-2.0
"""The bundle acdc_mutual_information: every mode, who is read by whom, resume, prediction; overlays have their own."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import ROOT, command_line, differing_voxels, interrupt, make_dataset, run_workflow, workflow

from wss_monai.__main__ import main
from wss_monai.bundle.user_errors import find_user_error
from wss_monai.data import load_semi_supervised

BUNDLE = "acdc_mutual_information"
TRAIN, EVALUATE = ("train.yaml",), ("train.yaml", "evaluate.yaml")
MODES = ("partial", "entropy", "meanteacher", "midl", "uda", "iic", "udaiic")
SMALL = {
    "pixdim": [2.0, 2.0, -1.0],
    "window": [32, 32],
    "network_def#features": [4, 4, 4, 4, 8, 4],
}
TINY_MI = {
    **SMALL,
    "crop": [32, 32, -1],
    "num_clusters": 3,
    "num_heads": 2,
    "labelled": 1,
    "labelled_batch": 2,
    "unlabelled_batch": 3,
    "epoch_iterations": 2,
    "learning_rate": 1e-5,
    "warmup_epochs": 1,
    "train#trainer#max_epochs": 2,
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}


def parts_of(folder: Path) -> dict[str, list[str]]:
    """Who is labelled, unlabelled, for validation and for tests with the settings of TINY_MI."""
    return load_semi_supervised(folder, validation=1, labelled=1).patients


def spoil(folder: Path, patients: list[str], kinds: tuple[str, ...]) -> Path:
    """No file of these patients and kinds can be read any more."""
    for kind in kinds:
        for patient in patients:
            (path,) = (folder / kind).glob(f"{patient}_*.nii.gz")
            path.write_bytes(b"not a volume")
    return folder


@pytest.fixture(scope="module")
def readable(tmp_path_factory) -> Path:
    """Six patients, of whom five train."""
    return make_dataset(tmp_path_factory.mktemp("readable") / "data", patients=6)


@pytest.fixture(scope="module")
def hidden(readable, tmp_path_factory) -> Path:
    """The same, but no label of the unlabelled ones can be read."""
    folder = shutil.copytree(readable, tmp_path_factory.mktemp("hidden") / "data")
    return spoil(folder, parts_of(folder)["unlabelled"], ("labels", "scribbles"))


@pytest.fixture
def run_mi(hidden, tmp_path, monkeypatch):
    """Run a workflow of the bundle from the repository root and give it back with its output folder."""
    monkeypatch.chdir(ROOT)

    def run(*files: str, folder: Path = hidden, out: Path = tmp_path / "run", run: bool = True, **overrides):
        return run_workflow(*files, execute=run, folder=folder, out=out, bundle=BUNDLE, tiny=TINY_MI, **overrides), out

    return run


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


def weights_of(folder: Path, file: str = "model.pt") -> dict[str, torch.Tensor]:
    return torch.load(folder / file, weights_only=True)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


TERMS = {
    "partial": set(),
    "entropy": {"entropy"},
    "meanteacher": {"consistency"},
    "midl": {"consistency", "output_information"},
    "uda": {"consistency"},
    "iic": {"mutual_information"},
    "udaiic": {"consistency", "mutual_information"},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_and_is_evaluated(run_mi, mode):
    """And reads no label of an unlabelled patient: they cannot be read."""
    flow, out = run_mi(*TRAIN, mode=mode)
    rows = rows_of(out)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(row["loss"])) and 0 <= float(row["val_dice"]) <= 1 for row in rows)
    named = {"supervised", *TERMS[mode]}
    if mode in ("iic", "udaiic"):
        named |= {f"mutual_information_{name}" for name in ("down_4", "upcat_2", "upcat_1")}
    assert {column.removeprefix("loss_") for column in rows[0] if column.startswith("loss_")} == named
    record = json.loads((out / "run.json").read_text())
    assert record["mode"] == mode and record["bounds_origin"] == "none"
    heads = dict(flow.parser.get_parsed_content("training_network").heads)
    assert len(heads) == (3 if mode in ("iic", "udaiic") else 0)
    assert not any("heads" in name for name in weights_of(out))  # segmentation needs none
    run_mi(*EVALUATE, mode=mode, out=out)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert set(result["dice"]) == {"mean", "RV", "Myo", "LV"} and result["n_volumes"] == 1
    assert set(differing_voxels(out).values()) == {0}


def test_training_and_validation_patients_are_apart(run_mi, hidden):
    flow, out = run_mi(*TRAIN)
    parts = json.loads((out / "run.json").read_text())["patients"]
    assert (len(parts["labelled"]), len(parts["unlabelled"])) == (1, 3)
    assert (len(parts["validation"]), parts["test"]) == (1, ["p0"])
    everyone = [name for part in ("labelled", "unlabelled", "validation", "test") for name in parts[part]]
    assert sorted(everyone) == [f"p{n}" for n in range(6)]
    get = flow.parser.get_parsed_content
    assert {case["patient"] for case in get("validate#dataset")} == set(parts["validation"])
    batch = next(iter(get("train#dataloader")))
    border = int(batch["labelled"])
    assert border == 2 and len(batch["image"]) == 5
    assert bool((batch["weak_label"][:border] != 255).any()) and bool((batch["weak_label"][border:] == 255).all())
    names = [get("train#dataloader").store.cases[int(volume)][:2] for volume in batch["volume"]]
    assert set(names[:border]) <= set(parts["labelled"]) and set(names[border:]) <= set(parts["unlabelled"])


def test_labels_of_unlabelled_patients_change_nothing(run_mi, tmp_path, readable):
    """Weights are the same where they can be read, and where dataset.json does not list them."""
    folder = shutil.copytree(readable, tmp_path / "unlisted")
    _, first = run_mi(*TRAIN, out=tmp_path / "first")
    _, second = run_mi(*TRAIN, out=tmp_path / "second", folder=readable)
    assert same(weights_of(first), weights_of(second))
    parts, file = parts_of(folder), folder / "dataset.json"
    content = json.loads(file.read_text())
    for case in content["training"]:
        if case["patient"] in parts["unlabelled"]:
            del case["label"], case["weak_label"]
    file.write_text(json.dumps(content))
    settings = {"labelled": parts["labelled"], "unlabelled": parts["unlabelled"]}
    _, third = run_mi(*TRAIN, out=tmp_path / "third", folder=folder, **settings)
    assert same(weights_of(first), weights_of(third))


def test_partial_opens_no_unlabelled_image(run_mi, tmp_path, hidden):
    _, first = run_mi(*TRAIN, mode="partial", out=tmp_path / "first")
    folder = shutil.copytree(hidden, tmp_path / "spoilt")
    spoil(folder, parts_of(folder)["unlabelled"], ("images",))
    _, second = run_mi(*TRAIN, mode="partial", out=tmp_path / "second", folder=folder)
    assert same(weights_of(first), weights_of(second))


def test_all_patients_labelled_are_the_upper_bound(run_mi, readable):
    flow, _ = run_mi(*TRAIN, mode="partial", labelled="all", folder=readable, run=False)
    assert len(flow.parser.get_parsed_content("train#dataloader").store.cases) == 4


@pytest.mark.parametrize("mode", ["udaiic", "meanteacher"])
def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_mi, tmp_path, mode):
    """In the middle of the fall of the learning rate, with the same rates; the teacher too."""
    settings = {"mode": mode, "train#trainer#max_epochs": 6, "val_interval": 2, "ramp": 0.9, "epoch_iterations": 1}
    _, whole = run_mi(*TRAIN, out=tmp_path / "whole", **settings)
    flow, broken = run_mi(*TRAIN, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 5)
    flow, _ = run_mi(*TRAIN, out=broken, resume=True, **settings)
    states = [torch.load(folder / "checkpoint.pt", weights_only=True)["objects"] for folder in (whole, broken)]
    assert set(states[0]) >= {"network", "optimizer", "lr_scheduler"} | (
        {"average"} if mode == "meanteacher" else set()
    )
    for name in set(states[0]) & {"network", "average"}:
        assert same(states[0][name], states[1][name])
    assert same(weights_of(whole), weights_of(broken))
    assert same(weights_of(whole, "model_best.pt"), weights_of(broken, "model_best.pt"))
    rows = [rows_of(folder) for folder in (whole, broken)]
    for column in rows[0][0]:
        if column not in ("seconds", "images_per_second"):
            assert [row[column] for row in rows[0]] == [row[column] for row in rows[1]], column
    start, peak = 1e-5, 4e-3
    fall = [start + (peak - start) * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(4)]
    assert [float(row["lr"]) for row in rows[1]] == pytest.approx([start, peak, *fall], rel=1e-3)


def test_a_run_of_other_settings_is_not_resumed(run_mi, readable):
    _, out = run_mi(*TRAIN, folder=readable)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for overrides, message in (
        ({"split_seed": 1}, "split_seed is 0 there and 1 here"),
        ({"labelled": 2}, "labelled is 1 there and 2 here"),
        ({"information_weight": 0.2}, "loss is "),
        ({"features#upcat_1#padding": 1}, "loss is "),
        ({"num_clusters": 4}, "num_clusters is 3 there and 4 here"),
        ({"warmup_epochs": 0}, "warmup_epochs is "),
        ({"ramp": 0.5}, "ramp is 0.0 there and 0.5 here"),
        ({"scored": "student"}, "scored is 'average' there and 'student' here"),
        ({"separate_statistics": True}, "separate_statistics is False there and True here"),
        ({"head_temperature": 0.1}, "head_temperature is 1.0 there and 0.1 here"),
    ):
        with pytest.raises(Exception) as caught:
            run_mi(*TRAIN, folder=readable, out=out, resume=True, **overrides)
        assert message in str(find_user_error(caught.value)), overrides
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_teacher_is_what_is_kept(run_mi, tmp_path):
    flow, out = run_mi(*TRAIN, mode="meanteacher")
    average = flow.parser.get_parsed_content("average").network.state_dict()
    student = flow.parser.get_parsed_content("network_def").state_dict()
    assert same(weights_of(out), average) and not same(weights_of(out), student)
    flow, out = run_mi(*TRAIN, mode="meanteacher", scored="student", out=tmp_path / "student")
    assert same(weights_of(out), flow.parser.get_parsed_content("network_def").state_dict())


@pytest.mark.parametrize(("files", "mode"), [(TRAIN, "udaiic"), (EVALUATE, "meanteacher")])
def test_properties(run_mi, files, mode):
    flow, _ = run_mi(*files, run=False, mode=mode)
    assert flow.check_properties() == []


def test_command_line_trains_and_prediction_lies_on_the_images_own_grid(hidden, tmp_path, monkeypatch):
    config = f"bundles/{BUNDLE}/configs/train.yaml"
    settings = {**TINY_MI, "dataset_dir": hidden, "output_dir": tmp_path / "run"}
    done = command_line("run", "training", "--config_file", config, **settings)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(ROOT / "bundles" / BUNDLE)
    flow = workflow(
        "inference.yaml",
        kind="infer",
        bundle=BUNDLE,
        tiny=SMALL,
        folder=hidden / "images",
        out=tmp_path / "predictions",
        ckpt_path=str(tmp_path / "run" / "model.pt"),
    )
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    flow.initialize()
    assert flow.check_properties() == []
    flow.run()
    flow.finalize()
    for path in sorted((hidden / "images").glob("*.nii.gz")):
        image = nib.load(path)
        prediction = nib.load(tmp_path / "predictions" / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert prediction.shape == image.shape and prediction.get_data_dtype() == np.uint8
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
    text = (ROOT / "bundles" / BUNDLE / "configs" / "inference.yaml").read_text()
    assert not re.search(r"wss_monai\.", text)


@pytest.mark.parametrize("part", ["unlabelled", "validation"])
def test_bounds_that_know_labels_which_the_run_does_not_are_refused(run_mi, readable, tmp_path, part):
    patient, file = parts_of(readable)[part][0], tmp_path / "bounds.json"
    words = ["--patients", patient, "--cues", "position", "--validation", "0", "--out", str(file)]
    assert main(["bounds", "--fit", str(readable), *words]) == 0
    with pytest.raises(Exception) as caught:
        run_mi(*TRAIN, "size_bounds.yaml", folder=readable, bounds_file=str(file))
    said = str(find_user_error(caught.value))
    assert f"fitted on ['{patient}']" in said and "takes as unlabelled" in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mode": "udaic"}, r"mode must be one of .* did you mean 'udaiic'\?"),
        ({"features": {"upcat1": {"scale": "local"}}}, r"no module named 'upcat1'; the nearest are .*'upcat_1'"),
        ({"features": {"Conv5": {"scale": "global"}}}, r"no module named 'Conv5'; the nearest are \['down_4'"),
        ({"labelled": 9}, "labelled=9 asks for 9, but it must be from 1 to 4, the number of training patients"),
        ({"labelled": "all"}, "mode 'udaiic' learns from unlabelled cases, but all 4 training cases .*--labelled"),
        ({"features#upcat_1#padding": 40}, r"feature 'upcat_1': padding \(40, 40\) must be smaller than the map"),
        ({"num_heads": 0}, "num_heads"),
        ({"unlabelled_batch": 1}, "feature 'down_4': .*Give at least two unlabelled images"),
        ({"unlabelled_batch": 0}, "unlabelled_batch must be at least 1"),
        ({"split_by": "slice"}, "by must be one of"),
        ({"view_turns": [0, 0]}, "turns must be two different spatial axes"),
        ({"information_wieght": 1.0}, r"unknown setting '--information_wieght'; did you mean '--information_weight'\?"),
    ],
)
def test_wrong_settings_are_refused_clearly(run_mi, overrides, message, readable, tmp_path):
    with pytest.raises(Exception) as caught:
        run_mi(*TRAIN, folder=readable, **overrides)
    said = str(find_user_error(caught.value))
    assert re.search(message, said), said
    assert not (tmp_path / "run" / "model.pt").exists()
