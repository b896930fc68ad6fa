# SPDX-License-Identifier: Apache-2.0
"""Overlays of acdc_mutual_information: size bounds, the paper's U-Net, 3D, federated clients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.fl.client.monai_algo import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from test_mutual_information_bundle import BUNDLE, SMALL, TINY_MI, rows_of
from tiny import ROOT, interrupt, make_dataset, run_workflow, workflow

from wss_monai.__main__ import main
from wss_monai.bundle.user_errors import find_user_error

TINY_3D = {
    "pixdim": [2.0, 2.0, 2.0],
    "patch_size": [16, 32, 16],
    "network_def#features": [4, 4, 4, 4, 4, 4],
    **{key: TINY_MI[key] for key in TINY_MI if key not in SMALL and key != "crop"},
}


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("discs") / "data", patients=6)


@pytest.fixture(scope="module")
def ellipsoids(tmp_path_factory) -> Path:
    """Generated volumes of five patients; patient002 is for tests."""
    folder = tmp_path_factory.mktemp("ellipsoids") / "data"
    assert main(["synthesize", "ellipsoids", "--out", str(folder), "--patients", "5"]) == 0
    return folder


@pytest.fixture
def run_mi(discs, tmp_path, monkeypatch):
    """Run a workflow of the bundle from the repository root and give it back with its output folder."""
    monkeypatch.chdir(ROOT)

    def run(*files: str, folder: Path = discs, out: Path = tmp_path / "run", run: bool = True, **overrides):
        tiny = TINY_3D if "hippocampus.yaml" in files else TINY_MI
        return run_workflow(*files, execute=run, folder=folder, out=out, bundle=BUNDLE, tiny=tiny, **overrides), out

    return run


# ---- bounds on the size of unlabelled slices ------------------------------------------------------------------------
SIZE = ("train.yaml", "size_bounds.yaml")


@pytest.fixture(scope="module")
def bounds_file(discs, tmp_path_factory) -> Path:
    """Fitted on the very patient who is labelled with the settings of TINY_MI."""
    file = tmp_path_factory.mktemp("bounds") / "bounds.json"
    words = ["--labelled", "1", "--validation", "1", "--out", str(file)]
    assert main(["bounds", "--fit", str(discs), *words]) == 0
    return file


def test_size_bounds_from_the_labelled_patients(run_mi, bounds_file, discs):
    settings = {"bounds_file": str(bounds_file)}
    flow, out = run_mi(*SIZE, **settings)
    record = json.loads((out / "run.json").read_text())
    assert record["bounds_origin"] == "estimated (k=1)"
    assert json.loads(bounds_file.read_text())["patients"] == record["patients"]["labelled"]
    assert all(math.isfinite(float(row["loss_size"])) for row in rows_of(out))
    bounds = next(iter(flow.parser.get_parsed_content("train#dataloader")))["bounds_size"]
    unlabelled = bounds[2:, 1:, 0]
    assert bool(unlabelled[..., 1].isfinite().all()) and bool((unlabelled[..., 1] > 0).all())
    run_mi(*SIZE, "evaluate.yaml", out=out, **settings)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert set(result["constraint_satisfaction"]) == {"size"} and result["bounds_origin"] == "estimated (k=1)"


@pytest.mark.parametrize("mode", ["partial", "entropy", "meanteacher", "midl", "uda", "iic"])
def test_constant_size_bounds_are_a_term_of_every_mode_but_partial(run_mi, mode):
    bounds = {"RV": [None, 40], "Myo": [None, 40], "LV": [None, 40]}  # mm2, of slices with 36 to 300
    trained = mode in ("partial", "iic")
    flow, out = run_mi(*SIZE, mode=mode, size_bounds_from="constant", size_bounds=bounds, run=trained)
    loss = flow.parser.get_parsed_content("loss")
    assert ("size" in loss.unlabelled) == (mode != "partial")
    if not trained:
        assert (
            loss.weights["size"] == flow.parser.get_parsed_content("size_weight")
            and flow.parser.get_parsed_content("bounds_origin") == "constant"
        )
        return
    origin = json.loads((out / "run.json").read_text())["bounds_origin"]
    if mode == "partial":
        assert list(loss.terms) == ["supervised"] and origin == "none"
        return
    assert loss.weights["size"] == flow.parser.get_parsed_content("size_weight") and origin == "constant"
    assert float(rows_of(out)[0]["violation_size"]) > 0
    assert loss.t == pytest.approx(5 * 1.1**50)  # in the last epoch


@pytest.mark.parametrize("name", ["relu", "augmented_lagrangian", "primal_dual"])
def test_size_bounds_by_any_enforcer(run_mi, name):
    settings = {"size_bounds_from": "constant", "size_bounds": {"RV": [None, 40], "Myo": [None, 40], "LV": [None, 40]}}
    flow, out = run_mi(*SIZE, mode="uda", enforcer=name, **settings)
    rows, loss = rows_of(out), flow.parser.get_parsed_content("loss")
    assert float(rows[0]["violation_size"]) > 0 and ("t" not in rows[0] or not rows[0]["t"])
    if name != "relu":
        assert float(rows[0]["multiplier_max_size"]) == 0  # no slice was seen twice so far
        moved = loss.terms["size"].penalty.rows["multiplier"]
        labelled = len(flow.parser.get_parsed_content("train#dataloader").store.labelled)
        assert float(moved[:labelled].sum()) == 0 < float(moved[labelled:].sum())


def test_other_bounds_are_not_resumed_and_missing_ones_are_asked_for(run_mi, bounds_file, tmp_path):
    settings = {"size_bounds_from": "constant", "train#trainer#max_epochs": 3}
    flow, out = run_mi(*SIZE, run=False, **settings)
    interrupt(flow, 2)
    for files, overrides, message in (
        (SIZE, {**settings, "size_bounds": {"LV": [None, 99]}, "resume": True, "out": out}, "bounds is "),
        (SIZE, {"resume": True, "out": out, "bounds_file": str(bounds_file)}, "bounds_origin is 'constant' there"),
        (SIZE, {"out": tmp_path / "none"}, "bounds_from estimated needs bounds_file"),
        (SIZE, {"out": tmp_path / "wrong", "size_bounds_from": "oracle"}, "size_bounds_from must be one of"),
    ):
        with pytest.raises(Exception) as caught:
            run_mi(*files, **overrides)
        assert message in str(find_user_error(caught.value)), overrides


# ---- the U-Net of the paper -----------------------------------------------------------------------------------------
def test_the_published_network_by_its_published_names(run_mi, discs, tmp_path, monkeypatch):
    small = {"network_def#channels": [2, 2, 4, 4, 4]}
    tiny = {key: value for key, value in TINY_MI.items() if key != "network_def#features"}
    files = ("train.yaml", "exact_unet.yaml")
    flow = workflow(*files, folder=discs, out=tmp_path / "run", bundle=BUNDLE, tiny={**tiny, **small})
    flow.initialize()
    flow.run()
    columns = {name.removeprefix("loss_mutual_information_") for name in rows_of(tmp_path / "run")[0]}
    assert {"Conv5", "Up_conv3", "Up_conv2"} <= columns
    infer = ("inference.yaml", "inference_exact_unet.yaml")
    settings = {"pixdim": TINY_MI["pixdim"], "window": [32, 32], **small}
    predict(infer, discs / "images", tmp_path / "run", tmp_path / "predictions", monkeypatch, settings)


def predict(files, images, run, out, monkeypatch, settings):
    """Predictions on the images' own grids, in this process."""
    monkeypatch.setattr("sys.excepthook", lambda *error: None)  # which the workflow replaces
    flow = workflow(
        *files, folder=images, out=out, kind="infer", bundle=BUNDLE, tiny=settings, ckpt_path=str(run / "model.pt")
    )
    flow.initialize()
    flow.run()
    for path in sorted(images.glob("*.nii.gz")):
        image, prediction = nib.load(path), nib.load(out / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert prediction.shape == image.shape and prediction.get_data_dtype() == np.uint8
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)


# ---- the hippocampus in 3D ------------------------------------------------------------------------------------------
HIPPOCAMPUS = ("train.yaml", "hippocampus.yaml")


@pytest.mark.parametrize("mode", ["udaiic", "meanteacher"])
def test_training_in_3d(run_mi, ellipsoids, mode, tmp_path, monkeypatch):
    flow, out = run_mi(*HIPPOCAMPUS, folder=ellipsoids, mode=mode)
    assert flow.check_properties() == []
    rows = rows_of(out)
    assert all(math.isfinite(float(row["loss"])) and float(row["val_dice"]) >= 0 for row in rows)
    batch = next(iter(flow.parser.get_parsed_content("train#dataloader")))
    assert batch["image"].shape == (5, 1, 16, 32, 16) and bool((batch["weak_label"][2:] == 255).all())
    views = flow.parser.get_parsed_content("train#views")
    assert views.axes == [0] and views.turns is None
    run_mi(*HIPPOCAMPUS, "evaluate.yaml", folder=ellipsoids, mode=mode, out=out)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert set(result["dice"]) == {"mean", "Anterior", "Posterior"}
    if mode == "udaiic":
        files = ("inference.yaml", "inference_hippocampus.yaml")
        settings = {"pixdim": TINY_3D["pixdim"], "window": TINY_3D["patch_size"]}
        settings["network_def#features"] = TINY_3D["network_def#features"]
        predict(files, ellipsoids / "images", out, tmp_path / "predictions", monkeypatch, settings)


def test_the_small_3d_network_and_its_prediction(run_mi, ellipsoids, tmp_path, monkeypatch):
    tiny = {key: value for key, value in TINY_3D.items() if not key.startswith("network_def")}
    files = (*HIPPOCAMPUS, "hippocampus_cpu.yaml")
    flow = workflow(*files, folder=ellipsoids, out=tmp_path / "run", bundle=BUNDLE, tiny=tiny)
    flow.initialize()
    flow.run()
    assert math.isfinite(float(rows_of(tmp_path / "run")[-1]["loss_mutual_information"]))
    files = ("inference.yaml", "inference_hippocampus.yaml", "inference_hippocampus_cpu.yaml")
    settings = {"pixdim": TINY_3D["pixdim"]}
    predict(files, ellipsoids / "images", tmp_path / "run", tmp_path / "predictions", monkeypatch, settings)


# ---- federated clients ----------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore")
def test_a_federated_client_trains_and_evaluates(discs, tmp_path, monkeypatch):
    """Weights go out with the heads and come back; the rate follows the rounds."""
    monkeypatch.chdir(ROOT)
    settings = {**TINY_MI, "dataset_dir": str(discs), "output_dir": str(tmp_path), "schedule_epochs": 3}
    del settings["train#trainer#max_epochs"]  # the client sets it
    client = MonaiAlgo(
        bundle_root=f"bundles/{BUNDLE}",
        config_train_filename="configs/train.yaml",
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        train_kwargs=dict(settings),
        eval_kwargs=dict(settings),
        local_epochs=1,
        send_weight_diff=False,
    )
    client.initialize({ExtraItems.CLIENT_NAME: "north", ExtraItems.APP_ROOT: str(ROOT)})
    weights = client.get_weights().weights
    assert any(name.startswith("heads.") for name in weights)
    for done, rate in ((1, 4e-3), (2, 4e-3)):
        before = {name: value.clone() for name, value in weights.items()}
        client.train(ExchangeObject(weights=weights))
        weights = client.get_weights().weights
        assert (
            client.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rate) and client.trainer.state.epoch == done
        )
        assert any(not torch.equal(before[name], weights[name]) for name in weights if name.startswith("heads."))
        assert 0 <= client.evaluate(ExchangeObject(weights=weights)).metrics["dice"] <= 1
        got = client.evaluator.network.state_dict()
        assert all(torch.equal(got[name], weights[name]) for name in weights)
    client.finalize()
