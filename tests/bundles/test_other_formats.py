# SPDX-License-Identifier: Apache-2.0
"""A data set of DICOM series, .mhd, .nrrd and segmentations of 3D Slicer trains, is scored and predicted like NIfTI."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from monai.bundle import ConfigWorkflow
from tiny import CONFIGS, ROOT, TINY, make_dataset, run_workflow, write_series

NAMES = ["background", "RV", "Myo", "LV"]


def write_segmentation(values: sitk.Image, path: Path, dense: bool) -> None:
    """Write a label map as 3D Slicer does: values from 1, names, and what is around the drawing cut off."""
    array = sitk.GetArrayFromImage(values)
    drawn = sitk.GetImageFromArray(np.where(array == (0 if dense else 255), 0, array + 1).astype(np.uint8))
    drawn.CopyInformation(values)
    drawn = drawn[1:-1, :, :]
    for n in range(4):
        for field, text in (("Name", NAMES[n]), ("LabelValue", str(n + 1)), ("Layer", "0")):
            drawn.SetMetaData(f"Segment{n}_{field}", text)
    sitk.WriteImage(drawn, str(path), useCompression=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same volumes as NIfTI and in other formats."""
    plain = make_dataset(tmp_path_factory.mktemp("plain"))
    other = tmp_path_factory.mktemp("other")
    content = json.loads((plain / "dataset.json").read_text())
    cases = content["training"] + content["test"]
    for case, kind in zip(cases, ("dicom", "mhd", "nrrd", "mha"), strict=True):
        image, label, weak = (sitk.ReadImage(str(plain / case[key])) for key in ("image", "label", "weak_label"))
        label_array, weak_array = sitk.GetArrayFromImage(label), sitk.GetArrayFromImage(weak)
        weak_array[..., [0, -1]], label_array[..., [0, -1]] = 255, 0
        for key, array in (("label", label_array), ("weak_label", weak_array)):
            mended = sitk.GetImageFromArray(array)
            mended.CopyInformation(label)
            sitk.WriteImage(mended, str(plain / case[key]))
        name = case["case"]
        if kind == "dicom":
            write_series(image, other / name)
        else:
            sitk.WriteImage(image, str(other / f"{name}.{kind}"))
        write_segmentation(sitk.ReadImage(str(plain / case["label"])), other / f"{name}_label.seg.nrrd", True)
        write_segmentation(sitk.ReadImage(str(plain / case["weak_label"])), other / f"{name}_weak.seg.nrrd", False)
        case |= {"image": name if kind == "dicom" else f"{name}.{kind}"}
        case |= {"label": f"{name}_label.seg.nrrd", "weak_label": f"{name}_weak.seg.nrrd"}
    content["weak_label"] = {"kind": "scribble", "segments": {}, "undrawn_means_absent": True}
    (other / "dataset.json").write_text(json.dumps(content))
    return plain, other


def test_training_scores_and_predictions_are_those_of_nifti(folders, run_bundle, tmp_path):
    summaries = []
    for name, folder in zip(("plain", "other"), folders, strict=True):
        _, out = run_bundle("train.yaml", folder=folder, out=tmp_path / name)
        run_bundle("train.yaml", "evaluate.yaml", folder=folder, out=tmp_path / name)
        summaries.append(json.loads((out / "metrics_summary.json").read_text()))
    assert summaries[0]["dice"]["mean"] > 0
    assert summaries[0]["dice"] == pytest.approx(summaries[1]["dice"], abs=0.01)
    assert summaries[0]["n_labelled"] == summaries[1]["n_labelled"] == 1
    predictions = [nib.load(tmp_path / n / "evaluation" / "predictions" / "p0_ED.nii.gz") for n in ("plain", "other")]
    np.testing.assert_allclose(predictions[0].affine, predictions[1].affine, atol=1e-5)
    same = np.asarray(predictions[0].dataobj) == np.asarray(predictions[1].dataobj)
    assert same.mean() > 0.99


def test_inference_takes_the_reader(folders, run_bundle, tmp_path):
    _, out = run_bundle("train.yaml", folder=folders[0])
    for pattern in ("*.m*", "p1_ED", "p3_ED.nrrd"):
        predict(folders[1], pattern, out / "model.pt", tmp_path / "predicted")
    predicted = sorted((tmp_path / "predicted").iterdir())
    assert len(predicted) == 4
    for file in predicted:
        name = file.name.removesuffix("_seg.nii.gz") + ".nii.gz"
        image, made = nib.load(folders[0] / "images" / name), nib.load(file)
        assert made.shape == image.shape
        np.testing.assert_allclose(made.affine, image.affine, atol=1e-5)


def predict(folder: Path, pattern: str, model: Path, out: Path) -> None:
    """Run the bundle's inference with the reader."""
    flow = ConfigWorkflow(
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        dataset_dir=str(folder),
        pattern=pattern,
        ckpt_path=str(model),
        output_dir=str(out),
        device=TINY["device"],
        window=[32, 32],
        **{key: value for key, value in TINY.items() if key.startswith("network_def")},
        **{"preprocessing#transforms#0#reader": "wss_monai.io.volumes.SimpleITKReader"},
    )
    flow.initialize()
    flow.run()
    flow.finalize()


def test_nifti_files_need_no_itk(dataset, tmp_path, monkeypatch):
    """A training and an evaluation on a machine that has MONAI and nibabel alone."""
    monkeypatch.chdir(ROOT)
    for name in [name for name in sys.modules if name.split(".")[0] == "SimpleITK"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    for files in (["train.yaml"], ["train.yaml", "evaluate.yaml"]):
        run_workflow(*files, folder=dataset, out=tmp_path)
    assert (tmp_path / "metrics_summary.json").is_file()
