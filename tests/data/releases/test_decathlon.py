# SPDX-License-Identifier: Apache-2.0
"""`prepare decathlon` on archives and folders of the release's layout."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.decathlon import prepare_decathlon
from wss_monai.transforms.load_case import LoadCased

SHAPE = (6, 7, 4)
AFFINE = np.array([[0.6, 0, 0, -5], [0, 0.6, 0.1, -7], [0, -0.1, 3.6, 11], [0, 0, 0, 1]])
ZONES = {"0": "background", "1": "PZ", "2": "TZ"}


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = nib.Nifti1Image(array, affine)
    picture.set_qform(affine, code=1)
    nib.save(picture, path)


def zones() -> np.ndarray:
    array = np.zeros(SHAPE, np.float32)
    array[1:3, 2:5, 1:3] = 1
    array[3, 3, 2] = 2
    return array


def image(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 900, (*SHAPE, 2)).astype(np.int16)


def describe(folder: Path, **changes) -> None:
    training = [f"prostate_{n:02d}.nii.gz" for n in (0, 4, 10)]
    content = {
        "name": "PROSTATE",
        "description": "Prostate transitional zone and peripheral zone segmentation",
        "reference": "Radboud University, Nijmegen Medical Centre",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": ZONES,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in training],
        "test": ["./imagesTs/prostate_03.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content | changes))


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "Task05_Prostate"
    for n in (0, 4, 10):
        save(folder / "imagesTr" / f"prostate_{n:02d}.nii.gz", image(n))
        save(folder / "labelsTr" / f"prostate_{n:02d}.nii.gz", zones())
    save(folder / "imagesTs" / "prostate_03.nii.gz", image(3))
    for part in ("imagesTr", "labelsTr"):
        (folder / part / "._prostate_00.nii.gz").write_bytes(b"Mac OS X")
    (folder / "._dataset.json").write_bytes(b"Mac OS X")
    describe(folder)
    return folder


def tarred(folder: Path, target: Path, name: str | None = None) -> Path:
    with tarfile.open(target, "w") as file:
        file.add(folder, name or folder.name)
        extra = tarfile.TarInfo("._Task05_Prostate")
        extra.size = 3
        file.addfile(extra, io.BytesIO(b"Mac"))
    return target


@pytest.mark.parametrize("form", ["tar", "folder", "folder above"])
def test_prostate_becomes_a_data_set(release, tmp_path, form):
    source = {
        "tar": lambda: tarred(release, tmp_path / "Task05_Prostate.tar"),
        "folder": lambda: release,
        "folder above": lambda: _moved(release, tmp_path / "above"),
    }[form]()
    done = prepare_decathlon(source, tmp_path / "out", 5)
    assert (done.training, done.test, done.cases) == (3, 0, 3)
    assert done.notes == [("test", "left out, no labels: 1 images (prostate_03)")]
    dataset = read_dataset(tmp_path / "out")
    assert dataset.raw["modality"] == {"0": "T2", "1": "ADC"}
    assert dataset.raw["labels"] == {"0": "background", "1": "prostate", "2": "prostate"}
    assert dataset.raw["classes_of_release"] == ZONES and dataset.raw["licence"] == "CC-BY-SA 4.0"
    assert "simulate the tags" in dataset.raw["description"]
    assert dataset.training[0] == {
        "case": "prostate_00",
        "patient": "prostate_00",
        "image": ["images/prostate_00_T2.nii.gz", "images/prostate_00_ADC.nii.gz"],
        "label": "labels/prostate_00.nii.gz",
        "weak_labels": {"kind": "tags"},
        "slice_tags": [[1, 0], [1, 1], [1, 1], [1, 0]],
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset.json", "images", "labels"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 6
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _moved(folder: Path, above: Path) -> Path:
    above.mkdir()
    folder.rename(above / folder.name)
    return above


def test_values_and_places_stay_and_the_data_load(release, tmp_path):
    prepare_decathlon(release, tmp_path / "out", 5)
    for channel, name in enumerate(("T2", "ADC")):
        picture = nib.load(tmp_path / "out" / "images" / f"prostate_04_{name}.nii.gz")
        assert picture.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asanyarray(picture.dataobj), image(4)[..., channel])
        np.testing.assert_allclose(picture.affine, AFFINE, atol=1e-6)
        assert picture.header.get_zooms() == pytest.approx(
            nib.load(release / "labelsTr/prostate_04.nii.gz").header.get_zooms()
        )
    label = nib.load(tmp_path / "out" / "labels" / "prostate_04.nii.gz")
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), zones())
    split = load_cases(tmp_path / "out", ["background", "prostate"], folds=3, validation=0)
    case = LoadCased(("image", "label", "weak_label"))(split.training[0])
    assert case["image"].shape == (2, *SHAPE) and case["label"].max() == 1
    assert (case["weak_label"] == 255).all()  # the dense label is a reference, the tags are what is known
    assert case["slice_tags"] == [[1, 0], [1, 1], [1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("options", "labels", "rows"),
    [
        ({"keep_classes": True}, ZONES, [1, 1, 1]),
        ({"merge": "gland"}, {"0": "background", "1": "gland", "2": "gland"}, [1, 1]),
    ],
)
def test_classes_apart_or_merged_under_another_name(release, tmp_path, options, labels, rows):
    prepare_decathlon(release, tmp_path / "out", 5, **options)
    raw = read_dataset(tmp_path / "out").raw
    assert raw["labels"] == labels and raw["training"][0]["slice_tags"][2] == rows


def test_one_modality_is_copied_and_a_labelled_test_case_is_a_test_case(tmp_path):
    folder = tmp_path / "Task09_Spleen"
    for n in (1, 2):
        save(folder / "imagesTr" / f"spleen_{n}.nii.gz", image(n)[..., 0])
        save(folder / "labelsTr" / f"spleen_{n}.nii.gz", (zones() > 0).astype(np.uint8))
    describe(
        folder,
        name="Spleen",
        modality={"0": "CT"},
        labels={"0": "background", "1": "spleen"},
        training=[{"image": "./imagesTr/spleen_1.nii.gz", "label": "./labelsTr/spleen_1.nii.gz"}],
        test=[{"image": "./imagesTr/spleen_2.nii.gz", "label": "./labelsTr/spleen_2.nii.gz"}],
    )
    done = prepare_decathlon(folder, tmp_path / "out", 9)
    assert (done.training, done.test, done.notes) == (1, 1, [])
    dataset = read_dataset(tmp_path / "out")
    assert dataset.training[0]["image"] == "images/spleen_1.nii.gz" and dataset.class_names[1] == "spleen"
    stored = (tmp_path / "out" / "images" / "spleen_1.nii.gz").read_bytes()
    assert stored == (folder / "imagesTr" / "spleen_1.nii.gz").read_bytes()


def test_brain_tumours_are_merged_and_hippocampi_warned_of(release, tmp_path):
    describe(release, name="BRATS", labels={"0": "background", "1": "edema", "2": "enhancing tumour"})
    folder = release.rename(tmp_path / "Task01_BrainTumour")
    prepare_decathlon(folder, tmp_path / "out", 1)
    assert read_dataset(tmp_path / "out").class_names == ["background", "whole tumour"]
    describe(folder, name="Hippocampus", labels={"0": "background", "1": "Anterior", "2": "Posterior"})
    folder = folder.rename(tmp_path / "mine")
    done = prepare_decathlon(folder, tmp_path / "four", 4)
    assert read_dataset(tmp_path / "four").class_names == ["background", "Anterior", "Posterior"]
    assert "both hippocampi" in dict(done.notes)["patients"]


def test_another_task_is_refused(release, tmp_path):
    with pytest.raises(ValueError, match=r"is task 5, not task 1: its dataset\.json calls it 'PROSTATE'; give"):
        prepare_decathlon(release, tmp_path / "out", 1)
    describe(release, name="Left Atrium")
    with pytest.raises(ValueError, match="is task 2, not task 5"):
        prepare_decathlon(release, tmp_path / "out", 5)
    describe(release, name="mine")
    prepare_decathlon(release, tmp_path / "by_folder", 5)
    describe(release)
    with pytest.raises(ValueError, match="is task 2, not task 5: its name is 'Task02_Heart'"):
        prepare_decathlon(release.rename(tmp_path / "Task02_Heart"), tmp_path / "out", 5)
    folder = (tmp_path / "Task02_Heart").rename(tmp_path / "of_heart_and_lung")
    prepare_decathlon(folder, tmp_path / "by_name", 5)
    describe(folder, name="mine")
    with pytest.raises(ValueError, match=r"cannot be told to be task 5 \(prostate\): its dataset.json calls it 'mine'"):
        prepare_decathlon(folder, tmp_path / "out", 5)
    with pytest.raises(ValueError, match="task must be one of 1 to 10, got 11"):
        prepare_decathlon(folder, tmp_path / "out", 11)
    assert not (tmp_path / "out").exists()


def _no_label(folder):
    (folder / "labelsTr" / "prostate_04.nii.gz").unlink()


def _no_image(folder):
    (folder / "imagesTr" / "prostate_04.nii.gz").unlink()


def _one_modality(folder):
    save(folder / "imagesTr" / "prostate_04.nii.gz", image(4)[..., :1])


def _three_axes(folder):
    save(folder / "imagesTr" / "prostate_04.nii.gz", image(4)[..., 0])


def _not_finite(folder):
    save(folder / "imagesTr" / "prostate_04.nii.gz", np.full((*SHAPE, 2), np.inf, np.float32))


def _damaged(folder):
    (folder / "imagesTr" / "prostate_04.nii.gz").write_bytes(b"cut short")


def _other_grid(folder):
    save(folder / "labelsTr" / "prostate_04.nii.gz", zones(), AFFINE @ np.diag([2.0, 2, 1, 1]))


def _label_4d(folder):
    save(folder / "labelsTr" / "prostate_04.nii.gz", np.stack([zones(), zones()], 3))


def _label_shape(folder):
    save(folder / "labelsTr" / "prostate_04.nii.gz", zones()[:, :, 1:])


def _values(folder):
    save(folder / "labelsTr" / "prostate_04.nii.gz", zones() * 3)


def _same(folder):
    save(folder / "imagesTr" / "prostate_04.nii.gz", image(0))


BROKEN = [
    (_no_label, "prostate_04.nii.gz is missing"),
    (_no_image, "prostate_04.nii.gz is missing"),
    (_one_modality, "has the shape (6, 7, 4, 1); 2 modalities ['T2', 'ADC'] need (X, Y, Z, 2)"),
    (_three_axes, "has the shape (6, 7, 4); 2 modalities"),
    (_not_finite, "holds intensities that are not finite"),
    (_damaged, "prostate_04.nii.gz cannot be read"),
    (_other_grid, "is not on the grid of"),
    (_label_4d, "has the shape (6, 7, 4, 2); a label has three axes"),
    (_label_shape, "6 x 7 x 3 voxels"),
    (_values, "holds the values [3, 6]"),
    (_same, "is the same image as prostate_00"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_case_that_does_not_fit_is_skipped_by_name_and_refused_where_asked_for(release, tmp_path, break_it, message):
    break_it(release)
    done = prepare_decathlon(release, tmp_path / "out", 5)
    assert done.training == 2
    (said,) = (what for who, what in done.notes if who == "prostate_04")
    assert said.startswith("skipped: ") and message in said.replace(".0", "")
    with pytest.raises(ValueError, match="prostate_04, which was asked for, cannot be converted"):
        prepare_decathlon(release, tmp_path / "other", 5, patients=["prostate_00", "prostate_04"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": {"0": "T2", "2": "ADC"}}, "must number its names from 0"),
        ({"modality": {"0": "T2", "1": "T2"}}, "name each once"),
        ({"modality": "MRI"}, "'modality' must map numbers to names"),
        ({"labels": {"0": "background", "PZ": "1"}}, "'labels' must map numbers to names"),
        ({"training": {}}, "'training' must be a list"),
        ({"training": [{"label": "x"}]}, "must list cases with an 'image'"),
        ({"training": [{"image": "../../secret.nii.gz", "label": "x"}]}, "leads out of its folder"),
        ({"training": [{"image": "a.nii.gz", "label": "/etc/passwd"}]}, "leads out of its folder"),
        ({"training": ["imagesTr/a.nii.gz", "imagesTs/a.nii.gz"]}, "has the case 'a' twice"),
        ({"training": []}, "no case could be converted"),
        ({"test": [{"image": "imagesTr/prostate_00.nii.gz"}]}, "are in 'training' and in 'test'"),
    ],
)
def test_a_description_that_is_not_the_releases_is_refused(release, tmp_path, changes, message):
    describe(release, **changes)
    with pytest.raises(ValueError, match=message):
        prepare_decathlon(release, tmp_path / "out", 5)
    assert not (tmp_path / "out").exists()


def test_sources_that_cannot_be_converted(release, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"source 'nowhere\.tar' does not exist"):
        prepare_decathlon("nowhere.tar", tmp_path / "out", 5)
    with pytest.raises(ValueError, match=r"holds no dataset\.json"):
        prepare_decathlon(tarred(release / "imagesTr", tmp_path / "images.tar"), tmp_path / "out", 5)
    with pytest.raises(ValueError, match=r"'../../out.nii.gz' leads out of the folder"):
        prepare_decathlon(tarred(release / "dataset.json", tmp_path / "a.tar", "../../out.nii.gz"), tmp_path / "out", 5)
    with pytest.raises(ValueError, match=r"patients \['prostate_03'\] are not in the source; it has 3"):
        prepare_decathlon(release, tmp_path / "out", 5, patients=["prostate_03"])
    with pytest.raises(ValueError, match="exclude each other"):
        prepare_decathlon(release, tmp_path / "out", 5, merge="gland", keep_classes=True)
    with pytest.raises(ValueError, match="must name a class of the foreground"):
        prepare_decathlon(release, tmp_path / "out", 5, merge="background")
    (release / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        prepare_decathlon(release, tmp_path / "out", 5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        prepare_decathlon(release, tmp_path / "full", 5)
    assert not (tmp_path / "out").exists()


def test_command(release, tmp_path, capsys):
    chosen = tmp_path / "patients.json"
    chosen.write_text(json.dumps({"patients": ["prostate_10"]}))
    words = ["prepare", "decathlon", "--source", str(release), "--out", str(tmp_path / "out")]
    assert main([*words, "--task", "5", "--patients", str(chosen), "--keep-classes"]) == 0
    said = capsys.readouterr().out
    assert "test  left out, no labels: 1 images" in said and "out: 1 training and 0 test cases; 1 notes" in said
    assert read_dataset(tmp_path / "out").class_names == ["background", "PZ", "TZ"]
    assert main([*words[:-1], str(tmp_path / "other"), "--task", "3"]) == 2
    assert "is task 5, not task 3" in capsys.readouterr().err
