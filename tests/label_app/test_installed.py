# SPDX-License-Identifier: Apache-2.0
"""The app folder by the API of an installed MONAI Label: what its server calls on the requests of 3D Slicer."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import yaml
from this_process import restored_logging, restored_torch
from tiny import ROOT, TINY, make_dataset

from wss_monai.label_app.folder import make_app

pytest.importorskip("monailabel.interfaces.datastore", reason="MONAI Label is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SETTINGS = {k: v for k, v in TINY.items() if k not in ("device", "train#trainer#max_epochs", "validation")}


@pytest.fixture(autouse=True)
def torchvision(monkeypatch):
    """MONAI Label draws mosaics with it; a build for GPUs does not load beside a torch for CPUs."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("torchvision", "torchvision.utils"):
            module = ModuleType(name)
            module.make_grid = module.save_image = None
            module.__path__ = []
            monkeypatch.setitem(sys.modules, name, module)
    with restored_logging(), restored_torch():
        yield


def test_scribbles_that_are_stored_train_and_predict(tmp_path):
    try:
        from monailabel.interfaces.app import MONAILabelApp  # noqa: F401
    except ImportError as error:
        pytest.skip(f"this MONAI Label does not import: {error!r}")
    from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

    data = make_dataset(tmp_path / "data")
    shutil.copytree(data / "images", tmp_path / "studies")
    make_app(tmp_path / "app", [ROOT / "bundles" / "acdc_logbarrier"])
    own = {"bundles": {"acdc_logbarrier": {"settings": {**SETTINGS, "mode": "logbarrier"}}}}
    (tmp_path / "app" / "app.yaml").write_text(yaml.safe_dump(own))
    kind = get_class_of_subclass_from_file("main", str(tmp_path / "app" / "main.py"), "MONAILabelApp")
    app = kind(str(tmp_path / "app"), str(tmp_path / "studies"), {})
    assert list(app.info()["labels"]) == ["rv", "myo", "lv", "outside"]
    assert list(app.info()["trainers"]) == ["acdc_logbarrier"]
    assert app.next_sample({"strategy": "first"})["id"] == "p0_ED"
    for patient in ("p1", "p2", "p3"):
        file = nib.load(data / "scribbles" / f"{patient}_ED.nii.gz")
        weak = np.asarray(file.dataobj)
        sent = np.select([weak == 3, weak == 0, weak == 1, weak == 2], [1, 2, 3, 4], 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(sent, file.affine), tmp_path / "sent.nii.gz")
        told = [{"name": name, "idx": place + 2} for place, name in enumerate(["lv", "outside", "rv", "myo"])]
        app.datastore().save_label(f"{patient}_ED", str(tmp_path / "sent.nii.gz"), "final", {"label_info": told})
    request = {"model": "acdc_logbarrier", "device": "cpu", "max_epochs": 1, "val_split": 0.3, "multi_gpu": False}
    app.train(request)
    app.train(request)  # again, from these weights
    record = json.loads((tmp_path / "app" / "model" / "acdc_logbarrier" / "run" / "run.json").read_text())
    assert record["bounds_origin"] == "constant"
    assert len(record["patients"]["training"]) == 2
    assert list(app.info()["models"]) == ["acdc_logbarrier"]
    sent = {"model": "acdc_logbarrier", "image": "p0_ED", "device": "cpu", "result_extension": ".nii.gz"}
    result = app.infer(sent)
    mask, image = nib.load(result["file"]), nib.load(tmp_path / "studies" / "p0_ED.nii.gz")
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine, atol=1e-4)
    assert mask.get_data_dtype() == np.uint8
    assert result["params"]["label_names"] == {"rv": 1, "myo": 2, "lv": 3}
