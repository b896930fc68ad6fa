# SPDX-License-Identifier: Apache-2.0
"""Bundles in MONAI Label, by its calls: its own tasks on our bundles, and our app folder."""

from __future__ import annotations

import importlib.util
import json
import shutil

import monai_label_calls
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from this_process import restored_logging, restored_torch
from tiny import ROOT, TINY, make_dataset, run_workflow, user_error

from wss_monai.label_app.folder import make_app

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = {k: v for k, v in TINY.items() if k not in ("device", "train#trainer#max_epochs", "validation")}
BUNDLES = sorted(path.parent.name for path in ROOT.glob("bundles/*/bundle.yaml"))
SENT = ["lv", "outside", "rv", "myo"]
"""Names as 3D Slicer sends them: the n-th is the value n."""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monai_label_calls.install(monkeypatch)
    with restored_logging(), restored_torch():
        yield


@pytest.fixture
def studies(tmp_path):
    data = make_dataset(tmp_path / "data")
    shutil.copytree(data / "images", tmp_path / "studies")
    return tmp_path / "studies"


def make(tmp_path, studies, bundles, own=None, weights=(), **settings):
    make_app(tmp_path / "app", [ROOT / "bundles" / name for name in bundles])
    (tmp_path / "app" / "app.yaml").write_text(yaml.safe_dump({"bundles": own or {}, **settings}))
    for name in weights:
        put_weights(tmp_path / "app" / "model" / name)
    return start(tmp_path, studies)


def put_weights(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(parser.get_parsed_content("network_def").state_dict(), bundle / "models" / "model.pt")


def start(tmp_path, studies):
    spec = importlib.util.spec_from_file_location("main", tmp_path / "app" / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WeakLabelApp(str(tmp_path / "app"), str(studies), {})


def draw(app, data, names=SENT, patients=("p1", "p2", "p3")):
    """Store the scribbles of patients as 3D Slicer does."""
    for patient in patients:
        file = nib.load(data / "scribbles" / f"{patient}_ED.nii.gz")
        weak = np.asarray(file.dataobj)
        sent = np.select([weak == 3, weak == 0, weak == 1, weak == 2], [1, 2, 3, 4], 0).astype(np.uint8)
        told = {"label_info": [{"name": name, "idx": place + 2} for place, name in enumerate(names)]}
        app._datastore.save_label(f"{patient}_ED", sent, file.affine, told)


def test_every_bundle_predicts_on_the_grid_of_the_image(tmp_path):
    studies = make_dataset(tmp_path / "data", patients=1, slices=2) / "images"
    small = [name for name in BUNDLES if (ROOT / "bundles" / name / "configs" / "inference_cpu.yaml").is_file()]
    own = {name: {"overlays": ["cpu.yaml"]} for name in small}
    own["prostate_cross_modality"]["endings"] = ["_ED"] * 2
    own["brats_cross_modality"]["endings"] = ["_ED"] * 4
    assert len(BUNDLES) >= 12
    make_app(tmp_path / "app", [ROOT / "bundles" / name for name in BUNDLES])
    (tmp_path / "app" / "app.yaml").write_text(yaml.safe_dump({"bundles": own}))
    from wss_monai.label_app.settings import BundleSettings, read_settings
    from wss_monai.label_app.tasks import InferTask

    known = read_settings(tmp_path / "app").bundles
    for name in BUNDLES:
        bundle = tmp_path / "app" / "model" / name
        (bundle / "models").mkdir(exist_ok=True)
        (bundle / "models" / "model.pt").touch()
        task = InferTask(str(bundle), {}, known.get(name, BundleSettings()))
        torch.save(task.network.state_dict(), bundle / "models" / "model.pt")
        mask, data = task({"image": str(studies / "p0_ED.nii.gz"), "device": "cpu"})
        assert mask.shape == (36, 34, 2), name
        assert set(np.unique(mask)) <= set(range(len(task.labels) + 1)), name
        assert data["image_path"] == str(studies / "p0_ED.nii.gz")
        assert task.info()["dimension"] == 3


def test_stored_scribbles_train_a_bundle_with_bounds_and_its_weights_predict(tmp_path, studies):
    own = {"acdc_logbarrier": {"settings": {**SETTINGS, "mode": "logbarrier"}}}
    app = make(tmp_path, studies, ["acdc_logbarrier"], own, patient="(?P<patient>p.)_ED")
    assert app.info() == {"labels": ["rv", "myo", "lv", "outside"], "models": [], "trainers": ["acdc_logbarrier"]}
    draw(app, tmp_path / "data")
    app.train({"model": "acdc_logbarrier", "val_split": 0.3})
    run = tmp_path / "app" / "model" / "acdc_logbarrier" / "run"
    record = json.loads((run / "run.json").read_text())
    assert sorted(record["patients"]["training"] + record["patients"]["validation"]) == ["p1", "p2", "p3"]
    assert record["bounds_origin"] == "constant"
    assert "loss_size" in (run / "metrics.csv").read_text()
    weights = run.parent / "models" / "model.pt"
    assert weights.read_bytes() == (run / "model.pt").read_bytes()
    assert app.info()["models"] == ["acdc_logbarrier"]
    assert app.infer("acdc_logbarrier", "p0_ED")[0].shape == (36, 34, 4)
    before = json.dumps(app._trainers["acdc_logbarrier"].bundle_config["train#handlers"])
    app.train({"model": "acdc_logbarrier", "val_split": 0})  # again, from these weights
    assert json.dumps(app._trainers["acdc_logbarrier"].bundle_config["train#handlers"]) == before
    assert not json.loads((run / "run.json").read_text())["patients"]["validation"]
    app.train({"model": "acdc_logbarrier", "val_split": 0, "pretrained": False})


def test_overlays_and_settings_of_inference_alone(tmp_path, studies):
    """keep_largest is a setting of inference that this bundle's training does not know; cpu.yaml sets the field."""
    settings = {k: v for k, v in SETTINGS.items() if k not in ("crop", "pixdim")}
    own = {"overlays": ["cpu.yaml"], "settings": {**settings, "mode": "partial", "keep_largest": False}}
    app = make(tmp_path, studies, ["acdc_logbarrier"], {"acdc_logbarrier": own})
    draw(app, tmp_path / "data")
    app.train({"model": "acdc_logbarrier", "val_split": 0})
    run = tmp_path / "app" / "model" / "acdc_logbarrier" / "run"
    configuration = json.loads((run / "configuration.json").read_text())
    assert (configuration["field#0"], configuration["pixdim#0"]) == (96, 2.0)
    assert app.info()["models"] == ["acdc_logbarrier"]
    predicting = app._infers["acdc_logbarrier"].bundle_config
    assert (predicting["keep_largest"], predicting["field"]) == (False, [96, 96, -1])
    app._trainers["acdc_logbarrier"].own.settings["moode"] = "full"
    with pytest.raises(RuntimeError) as caught:
        app.train({"model": "acdc_logbarrier", "val_split": 0})
    assert "moode" in user_error(caught.value)


def test_images_without_labels_teach_a_semi_supervised_bundle(tmp_path, studies):
    settings = {k: v for k, v in SETTINGS.items() if k not in ("size_bounds", "batch_size", "epoch_iterations")}
    settings |= {"labelled_batch": 2, "unlabelled_batch": 2, "epoch_iterations": 2, "mode": "entropy"}
    small = {"settings": {**settings, "network_def#features": [4, 4, 4, 4, 4, 4]}}
    app = make(tmp_path, studies, ["acdc_mutual_information"], {"acdc_mutual_information": small})
    draw(app, tmp_path / "data", patients=("p1", "p2"))
    app.train({"model": "acdc_mutual_information", "val_split": 0})
    run = tmp_path / "app" / "model" / "acdc_mutual_information" / "run"
    patients = json.loads((run / "run.json").read_text())["patients"]
    assert (patients["labelled"], patients["unlabelled"]) == (["p1_ED", "p2_ED"], ["p0_ED", "p3_ED"])


@pytest.mark.parametrize("split", [0.3, 0.0])
def test_its_own_task_trains_on_images_and_labels_without_a_dataset_json(tmp_path, studies, monkeypatch, split):
    shutil.copytree(ROOT / "bundles" / "acdc_logbarrier", tmp_path / "model" / "acdc_logbarrier")
    shutil.copytree(tmp_path / "data" / "labels", studies / "labels" / "final")
    task = monai_label_calls.BundleTrainTask(str(tmp_path / "model" / "acdc_logbarrier"), {})
    monkeypatch.setattr(task, "_update_overrides", lambda own: own.update(SETTINGS, output_dir=str(tmp_path / "run")))
    store = monai_label_calls.FolderStore(str(studies))
    task({"device": "cpu", "max_epochs": 1, "val_split": split}, store)
    patients = json.loads((tmp_path / "run" / "run.json").read_text())["patients"]
    held_out = ["p3_ED"] if split else []
    assert patients == {
        "training": [name for name in ("p0_ED", "p1_ED", "p2_ED", "p3_ED") if name not in held_out],
        "validation": held_out,
        "test": [],
    }


@pytest.mark.parametrize("files", [("train.yaml",), ("train.yaml", "evaluate.yaml")])
def test_a_key_image_id_of_a_case_does_not_reach_the_steps(tmp_path, files):
    """MONAI's Spacingd fails on texts under keys that begin with image_."""
    data = make_dataset(tmp_path / "data")
    content = json.loads((data / "dataset.json").read_text())
    for part in ("training", "test"):
        content[part] = [{**case, "image_id": "7", "image_path": "elsewhere"} for case in content[part]]
    (data / "dataset.json").write_text(json.dumps(content))
    flow = run_workflow(*files, execute=False, folder=data, out=tmp_path / "run")
    name = "validate#dataset" if len(files) > 1 else "train#dataset"
    case = flow.parser.get_parsed_content(name)[0]
    assert case["image"].shape[0] == 1
    assert not [key for key in case if key.startswith("image_")]


def test_a_text_under_a_key_of_the_image_reaches_no_step():
    from wss_monai.label_app.tasks import without_texts

    seen = []
    step = without_texts(lambda data: seen.append(dict(data)) or {**data, "image": 2})
    given = {"image": 1, "image_path": "x", "image_meta_dict": {}, "model": "m"}
    assert step(given) == {**given, "image": 2}
    assert seen == [{"image": 1, "image_meta_dict": {}, "model": "m"}]


def test_what_an_app_cannot_do_is_said(tmp_path, studies):
    app = make(tmp_path, studies, ["acdc_logbarrier"], {"acdc_logbarrier": {"settings": SETTINGS}})
    with pytest.raises(ValueError, match="no label is stored"):
        app.train({"model": "acdc_logbarrier"})
    draw(app, tmp_path / "data", names=["Segment_1", "outside", "rv", "myo"])
    with pytest.raises(ValueError, match=r"'p1_ED'.*segment 'Segment_1', which is no class"):
        app.train({"model": "acdc_logbarrier"})
    from wss_monai.label_app.app import WeakLabelApp
    from wss_monai.label_app.tasks import _siblings

    with pytest.raises(ValueError, match=r"there is no bundle \['unet'\]"):
        WeakLabelApp(str(tmp_path / "app"), str(studies), {"models": "unet"})
    with pytest.raises(ValueError, match="ends in none of"):
        _siblings(str(studies / "p0_ED.nii.gz"), ["_T2", "_ADC"])
    with pytest.raises(ValueError, match=r"missing: .*p0_ADC"):
        _siblings(str(studies / "p0_ED.nii.gz"), ["_ED", "_ADC"])
