# SPDX-License-Identifier: Apache-2.0
"""`prepare png-slices` on folders of PNG slices in the published layout."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.png_slices import prepare_png_slices
from wss_monai.transforms.load_case import LoadCased

ROWS, COLUMNS = 5, 7
SPACING = (0.6, 0.5, 3.6)


def picture(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 255, (ROWS, COLUMNS)).astype(np.uint8)


def mask(value: int) -> np.ndarray:
    array = np.zeros((ROWS, COLUMNS), np.uint8)
    array[1, 2:4] = value
    return array


def save(file: Path, array: np.ndarray, mode: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file)


def patient(folder: Path, name: str, slices=(1, 2, 10), names=("T2", "ADC"), values=(0, 255, 255)) -> None:
    seed = sum(map(ord, name)) * 100
    for slice_, value in zip(slices, values, strict=True):
        for number, modality in enumerate(names):
            save(folder / modality / f"{name}_{slice_}.png", picture(seed + 10 * slice_ + number))
        save(folder / "GT" / f"{name}_{slice_}.png", mask(value))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "prostate"
    patient(folder / "train", "prostate_00")
    patient(folder / "train", "prostate_01", (3, 4), values=(0, 255))
    patient(folder / "val", "prostate_02", (8, 9, 10))
    patient(folder / "test", "prostate_03", (8, 9, 10), values=(0, 0, 255))
    (folder / "train" / "T2" / ".DS_Store").write_bytes(b"Mac")
    return folder


def test_slices_become_volumes_in_the_order_of_their_numbers(root, tmp_path):
    done = prepare_png_slices(root, tmp_path / "out", SPACING, foreground="prostate")
    assert (done.training, done.test) == (3, 1)
    assert done.notes == [("prostate_00", "slices 3, 4, 5, 6, 7 ... are missing: their neighbours lie side by side")]
    dataset = read_dataset(tmp_path / "out")
    assert dataset.raw["modality"] == {"0": "T2", "1": "ADC"} and dataset.raw["grey_values"] == {"1": 255}
    assert dataset.raw["labels"] == {"0": "background", "1": "prostate"}
    assert dataset.training[0] == {
        "case": "prostate_00",
        "patient": "prostate_00",
        "image": ["images/prostate_00_T2.nii.gz", "images/prostate_00_ADC.nii.gz"],
        "label": "labels/prostate_00.nii.gz",
        "weak_labels": {"kind": "tags"},
        "slice_tags": [[1, 0], [1, 1], [1, 1]],
        "slices": [1, 2, 10],
    }
    seed = sum(map(ord, "prostate_00")) * 100
    for number, name in enumerate(("T2", "ADC")):
        volume = nib.load(tmp_path / "out" / "images" / f"prostate_00_{name}.nii.gz")
        assert volume.shape == (COLUMNS, ROWS, 3) and volume.get_data_dtype() == np.uint8
        assert volume.header.get_zooms() == pytest.approx(SPACING) and nib.aff2axcodes(volume.affine) == ("L", "P", "S")
        for place, slice_ in enumerate((1, 2, 10)):
            stored = np.asanyarray(volume.dataobj)[..., place]
            np.testing.assert_array_equal(stored.T, picture(seed + 10 * slice_ + number))
    label = np.asanyarray(nib.load(tmp_path / "out" / "labels" / "prostate_00.nii.gz").dataobj)
    np.testing.assert_array_equal(label[..., 1].T, mask(1))


def test_split_file_keeps_the_parts_and_the_data_load(root, tmp_path):
    prepare_png_slices(root, tmp_path / "out", SPACING)
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == {
        "training": ["prostate_00", "prostate_01"],
        "validation": ["prostate_02"],
        "test": ["prostate_03"],
    }
    split = load_cases(tmp_path / "out", split="split.json")
    assert split.patients["validation"] == ["prostate_02"] and split.patients["test"] == ["prostate_03"]
    case = LoadCased(("image", "label", "weak_label"))(split.test[0])
    assert case["image"].shape == (2, COLUMNS, ROWS, 3) and case["label"].sum() == 2
    assert [row[1] for row in case["slice_tags"]] == [0, 0, 1] and (case["weak_label"] == 255).all()


def test_brain_layout_chosen_modalities_and_an_archive(tmp_path):
    folder = tmp_path / "brats_data"
    patient(folder / "train", "BraTS19_A_1", names=("MR_Flair", "MR_T1", "MR_T1c", "MR_T2"))
    prepare_png_slices(folder, tmp_path / "all", (1, 1, 1))
    assert list(read_dataset(tmp_path / "all").raw["modality"].values()) == ["T1", "T1c", "T2", "Flair"]
    assert json.loads((tmp_path / "all" / "split.json").read_text()) == {"training": ["BraTS19_A_1"]}
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.relative_to(tmp_path))
    prepare_png_slices(tmp_path / "data.zip", tmp_path / "one", (1, 1, 1), ["MR_T2"])
    (entry,) = read_dataset(tmp_path / "one").training
    assert entry["image"] == "images/BraTS19_A_1_T2.nii.gz"


def test_several_grey_values_are_values_of_one_class(root, tmp_path):
    save(root / "train" / "GT" / "prostate_00_10.png", mask(100))
    done = prepare_png_slices(root, tmp_path / "out", SPACING)
    dataset = read_dataset(tmp_path / "out")
    assert dataset.labels == {0: "background", 1: "foreground", 2: "foreground"}
    assert dataset.raw["grey_values"] == {"1": 100, "2": 255}
    label = np.asanyarray(nib.load(tmp_path / "out" / "labels" / "prostate_00.nii.gz").dataobj)
    assert [label[..., place].max() for place in range(3)] == [0, 2, 1]
    assert ("GT", "2 grey values (100, 255), all taken as the foreground") in done.notes


def test_grey_pictures_of_other_modes(root, tmp_path):
    deep = np.random.RandomState(0).randint(0, 60000, (ROWS, COLUMNS)).astype(np.uint16)
    save(root / "train" / "T2" / "prostate_01_3.png", deep)
    save(root / "train" / "T2" / "prostate_01_4.png", picture(1), "RGB")
    save(root / "train" / "GT" / "prostate_01_4.png", mask(255), "1")
    prepare_png_slices(root, tmp_path / "out", SPACING)
    volume = np.asanyarray(nib.load(tmp_path / "out" / "images" / "prostate_01_T2.nii.gz").dataobj)
    np.testing.assert_array_equal(volume[..., 0].T, deep)
    np.testing.assert_array_equal(volume[..., 1].T, picture(1))
    label = np.asanyarray(nib.load(tmp_path / "out" / "labels" / "prostate_01.nii.gz").dataobj)
    np.testing.assert_array_equal(label[..., 1].T, mask(1))


def _lacks_slice(root):
    (root / "train" / "ADC" / "prostate_00_2.png").unlink()


def _lacks_mask(root):
    (root / "val" / "GT" / "prostate_02_9.png").unlink()


def _other_name(root):
    """As many files in each folder, which pairing by order would take."""
    (root / "train" / "ADC" / "prostate_00_2.png").rename(root / "train" / "ADC" / "prostate_00_3.png")


def _lacks_folder(root):
    shutil.rmtree(root / "test" / "ADC")


def _leak(root):
    patient(root / "val", "prostate_00", (11,), values=(0,))


def _leak_otherwise_spelt(root):
    patient(root / "test", "Prostate-1", (11,), values=(0,))


def _leak_of_images(root):
    for file in (root / "train").rglob("prostate_00_*.png"):
        target = root / "test" / file.parent.name / file.name.replace("prostate_00", "prostate_09")
        shutil.copy(file, target)


def _size(root):
    save(root / "train" / "ADC" / "prostate_00_2.png", picture(1)[:-1])


def _coloured(root):
    save(root / "train" / "T2" / "prostate_00_2.png", np.stack([picture(1), picture(2), picture(3)], 2))


def _damaged(root):
    (root / "train" / "T2" / "prostate_00_2.png").write_bytes(b"no picture")


def _no_png(root):
    Image.fromarray(picture(1)).save(root / "train" / "T2" / "prostate_00_2.png", format="JPEG")


def _no_number(root):
    save(root / "train" / "T2" / "prostate.png", picture(1))


def _twice(root):
    save(root / "train" / "T2" / "prostate_00_02.png", picture(1))


def _no_mask_at_all(root):
    for file in root.rglob("GT/*.png"):
        save(file, mask(0))


def _empty(root):
    for file in (root / "test").rglob("*.png"):
        file.unlink()


def _no_train(root):
    shutil.rmtree(root / "train")


BROKEN = [
    (_lacks_slice, r"train/ADC' lacks 1 of the 3 slices of patient prostate_00: prostate_00_2;"),
    (_lacks_mask, r"val/GT' lacks 1 of the 3 slices of patient prostate_02: prostate_02_9;"),
    (_other_name, r"train/T2' lacks 1 of the 4 slices of patient prostate_00: prostate_00_3;"),
    (_lacks_folder, r"test' lacks the folders \['ADC'\]; it has \['GT', 'T2'\]"),
    (_leak, "leak: one patient on two sides of the split, 'prostate_00' in train and 'prostate_00' in val"),
    (_leak_otherwise_spelt, "'prostate_01' in train and 'Prostate-1' in test"),
    (_leak_of_images, "leak: the images of prostate_09 in test are those of prostate_00 in train"),
    (_size, r"ADC/prostate_00_2.png' has 7 x 4 pixels, '.*T2/prostate_00_1.png' 7 x 5"),
    (_coloured, r"prostate_00_2.png' is coloured"),
    (_damaged, r"prostate_00_2.png' cannot be read"),
    (_no_png, r"prostate_00_2.png' cannot be read: it is JPEG, no PNG"),
    (_no_number, r"prostate.png' is not called PATIENT_NUMBER.png"),
    (_twice, r"prostate_00_2.png' and 'prostate_00_02.png' are the same slice"),
    (_no_mask_at_all, "every mask under GT is black"),
    (_empty, "test' holds no slice"),
    (_no_train, "no folder train"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_does_not_fit_is_refused_by_name(root, tmp_path, break_it, message):
    break_it(root)
    with pytest.raises(ValueError, match=message):
        prepare_png_slices(root, tmp_path / "out", SPACING)
    assert not (tmp_path / "out").exists() and not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_arguments(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="source 'nowhere' does not exist"):
        prepare_png_slices("nowhere", tmp_path / "out", SPACING)
    for spacing in ((1, 1), (1, 1, 0), (1, 1, float("nan"))):
        with pytest.raises(ValueError, match="--spacing must be three lengths in mm"):
            prepare_png_slices(root, tmp_path / "out", spacing)
    for names in (["T2", "T2"], ["GT"], []):
        with pytest.raises(ValueError, match="--modalities must name folders beside GT, each once"):
            prepare_png_slices(root, tmp_path / "out", SPACING, names)
    with pytest.raises(ValueError, match="--foreground must name a class"):
        prepare_png_slices(root, tmp_path / "out", SPACING, foreground="background")
    with pytest.raises(ValueError, match=r"lacks the folders \['DWI'\]"):
        prepare_png_slices(root, tmp_path / "out", SPACING, ["T2", "DWI"])


def test_command(root, tmp_path, capsys):
    words = ["prepare", "png-slices", "--source", str(root), "--out", str(tmp_path / "out"), "--spacing"]
    assert main([*words, "0.6", "0.5", "3.6", "--modalities", "ADC", "T2", "--foreground", "prostate"]) == 0
    assert "out: 3 training and 1 test patients; 1 notes" in capsys.readouterr().out
    assert read_dataset(tmp_path / "out").raw["modality"] == {"0": "ADC", "1": "T2"}
    assert main([*words, "0.6", "0.5", "3.6"]) == 2
    assert "exists already" in capsys.readouterr().err
