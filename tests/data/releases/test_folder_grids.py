# SPDX-License-Identifier: Apache-2.0
"""`prepare folder` where the modalities of a case lie on different grids."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.transforms.load_case import LoadCased

SHAPE = (6, 8, 4)
AFFINE = np.diag([-1.0, -1, 3, 1])
COARSE = np.array([[-2.0, 0, 0, -0.5], [0, -2, 0, -0.5], [0, 0, 3, 0], [0, 0, 0, 1]])


def save(path, shape, affine, dtype=np.int16, value=5):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full(shape, value, dtype), affine), path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    for name in ("a", "b", "c"):
        save(root / "images" / f"{name}_T2.nii.gz", SHAPE, AFFINE)
        save(root / "images" / f"{name}_ADC.nii.gz", *((3, 4, 4), COARSE) if name == "b" else (SHAPE, AFFINE), value=9)
        save(root / "labels" / f"{name}.nii.gz", SHAPE, AFFINE, np.uint8, 1)
    return root


def prepare(root, *more):
    words = ["prepare", "folder", "--source", str(root), "--labels", '{"0": "background", "1": "prostate"}']
    words += [
        "--image",
        r"images/(?P<patient>\w)_(?P<modality>\w+)\.nii\.gz",
        "--label",
        r"labels/(?P<patient>\w)\.nii\.gz",
    ]
    return main([*words, *more])  # fmt: skip


def test_modalities_are_named_in_the_order_asked_for(folder):
    assert prepare(folder) == 0
    assert read_dataset(folder).raw["modality"] == {"0": "ADC", "1": "T2"}
    assert prepare(folder, "--overwrite", "--modalities", "T2", "ADC") == 0
    dataset = read_dataset(folder)
    assert dataset.raw["modality"] == {"0": "T2", "1": "ADC"}
    assert dataset.training[0]["image"] == ["images/a_T2.nii.gz", "images/a_ADC.nii.gz"]
    assert prepare(folder, "--overwrite", "--modalities", "T2") == 0
    assert read_dataset(folder).training[0]["image"] == "images/a_T2.nii.gz"


@pytest.mark.parametrize("names", [("T2", "DWI"), ("T2", "T2")])
def test_modalities_that_are_none_are_refused(folder, capsys, names):
    assert prepare(folder, "--modalities", *names) == 2
    assert "among those that the group modality of --image matches, ['ADC', 'T2']" in capsys.readouterr().err


def test_several_grids_are_said_and_resampled_on_demand(folder, capsys):
    words = ["--modalities", "T2", "ADC"]
    assert prepare(folder, *words) == 0
    said = capsys.readouterr().out
    assert "modalities on several grids, which training refuses: 1 (b); --resample brings them to that of" in said
    assert prepare(folder, *words, "--overwrite", "--resample", "--dry-run") == 0
    assert "1 (b); they would be resampled" in capsys.readouterr().out and not (folder / "resampled").exists()
    assert prepare(folder, *words, "--overwrite", "--resample") == 0
    said = capsys.readouterr().out
    assert "b  b_ADC.nii.gz (ADC) resampled linearly from 3 x 4 x 4 voxels of 2 x 2 x 3 mm" in said
    assert "several grids" not in said
    entries = read_dataset(folder).training
    assert entries[1]["image"] == ["images/b_T2.nii.gz", "resampled/b_ADC.nii.gz"]
    assert entries[0]["image"] == ["images/a_T2.nii.gz", "images/a_ADC.nii.gz"]
    (folder / "split.json").write_text(json.dumps({"training": ["b"]}))
    case = LoadCased(("image", "label"))(load_cases(folder, split="split.json", validation=0).training[0])
    assert case["image"].shape == (2, *SHAPE) and (case["image"][1] == 9).all()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_another_frame_and_a_label_on_another_grid_are_refused(folder, capsys):
    assert prepare(folder, "--resample") == 2  # ADC comes first, the labels lie on T2
    assert "case 'b': b.nii.gz is not on the grid of b_ADC.nii.gz" in capsys.readouterr().err
    save(folder / "images" / "b_ADC.nii.gz", SHAPE, _far())
    assert prepare(folder, "--resample", "--modalities", "T2", "ADC") == 2
    assert "case 'b': b_ADC.nii.gz (ADC) does not lie in the frame of b_T2.nii.gz" in capsys.readouterr().err
    assert not (folder / "dataset.json").exists() and not (folder / "resampled").exists()


def _far():
    affine = AFFINE.copy()
    affine[0, 3] = 50
    return affine
