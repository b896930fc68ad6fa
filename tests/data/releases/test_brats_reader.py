# SPDX-License-Identifier: Apache-2.0
"""`prepare brats` on folders named as in the releases of 2013 to 2024, and on real volumes laid out so."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.brats import prepare_brats
from wss_monai.data.releases.brats_files import find_brats_cases, modality_names, patient_of
from wss_monai.transforms.load_case import LoadCased

SHAPE = (6, 7, 4)
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]])
OLD = ("t1", "t1ce", "t2", "flair")
NEW = ("t1n", "t1c", "t2w", "t2f")


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def volume(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 900, SHAPE).astype(np.int16)


def tumour(values=(1, 2, 4)) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(values):
        array[1 + place, 2:4, 1:3] = value
    return array


def case(root: Path, name: str, words=OLD, mark="_", values=(1, 2, 4), end=".nii.gz", seed=None) -> Path:
    folder = root / name
    seed = zlib.crc32(name.encode()) % 10**6 if seed is None else seed
    for number, word in enumerate(words):
        save(folder / f"{name}{mark}{word}{end}", volume(10 * seed + number))
    if values:
        save(folder / f"{name}{mark}seg{end}", tumour(values))
    return folder


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "MICCAI_BraTS_2019_Data_Training"
    case(root / "HGG", "BraTS19_2013_10_1")
    case(root / "LGG", "BraTS19_TCIA09_141_1")
    (root / "name_mapping.csv").write_text("a,b")
    (root / "HGG" / "BraTS19_2013_10_1" / "._BraTS19_2013_10_1_t1.nii.gz").write_bytes(b"Mac")
    return root


def test_release_of_2019_becomes_a_data_set(release, tmp_path):
    done = prepare_brats(release, tmp_path / "out")
    assert (done.cases, done.training, done.notes) == (2, 2, [])
    dataset = read_dataset(tmp_path / "out")
    assert dataset.raw["modality"] == {"0": "T1", "1": "T1c", "2": "T2", "3": "FLAIR"}
    assert dataset.raw["labels"] == {
        "0": "background",
        "1": "whole tumour",
        "2": "whole tumour",
        "4": "whole tumour",
    }
    name = "BraTS19_2013_10_1"
    assert dataset.training[0] == {
        "case": name,
        "patient": name,
        "group": "HGG",
        "image": [f"images/{name}_{modality}.nii.gz" for modality in ("T1", "T1c", "T2", "FLAIR")],
        "label": f"labels/{name}.nii.gz",
        "weak_labels": {"kind": "tags"},
        "slice_tags": [[1, 0], [1, 1], [1, 1], [1, 0]],
    }
    assert dataset.training[1]["group"] == "LGG" and "simulate the tags" in dataset.raw["description"]
    stored = (tmp_path / "out" / "images" / f"{name}_FLAIR.nii.gz").read_bytes()
    assert stored == (release / "HGG" / name / f"{name}_flair.nii.gz").read_bytes()
    assert nib.load(tmp_path / "out" / "labels" / f"{name}.nii.gz").get_data_dtype() == np.uint8


def test_order_of_modalities_is_the_one_given(release, tmp_path):
    prepare_brats(release, tmp_path / "two", ["flair", "T1CE"])
    two = load_cases(tmp_path / "two", folds=2, validation=0)
    assert two.dataset.raw["modality"] == {"0": "FLAIR", "1": "T1c"}
    (loaded,) = [LoadCased(("image", "label", "weak_label"))(item) for item in two.training]
    name = two.training[0]["case"]
    for channel, word in enumerate(("flair", "t1ce")):
        (file,) = release.rglob(f"{name}_{word}.nii.gz")
        np.testing.assert_array_equal(loaded["image"][channel], np.asanyarray(nib.load(file).dataobj))
    assert (loaded["weak_label"] == 255).all() and loaded["label"].max() == 1
    prepare_brats(release, tmp_path / "one", ["t2f"])
    assert read_dataset(tmp_path / "one").training[0]["image"] == "images/BraTS19_2013_10_1_FLAIR.nii.gz"


def test_release_of_2021_uncompressed(tmp_path):
    case(tmp_path / "in", "BraTS2021_00000", end=".nii")
    prepare_brats(tmp_path / "in", tmp_path / "out")
    (entry,) = read_dataset(tmp_path / "out").training
    assert entry["patient"] == "BraTS2021_00000" and "group" not in entry
    picture = nib.load(tmp_path / "out" / entry["image"][3])
    (file,) = (tmp_path / "in").rglob("*_flair.nii")
    np.testing.assert_array_equal(np.asanyarray(picture.dataobj), np.asanyarray(nib.load(file).dataobj))


def test_release_of_2023_has_time_points(tmp_path):
    for name in ("BraTS-GLI-00008-000", "BraTS-GLI-00008-001", "BraTS-GLI-00009-000"):
        case(tmp_path / "in", name, NEW, "-", (1, 2, 3))
    done = prepare_brats(tmp_path / "in", tmp_path / "out", ["t2f", "t1c"])
    assert (done.cases, done.training) == (3, 2)
    dataset = read_dataset(tmp_path / "out")
    assert [entry["patient"] for entry in dataset.training] == ["BraTS-GLI-00008"] * 2 + ["BraTS-GLI-00009"]
    assert dataset.raw["modality"] == {"0": "FLAIR", "1": "T1c"} and sorted(dataset.labels) == [0, 1, 2, 3]
    split = load_cases(tmp_path / "out", folds=2, validation=0)
    assert {len(part) for part in (split.training, split.test)} == {1, 2}


def test_a_resection_cavity_is_no_tumour(tmp_path):
    case(tmp_path / "in", "BraTS-GLI-00005-100", NEW, "-", (1, 3, 4))
    array = np.zeros(SHAPE, np.uint8)
    array[2, 2, 0] = 4
    case(tmp_path / "in", "BraTS-GLI-00006-100", NEW, "-")
    save(tmp_path / "in" / "BraTS-GLI-00006-100" / "BraTS-GLI-00006-100-seg.nii.gz", array)
    done = prepare_brats(tmp_path / "in", tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.labels[4] == "background" and dataset.training[1]["slice_tags"] == [[1, 0]] * 4
    assert ("labels", "value 4, resection cavity, is no tumour: taken as background") in done.notes
    prepare_brats(tmp_path / "in", tmp_path / "apart", merge=None)
    assert read_dataset(tmp_path / "apart").class_names[-1] == "resection cavity"


@pytest.mark.parametrize(
    ("name", "words", "mark", "values", "names"),
    [
        ("BraTS19_A_1", OLD, "_", (1, 2, 4), ["oedema", "enhancing tumour"]),
        ("brats_2013_pat0004_1", OLD, "_", (1, 3), ["oedema", "non-enhancing tumour", "enhancing tumour"]),
        ("BraTS-GLI-00001-000", NEW, "-", (1, 2, 3), ["oedema", "enhancing tumour"]),
    ],
)
def test_classes_apart_mean_what_the_release_says(tmp_path, name, words, mark, values, names):
    case(tmp_path / "in", name, words, mark, values)
    prepare_brats(tmp_path / "in", tmp_path / "out", merge=None)
    dataset = read_dataset(tmp_path / "out")
    assert dataset.class_names == ["background", "necrotic core", *names]
    (entry,) = dataset.training
    shown = [dataset.class_names.index(dataset.labels[value]) for value in (0, *values)]
    assert entry["slice_tags"][1] == [int(k in shown) for k in range(len(dataset.class_names))]
    assert entry["slice_tags"][0] == [1, 0] + [0] * len(names)


def test_the_misnamed_segmentation_of_2020_is_taken(tmp_path):
    folder = case(tmp_path / "in", "BraTS20_Training_355", values=())
    save(folder / "W39_1998.09.19_Segm.nii", tumour())
    case(tmp_path / "in", "BraTS20_Training_354")
    done = prepare_brats(tmp_path / "in", tmp_path / "out")
    assert done.notes == [("BraTS20_Training_355", "its segmentation has another name, W39_1998.09.19_Segm.nii; taken")]
    assert all("label" in entry for entry in read_dataset(tmp_path / "out").training)
    save(folder / "BraTS20_Training_355_seg.nii.gz", tumour())
    cases, notes = find_brats_cases(tmp_path / "in")
    assert [c.label.name for c in cases] == ["BraTS20_Training_354_seg.nii.gz", "BraTS20_Training_355_seg.nii.gz"]
    assert notes == [("W39_1998.09.19", "left out: W39_1998.09.19_Segm.nii alone")]


def test_without_segmentation_and_without_tumour_is_noted(release, tmp_path):
    case(release, "BraTS19_X_1", values=())
    save(case(release, "BraTS19_Y_1") / "BraTS19_Y_1_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    done = prepare_brats(release, tmp_path / "out")
    assert done.notes == [
        ("BraTS19_X_1", "has no segmentation; kept without 'label' and tags"),
        ("BraTS19_Y_1", "its segmentation is empty: no slice shows a tumour"),
    ]
    entries = {entry["case"]: entry for entry in read_dataset(tmp_path / "out").training}
    assert "slice_tags" not in entries["BraTS19_X_1"] and "weak_labels" not in entries["BraTS19_X_1"]
    assert entries["BraTS19_Y_1"]["slice_tags"] == [[1, 0]] * 4


def test_cases_without_a_modality_are_named_or_left_out(release, tmp_path):
    (release / "HGG" / "BraTS19_2013_10_1" / "BraTS19_2013_10_1_t2.nii.gz").unlink()
    with pytest.raises(
        ValueError, match=r"1 of 2 cases are incomplete: BraTS19_2013_10_1 lacks T2\. Choose other"
    ) as e:
        prepare_brats(release, tmp_path / "out")
    assert "(all cases have T1, T1c, FLAIR)" in str(e.value) and "--skip-incomplete" in str(e.value)
    assert not (tmp_path / "out").exists()
    assert prepare_brats(release, tmp_path / "two", ["flair", "t1"]).cases == 2
    done = prepare_brats(release, tmp_path / "skipped", skip_incomplete=True)
    assert done.cases == 1 and done.notes == [("BraTS19_2013_10_1", "skipped: lacks T2")]


def test_another_grid_is_resampled_and_said_so(release, tmp_path):
    coarse = AFFINE @ np.diag([2.0, 2, 1, 1])
    coarse[:3, 3] = (AFFINE @ [0.5, 0.5, 0, 1])[:3]
    file = release / "HGG" / "BraTS19_2013_10_1" / "BraTS19_2013_10_1_t1.nii.gz"
    save(file, np.full((3, 4, 4), 7, np.int16), coarse)
    done = prepare_brats(release, tmp_path / "out", ["flair", "t1"])
    ((who, note),) = done.notes
    assert who == "BraTS19_2013_10_1" and note.startswith("BraTS19_2013_10_1_t1.nii.gz (T1) resampled linearly from")
    loaded = LoadCased(("image",))(load_cases(tmp_path / "out", folds=2, validation=0).training[0])
    assert loaded["image"].shape == (2, *SHAPE)
    moved = nib.load(tmp_path / "out" / "images" / "BraTS19_2013_10_1_T1.nii.gz")
    np.testing.assert_allclose(np.asanyarray(moved.dataobj), 7)
    done = prepare_brats(release, tmp_path / "label", ["t1", "flair"])
    assert done.failed == ["BraTS19_2013_10_1"] and done.cases == 1
    assert "A label is never resampled: name first the modality that it was drawn on" in done.skipped[done.failed[0]]


def _far(folder):
    moved = AFFINE.copy()
    moved[0, 3] += 40
    save(folder / "BraTS19_2013_10_1_t1.nii.gz", volume(1), moved)


def _damaged(folder):
    (folder / "BraTS19_2013_10_1_t1.nii.gz").write_bytes(b"cut short")


def _label_4d(folder):
    save(folder / "BraTS19_2013_10_1_seg.nii.gz", np.stack([tumour(), tumour()], 3))


def _label_elsewhere(folder):
    save(folder / "BraTS19_2013_10_1_seg.nii.gz", tumour(), np.diag([1.0, 1, 1, 1]))


def _values(folder):
    save(folder / "BraTS19_2013_10_1_seg.nii.gz", tumour((1, 7)))


def _image_4d(folder):
    save(folder / "BraTS19_2013_10_1_t2.nii.gz", np.stack([volume(1), volume(2)], 3))


BROKEN = [
    (_far, "t1.nii.gz (T1) does not lie in the frame"),
    (_damaged, "t1.nii.gz cannot be read"),
    (_label_4d, "seg.nii.gz has the shape (6, 7, 4, 2); a label has three axes"),
    (_label_elsewhere, "seg.nii.gz is not on the grid of BraTS19_2013_10_1_flair.nii.gz"),
    (_values, "holds the values [7]"),
    (_image_4d, "t2.nii.gz has the shape (6, 7, 4, 2); a modality has three axes"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_does_not_fit_is_left_out_by_name(release, tmp_path, break_it, message):
    break_it(release / "HGG" / "BraTS19_2013_10_1")
    words = ["flair", "t1", "t2"]
    for skip, failed in ((False, ["BraTS19_2013_10_1"]), (True, [])):
        done = prepare_brats(release, tmp_path / f"out{skip}", words, skip_incomplete=skip)
        assert done.cases == 1 and done.failed == failed
        assert any(who == "BraTS19_2013_10_1" and message in what for who, what in done.notes)


def test_folders_that_cannot_be_converted(release, tmp_path):
    with pytest.raises(FileNotFoundError, match="source 'nowhere' is no folder"):
        prepare_brats("nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="does not look like a BraTS release"):
        prepare_brats(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match=r"patients \['X'\] are not in the source; it has 2"):
        prepare_brats(release, tmp_path / "out", patients=["X"])
    with pytest.raises(ValueError, match=r"--modalities: \['ct'\] are none"):
        prepare_brats(release, tmp_path / "out", ["ct"])
    with pytest.raises(ValueError, match="at least one modality and each once"):
        prepare_brats(release, tmp_path / "out", ["flair", "t2f"])
    case(release / "again", "BraTS19_2013_10_1")
    with pytest.raises(ValueError, match="holds BraTS19_2013_10_1 twice"):
        prepare_brats(release, tmp_path / "out")


def test_one_image_under_two_names_two_files_of_a_modality_and_mixed_releases(tmp_path):
    case(tmp_path / "same", "BraTS19_A_1", seed=1)
    case(tmp_path / "same", "BraTS19_B_1", seed=1)
    done = prepare_brats(tmp_path / "same", tmp_path / "same_out")
    assert "is the same image as BraTS19_A_1" in done.skipped["BraTS19_B_1"] and done.cases == 1 and not done.failed
    folder = case(tmp_path / "two", "BraTS19_A_1")
    save(folder / "BraTS19_A_1_t1c.nii.gz", volume(1))
    with pytest.raises(ValueError, match="BraTS19_A_1 has two files of T1c"):
        prepare_brats(tmp_path / "two", tmp_path / "out")
    case(tmp_path / "mixed", "BraTS19_A_1")
    case(tmp_path / "mixed", "BraTS-GLI-00001-000", NEW, "-")
    with pytest.raises(ValueError, match="mixes a release up to 2021"):
        prepare_brats(tmp_path / "mixed", tmp_path / "out")
    case(tmp_path / "children", "BraTS-PED-00001-000", NEW, "-")
    with pytest.raises(ValueError, match="what the values of BraTS-PED mean is not known here"):
        prepare_brats(tmp_path / "children", tmp_path / "out", merge=None)
    assert prepare_brats(tmp_path / "children", tmp_path / "out").cases == 1


def test_names():
    assert patient_of("BraTS-GLI-00008-001") == "BraTS-GLI-00008" and patient_of("BraTS19_X_1") == "BraTS19_X_1"
    assert modality_names(None) == ["T1", "T1c", "T2", "FLAIR"]
    assert modality_names(["FLAIR", "t1n", "T1c"]) == ["FLAIR", "T1", "T1c"]


def test_a_link_that_leads_back_ends(release, tmp_path):
    (release / "HGG" / "back").symlink_to(release)
    assert len(find_brats_cases(release)[0]) == 2


def test_command(release, tmp_path, capsys):
    chosen = tmp_path / "patients.json"
    chosen.write_text(json.dumps(["BraTS19_2013_10_1"]))
    words = ["prepare", "brats", "--source", str(release), "--out", str(tmp_path / "out"), "--patients", str(chosen)]
    assert main([*words, "--modalities", "flair", "t1ce", "--merge", "tumour"]) == 0
    assert "out: 1 cases of 1 patients; 0 notes" in capsys.readouterr().out
    assert read_dataset(tmp_path / "out").class_names == ["background", "tumour"]
    words[5] = str(tmp_path / "apart")
    assert main([*words, "--keep-classes"]) == 0
    assert len(read_dataset(tmp_path / "apart").class_names) == 4
    words[5] = str(tmp_path / "more")
    (release / "HGG" / "BraTS19_2013_10_1" / "BraTS19_2013_10_1_t1.nii.gz").unlink()
    assert main(words) == 2
    assert "BraTS19_2013_10_1 lacks T1" in capsys.readouterr().err


def linked(source: Path, root: Path) -> list[str]:
    """Lay real cases out as a BraTS release, by links."""
    described = json.loads((source / "dataset.json").read_text())
    names = [name.removeprefix("MRI ") for name in described["modality"].values()]
    words = {"FLAIR": "flair", "T1": "t1", "T1c": "t1ce", "T2": "t2"}
    for entry in described["training"]:
        folder = root / entry["case"]
        folder.mkdir(parents=True)
        for name, file in zip(names, entry["image"], strict=True):
            (folder / f"{entry['case']}_{words[name]}.nii.gz").symlink_to((source / file).resolve())
        (folder / f"{entry['case']}_seg.nii.gz").symlink_to((source / entry["label"]).resolve())
    return [words[name] for name in names]


@pytest.mark.parametrize(("name", "count"), [("brats2013_flair_t1c", 3), ("tcga_lgg_silver", 1)])
def test_real_volumes(real_data, tmp_path, name, count):
    words = linked(real_data(name), tmp_path / "in")
    done = prepare_brats(tmp_path / "in", tmp_path / "out", words)
    assert (done.cases, done.notes) == (count, [])
    dataset = read_dataset(tmp_path / "out")
    split = load_cases(tmp_path / "out", ["background", "whole tumour"], split=_alone(tmp_path, dataset), validation=0)
    loaded = LoadCased(("image", "label", "weak_label"))(split.training[0])
    assert loaded["image"].shape == (len(words), 240, 240, 155)
    shown = loaded["label"][0].as_tensor().amax(dim=(0, 1)).bool()
    assert [row[1] for row in loaded["slice_tags"]] == shown.int().tolist()
    assert 20 < int(shown.sum()) < 155


def _alone(folder: Path, dataset) -> Path:
    file = folder / "split.json"
    file.write_text(json.dumps({"training": [dataset.training[0]["patient"]]}))
    return file
