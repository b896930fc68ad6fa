# SPDX-License-Identifier: Apache-2.0
"""The bundle promise12_logbarrier on generated files of the release's layout, from `synthesize` to predictions."""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from tiny import ROOT, TINY, command_line, interrupt, workflow

from wss_monai.__main__ import main

CONFIGS = ROOT / "bundles" / "promise12_logbarrier" / "configs"
TRAIN, EVALUATE = ("train.yaml",), ("train.yaml", "evaluate.yaml")
SMALL = {key: value for key, value in TINY.items() if key != "size_bounds"}
SMALL |= {"pixdim": [4.0, 4.0, -1.0], "batch_size": 16, "validation": 1, "fold": 0}


@pytest.fixture(scope="module")
def prostates(tmp_path_factory):
    """Six cases of 48 x 48 pixels with a spot of each class in each slice that shows it."""
    base = tmp_path_factory.mktemp("prostates")
    release, dense, points = base / "release", base / "dense", base / "points"
    assert main(["synthesize", "promise12", "--out", str(release), "--cases", "6", "--size", "48"]) == 0
    assert main(["prepare", "promise12", "--source", str(release), "--out", str(dense)]) == 0
    words = ["--strategy", "random_blob", "--option", "width=5", "--background"]
    assert main(["weaken", "--data", str(dense), "--out", str(points), *words]) == 0
    return points


@pytest.fixture
def run(run_bundle, prostates):
    def start(*files, **settings):
        return run_bundle(*files, folder=prostates, bundle="promise12_logbarrier", tiny=SMALL, **settings)

    return start


def rows(file):
    return list(csv.DictReader(file.open()))


def summary(folder):
    return json.loads((folder / "metrics_summary.json").read_text())


def cause_of(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.mark.parametrize("mode", ["full", "partial", "quadratic", "logbarrier"])
def test_every_mode_trains_and_is_evaluated_on_the_files_own_grid(run, prostates, mode):
    _, out = run(*TRAIN, mode=mode)
    log = rows(out / "metrics.csv")
    assert [row["epoch"] for row in log] == ["1", "2"] and all(math.isfinite(float(row["loss"])) for row in log)
    assert ("violation_size" in log[0]) == (mode in ("quadratic", "logbarrier"))
    run(*EVALUATE, mode=mode, out=out)
    result = summary(out)
    assert set(result["dice"]) == {"mean", "prostate"}
    assert result["constraint_satisfaction"]["size"]["prostate"] <= 1
    record = json.loads((out / "run.json").read_text())
    assert record["bounds_origin"] == ("constant" if "violation_size" in log[0] else "none")
    for case in record["patients"]["test"]:
        image = nib.load(prostates.parent / "dense" / "images" / f"{case}.nii.gz")
        prediction = nib.load(out / "evaluation" / "predictions" / f"{case}.nii.gz")
        assert prediction.shape == image.shape and prediction.get_data_dtype() == np.uint8
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
        assert set(np.unique(prediction.dataobj)) <= {0, 1}


def test_bounds_are_the_published_ones_where_the_prostate_is_tagged(run):
    """60 to 9000 pixels on the published grid, whose pixels are 0.75 mm wide: the same areas at any spacing."""
    settings = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    area = settings["pixdim"][0] * settings["pixdim"][1]
    assert [bound / area for bound in settings["size_bounds"]["prostate"]] == [60, 9000]
    flow, _ = run(*TRAIN, run=False)
    flow.parser.get_parsed_content("train#trainer")
    case = flow.parser.get_parsed_content("train#dataset")[0]
    tags, bounds = case["slice_tags"][:, 1], case["bounds_size"][:, 1, 0]
    assert set(tags.tolist()) == {0, 1}  # every slice has a spot of the background, so that undrawn means absent
    present, absent = bounds[tags == 1], bounds[tags == 0]
    torch.testing.assert_close(present, torch.tensor([60, 9000.0]).expand_as(present) * (0.75 / 4) ** 2)
    assert (absent == torch.tensor([-math.inf, 0.0])).all()


@pytest.mark.parametrize("origin", ["tag", "oracle"])
def test_other_origins_of_bounds_are_called_so(run, origin):
    _, out = run(*TRAIN, bounds_from=origin, **{"train#trainer#max_epochs": 1})
    run(*EVALUATE, bounds_from=origin, out=out)
    result = summary(out)
    assert result["bounds_origin"] == origin
    assert 0 <= result["constraint_satisfaction"]["size"]["prostate"] <= 1


def test_estimated_bounds(run, prostates, tmp_path):
    file = tmp_path / "bounds.json"
    words = ["--dense", "3", "--terms", "size", "--validation", "1", "--fold", "0", "--out", str(file)]
    assert main(["bounds", "--fit", str(prostates), *words]) == 0
    _, out = run(*TRAIN, bounds_from="estimated", bounds_file=str(file), **{"train#trainer#max_epochs": 1})
    assert json.loads((out / "run.json").read_text())["bounds_origin"].startswith("estimated (k=3")


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run, tmp_path):
    settings = {"train#trainer#max_epochs": 3, "validation": 0}
    _, whole = run(*TRAIN, out=tmp_path / "whole", **settings)
    flow, broken = run(*TRAIN, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 2)
    run(*TRAIN, out=broken, resume=True, **settings)
    expected, got = (torch.load(folder / "model.pt", weights_only=True) for folder in (whole, broken))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert [row["t"] for row in rows(whole / "metrics.csv")] == [row["t"] for row in rows(broken / "metrics.csv")]


def test_misspelt_override_is_refused(run):
    with pytest.raises(Exception) as caught:
        run(*TRAIN, size_bound={"prostate": [1, 2]})
    assert "did you mean '--size_bounds'?" in str(cause_of(caught.value))


def test_training_without_any_dense_label_from_the_bundles_own_folder_and_prediction(prostates, tmp_path, monkeypatch):
    """With the overlays for small networks, whose sizes the tiny settings change once more."""
    weak = json.loads((prostates / "dataset.json").read_text())
    for case in weak["training"]:
        del case["label"]
        for key, folder in (("image", prostates), ("weak_label", prostates)):
            case[key] = str((folder / case[key]).resolve())
    data = tmp_path / "weak"
    data.mkdir()
    (data / "dataset.json").write_text(json.dumps({**weak, "files_outside": True}))
    model = tmp_path / "run" / "model.pt"
    done = command_line(
        "run", "training", "--config_file", "['configs/train.yaml','configs/cpu.yaml']", cwd=CONFIGS.parent,
        dataset_dir=data, output_dir=model.parent, **SMALL, field=[48, 48, -1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = rows(model.parent / "metrics.csv")
    assert "val_partial_ce" in log[0] and "val_dice" not in log[0]
    small = {key: value for key, value in SMALL.items() if key.startswith("network_def") or key in ("pixdim", "window")}
    monkeypatch.chdir(ROOT)
    flow = workflow(
        "inference.yaml", "inference_cpu.yaml", folder=prostates.parent / "dense" / "images", kind="infer",
        out=tmp_path / "predictions", bundle="promise12_logbarrier", tiny=small, ckpt_path=str(model),
        field=[48, 48, -1],
    )  # fmt: skip
    flow.initialize()
    flow.run()
    predictions = sorted((tmp_path / "predictions").glob("Case*_seg.nii.gz"))
    assert len(predictions) == 6
    image = nib.load(prostates.parent / "dense" / "images" / "Case05.nii.gz")
    assert nib.load(predictions[-1]).shape == image.shape
    np.testing.assert_allclose(nib.load(predictions[-1]).affine, image.affine, atol=1e-4)
