# SPDX-License-Identifier: Apache-2.0
"""Modalities of a case chosen by name: which files, in which order, and what is refused."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.data import load_cases
from wss_monai.transforms import LoadCased

NAMES = ["T1", "T1c", "T2", "FLAIR"]


@pytest.fixture
def folder(tmp_path):
    cases = []
    for number in range(2):
        files = [f"p{number}_{name}.nii.gz" for name in NAMES]
        for value, file in enumerate(files):
            nib.save(nib.Nifti1Image(np.full((4, 4, 3), value, np.int16), np.eye(4)), tmp_path / file)
        cases.append({"case": f"p{number}", "patient": f"p{number}", "image": files, "slice_tags": [[1, 0]] * 3})
    content = {
        "name": "four",
        "modality": dict(zip("0123", NAMES, strict=True)),
        "labels": {"0": "background", "1": "tumour"},
        "slice_axis": 2,
        "training": cases[:1],
        "test": cases[1:],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("wanted", [["FLAIR"], ["FLAIR", "T1c"], ["T2", "T1", "FLAIR"], NAMES, None])
def test_files_in_the_order_asked_for(folder, wanted):
    cases = load_cases(folder, validation=0, modalities=wanted)
    for part in (cases.training, cases.test):
        image = LoadCased("image")(part[0])["image"]
        assert image[:, 0, 0, 0].tolist() == [NAMES.index(name) for name in wanted or NAMES]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["FLAIR", "T2", "FLAIR"], r"names \['FLAIR'\] more than once, got"),
        (["FLAIR", "DWI"], r"names \['DWI'\], but 'modality'.*names \['T1', 'T1c', 'T2', 'FLAIR'\]"),
        ([], "must be a list of names"),
        ("FLAIR", "must be a list of names"),
    ],
)
def test_others_are_refused(folder, wanted, message):
    with pytest.raises(ValueError, match=message):
        load_cases(folder, validation=0, modalities=wanted)


def test_a_case_with_fewer_images_is_refused_by_name(folder):
    content = json.loads((folder / "dataset.json").read_text())
    content["test"][0]["image"] = content["test"][0]["image"][:3]
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"case 'p1' .* has 3 images"):
        load_cases(folder, validation=0, modalities=["T1"])
