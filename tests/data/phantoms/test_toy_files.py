# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wss_monai.data import load_cases
from wss_monai.data.checks.dataset import check_dataset
from wss_monai.data.phantoms.toy import Circles, Discs
from wss_monai.data.phantoms.toy_files import synthesize_toy
from wss_monai.transforms.load_case import LoadCased

TOY = Discs((40, 30), 8)
CIRCLES = Circles((40, 30), 6)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("toy") / "TOY"
    synthesize_toy(out, TOY, (3, 2), seed=5)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_dataset_file_says_what_the_files_hold(written):
    raw = json.loads((written / "dataset.json").read_text())
    assert raw["name"] == "Toy discs" and raw["labels"] == {"0": "background", "1": "disc"} and raw["slice_axis"] == 2
    assert raw["weak_label"] == {"kind": "points", "values": {"1": "disc", "255": "unlabelled"}}
    assert raw["generator"]["seed"] == 5
    assert raw["generator"]["command"] == (
        "python -m wss_monai synthesize toy --images 3 2 --size 40 30 --radius 8 --seed 5 --edition 2022"
    )
    ids = ["train_0000", "train_0001", "train_0002", "val_0000", "val_0001"]
    assert [case["case"] for case in raw["training"]] == [case["patient"] for case in raw["training"]] == ids
    assert "test" not in raw and len(contents(written)) == 5 * 3 + 2
    for number, case in enumerate(raw["training"]):
        picture = TOY.picture(5, "train" if number < 3 else "val", number if number < 3 else number - 3)
        assert case["noise_sigma"] == picture.sigma
        for key in ("image", "label", "weak_label"):
            volume = nib.load(written / case[key])
            assert volume.shape == (40, 30, 1) and volume.get_data_dtype() == np.uint8
            assert volume.header["sform_code"] == volume.header["qform_code"] == 1
            np.testing.assert_allclose(volume.header.get_zooms(), (1, 1, 1))
            np.testing.assert_allclose(volume.affine @ [19.5, 14.5, 0, 1], [0, 0, 0, 1], atol=1e-6)
            np.testing.assert_array_equal(np.asarray(volume.dataobj)[..., 0], getattr(picture, key))


def test_two_circles_name_their_target_and_options(tmp_path):
    raw = json.loads(synthesize_toy(tmp_path, Circles((40, 30), 6, True), (1, 0), seed=0).read_text())
    assert raw["labels"] == {"0": "background", "1": "circle"}
    assert raw["weak_label"]["values"] == {"1": "circle", "255": "unlabelled"}
    assert raw["generator"]["command"].endswith("two-circles --images 1 0 --size 40 30 --radius 6 --seed 0 --ellipses")


def test_cases_load_by_the_split_file(written):
    assert json.loads((written / "split.json").read_text()) == {
        "training": ["train_0000", "train_0001", "train_0002"],
        "validation": ["val_0000", "val_0001"],
        "test": [],
    }
    split = load_cases(written, class_names=["background", "disc"], split="split.json")
    assert {part: len(ids) for part, ids in split.patients.items()} == {"training": 3, "validation": 2, "test": 0}
    case = LoadCased()(split.validation[1])
    assert case["image"].shape == (1, 40, 30, 1)
    assert int(case["label"].sum()) == TOY.picture(5, "val", 1).label.sum()
    assert set(np.unique(case["weak_label"])) == {1, 255} and case["weak_kind"] == "points"


def test_check_finds_no_error(written):
    problems = check_dataset(written).problems
    assert [p.problem for p in problems if p.severity == "error"] == []


@pytest.mark.parametrize("toy", [TOY, CIRCLES])
@pytest.mark.parametrize("file_format", ["nifti", "png"])
def test_same_seed_same_files(tmp_path, toy, file_format):
    for name, images, seed in (("one", (2, 1), 3), ("two", (2, 1), 3), ("more", (3, 2), 3), ("other", (2, 1), 4)):
        synthesize_toy(tmp_path / name, toy, images, seed, file_format=file_format)
    one, two, more, other = (contents(tmp_path / name) for name in ("one", "two", "more", "other"))
    assert one == two
    pictures = {path: data for path, data in one.items() if not path.endswith(".json")}
    assert len(pictures) == 9 and all(more[path] == data for path, data in pictures.items())
    images = [path for path in pictures if path.startswith("images/") or "/img/" in path]
    assert len(images) == 3 and all(other[path] != pictures[path] for path in images)


def test_png_folders_are_those_of_the_originals(tmp_path):
    assert synthesize_toy(tmp_path, CIRCLES, (2, 1), 0, file_format="png") == tmp_path
    numbers = [("train", 0), ("train", 1), ("val", 0)]
    names = [f"{part}/{kind}/{number:04d}.png" for part, number in numbers for kind in ("gt", "img", "weak")]
    assert sorted(contents(tmp_path)) == sorted(names)
    picture = CIRCLES.picture(0, "train", 1)
    arrays = {kind: Image.open(tmp_path / f"train/{kind}/0001.png") for kind in ("img", "gt", "weak")}
    assert all(image.mode == "L" and image.size == (40, 30) for image in arrays.values())
    np.testing.assert_array_equal(np.asarray(arrays["img"]).T, picture.image)
    np.testing.assert_array_equal(np.asarray(arrays["gt"]).T, picture.label * 255)
    np.testing.assert_array_equal(np.asarray(arrays["weak"]).T == 255, picture.weak_label == 1)
    assert set(np.unique(np.asarray(arrays["weak"]))) == {0, 255}


@pytest.mark.parametrize(
    ("images", "seed", "file_format", "message"),
    [
        ((0, 1), 0, "nifti", "images must be 1 or more for training"),
        ((1, -1), 0, "png", "0 or more for validation"),
        ((1, 1), -1, "nifti", "seed must be 0 or more, got -1"),
        ((1, 1), 0, "bmp", "format must be one of nifti, png, got 'bmp'"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, images, seed, file_format, message):
    with pytest.raises(ValueError, match=message):
        synthesize_toy(tmp_path / "out", TOY, images, seed, file_format=file_format)
    assert not (tmp_path / "out").exists()
