# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tiny import make_dataset

from wss_monai.data.checks.dataset import check_dataset


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("check") / "data", patients=4)


@pytest.fixture
def data(healthy, tmp_path):
    """A copy of a healthy data set; p0 is the test patient."""
    shutil.copytree(healthy, tmp_path / "data")
    return tmp_path / "data"


def change(folder: Path, **keys) -> None:
    """Set keys of dataset.json; None takes one away."""
    content = json.loads((folder / "dataset.json").read_text())
    content |= keys
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def change_case(folder: Path, number: int, **keys) -> None:
    """Set keys of a training case; None takes one away."""
    cases = json.loads((folder / "dataset.json").read_text())["training"]
    cases[number] = {k: v for k, v in (cases[number] | keys).items() if v is not None}
    change(folder, training=cases)


def edit(file: Path, deed=lambda array: array, affine=None, dtype=None, header=lambda image: None) -> None:
    """Rewrite a NIfTI file with another content, affine or header."""
    old = nib.load(file)
    array = np.asarray(old.dataobj, dtype=dtype).copy()
    new = nib.Nifti1Image(deed(array), old.affine if affine is None else affine, dtype=dtype)
    header(new)
    nib.save(new, file)


def put(index, value):
    def deed(array):
        array[index] = value
        return array

    return deed


def found(folder: Path, **options) -> list[tuple[str, str, str, str]]:
    """What a check finds: severity, kind, case, file."""
    return [(p.severity, p.kind, p.case, p.file) for p in check_dataset(folder, **options).problems]


def only(folder: Path, **options):
    """The one problem that a check finds."""
    problems = check_dataset(folder, **options).problems
    assert len(problems) == 1, problems
    return problems[0]


def test_a_healthy_data_set_has_no_problem_and_its_volumes_are_right(data):
    result = check_dataset(data)
    assert result.problems == []
    assert (result.name, result.cases, result.patients, result.quick) == ("discs", 4, 4, False)
    labels = [np.asarray(nib.load(data / f"labels/p{i}_ED.nii.gz").dataobj) for i in range(4)]
    ml = sorted((label == 3).sum() * 2 * 2 * 8 / 1000 for label in labels)
    assert result.classes["LV"]["cases"] == result.classes["LV"]["of"] == 4
    assert result.classes["LV"]["volume_ml"] == pytest.approx(
        {"min": ml[0], "median": (ml[1] + ml[2]) / 2, "max": ml[3]}, abs=1e-3
    )
    weak = [np.asarray(nib.load(data / f"scribbles/p{i}_ED.nii.gz").dataobj) for i in range(4)]
    assert result.classes["RV"]["weak_voxels"] == sum((w == 1).sum() for w in weak)
    assert "background" not in result.classes
    json.dumps(result.as_dict(), allow_nan=False)


def test_several_jobs_find_the_same_in_the_same_order(data):
    edit(data / "images/p1_ED.nii.gz", put((0, 0, 0), np.nan), dtype=np.float32)
    edit(data / "images/p3_ED.nii.gz", lambda a: a * 0 + 7)
    assert found(data) == found(data, jobs=3)
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        check_dataset(data, jobs=0)


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("break_it", "kind", "says"),
    [
        (lambda f: f.unlink(), "missing", "'image' names a missing file"),
        (lambda f: f.write_bytes(b""), "unreadable", "is empty (0 bytes)"),
        (lambda f: f.write_bytes(b"no NIfTI at all" * 50), "unreadable", "cannot be read"),
        (truncate, "unreadable", "cannot be read"),
        (lambda f: edit(f, lambda a: np.stack([a, a], -1)), "unreadable", "expected 2 or 3 non-empty axes"),
        (lambda f: edit(f, put((3, 3, 3), np.inf), dtype=np.float32), "not_finite", "1 of 4896 intensities"),
        (lambda f: edit(f, lambda a: a * 0 + 7), "constant", "every voxel is 7"),
    ],
)
def test_an_image_that_no_run_could_use(data, break_it, kind, says):
    break_it(data / "images/p2_ED.nii.gz")
    problem = only(data)
    assert (problem.severity, problem.kind, problem.case) == ("error", kind, "p2_ED")
    assert problem.file == "images/p2_ED.nii.gz"
    assert says in problem.problem
    assert problem.todo


def test_an_image_that_is_almost_one_value(data):
    edit(data / "images/p2_ED.nii.gz", lambda a: put((slice(0, 3), 0, 0), 9)(a * 0))
    problem = only(data)
    assert (problem.severity, problem.kind) == ("error", "almost_constant")
    assert "99.9% of the voxels are 0" in problem.problem


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("kind", ["labels", "scribbles"])
def test_a_map_on_another_grid(data, kind, quick):
    image = nib.load(data / "images/p1_ED.nii.gz")
    edit(data / kind / "p1_ED.nii.gz", lambda a: a[:-1])
    shifted = image.affine.copy()
    shifted[0, 3] += 5
    edit(data / kind / "p2_ED.nii.gz", affine=shifted)
    edit(data / kind / "p3_ED.nii.gz", affine=image.affine @ np.diag([1, -1, 1, 1]))
    problems = check_dataset(data, quick=quick).problems
    assert [(p.severity, p.kind, p.case) for p in problems] == [
        ("error", "shape", "p1_ED"), ("error", "affine", "p2_ED"), ("error", "affine", "p3_ED"),
    ]  # fmt: skip
    assert "shape (35, 34, 4), but images/p1_ED.nii.gz has (36, 34, 4)" in problems[0].problem
    assert "(origin 5 x 0 x 0 and 0 x 0 x 0 mm)" in problems[1].problem
    assert "(another direction)" in problems[2].problem


def test_modalities_on_different_grids_and_in_different_number(data):
    edit(data / "images/p1_ED.nii.gz", lambda a: a)
    shutil.copy(data / "images/p1_ED.nii.gz", data / "images/second.nii.gz")
    edit(data / "images/second.nii.gz", lambda a: a[:, :, :3] + 1)
    change_case(data, 0, image=["images/p1_ED.nii.gz", "images/second.nii.gz"])
    assert found(data) == [
        ("error", "modalities", "p1_ED", ""),
        ("error", "shape", "p1_ED", "images/second.nii.gz"),
    ]


def test_values_that_nobody_explained_come_with_the_map_to_write(data):
    edit(data / "labels/p1_ED.nii.gz", put((0, 0, 0), 7))
    edit(data / "scribbles/p2_ED.nii.gz", put((0, 0, 0), 4))
    edit(data / "labels/p3_ED.nii.gz", put((0, 0, 0), 1.5), dtype=np.float32)
    dense, weak, broken = check_dataset(data).problems
    assert (dense.severity, dense.kind, dense.case) == ("error", "values", "p1_ED")
    assert "holds the values [0, 1, 2, 3, 7]; 'labels' does not name 7 (1 voxels)" in dense.problem
    assert '"labels": {"0": "background", "1": "RV", "2": "Myo", "3": "LV", "7": "NAME"}' in dense.todo
    assert "'weak_label.values' does not name 4 (1 voxels)" in weak.problem
    assert "not whole numbers" in broken.problem


def test_an_unexplained_0_of_a_scribble_is_offered_as_unlabelled(data):
    change(data, weak_label={"kind": "scribble", "values": {"1": "RV", "2": "Myo", "3": "LV", "255": "unlabelled"}})
    problems = check_dataset(data).problems
    assert [p.kind for p in problems] == ["values"] * 4
    assert '"0": "unlabelled"' in problems[0].todo


def test_empty_maps(data):
    edit(data / "labels/p1_ED.nii.gz", lambda a: a * 0)
    change_case(data, 0, weak_label=None)
    edit(data / "scribbles/p2_ED.nii.gz", lambda a: a * 0 + 255)
    dense, weak = check_dataset(data).problems
    assert (dense.severity, dense.kind, dense.file) == ("warning", "empty_label", "labels/p1_ED.nii.gz")
    assert (weak.severity, weak.kind, weak.file) == ("warning", "empty_label", "scribbles/p2_ED.nii.gz")
    assert "nothing is drawn" in weak.problem


def test_a_weak_label_against_the_dense_one(data):
    """Classes 2 and 3 swapped in one scribble; a slip of few voxels in another is nothing."""
    weak = np.asarray(nib.load(data / "scribbles/p1_ED.nii.gz").dataobj)
    wrong = np.isin(weak, [2, 3]).sum() / (weak != 255).sum()
    edit(data / "scribbles/p1_ED.nii.gz", lambda a: np.where(a == 2, 3, np.where(a == 3, 2, a)).astype(np.uint8))
    edit(data / "scribbles/p2_ED.nii.gz", put((0, 0, 0), 3))
    problem = only(data)
    assert (problem.severity, problem.kind, problem.case) == ("warning", "weak_against_dense", "p1_ED")
    assert problem.problem.startswith(f"{wrong:.1%} of its drawn voxels")
    assert "'LV' where that says 'Myo'" in problem.problem


def test_the_inside_of_a_box_may_be_background(data):
    boxes = {"kind": "box", "values": {"0": "background", "3": "LV", "1": "RV", "2": "Myo", "255": "unlabelled"}}
    change(data, weak_label=boxes)
    edit(data / "scribbles/p1_ED.nii.gz", put((slice(1, 30), slice(0, 5)), 3))
    assert found(data) == []


def test_undrawn_means_absent_is_compared_with_the_dense_label(data):
    for i in range(4):
        edit(data / f"scribbles/p{i}_ED.nii.gz", lambda a: np.where((a == 2), 255, a).astype(np.uint8), dtype=np.uint8)
    kinds = [(p.severity, p.kind) for p in check_dataset(data).problems]
    assert ("warning", "undrawn") in kinds
    assert ("error", "class_undrawn") in kinds


def test_tags_against_maps(data):
    change_case(data, 0, tags=[1, 0, 1, -1])
    change_case(data, 1, slice_tags=[[1, 1, 1, 1]] * 4)
    change_case(data, 2, slice_tags=[[1, -1, 1, 1]] * 3)
    problems = check_dataset(data).problems
    assert {(p.severity, p.kind) for p in problems} == {("error", "tags")}
    assert [(p.case, p.file) for p in problems] == [
        ("p1_ED", "labels/p1_ED.nii.gz"),
        ("p1_ED", "scribbles/p1_ED.nii.gz"),
        ("p2_ED", "labels/p2_ED.nii.gz"),
        ("p3_ED", ""),
    ]
    assert "'tags' says that 'RV' is absent, but shown" in problems[0].problem
    assert "'slice_tags' says that 'RV' is present, but not shown by this map in slices [0]" in problems[2].problem
    assert "has 3 rows, but the volume has 4 slices" in problems[3].problem


def test_a_class_that_nothing_shows(data):
    for i in range(4):
        edit(data / f"scribbles/p{i}_ED.nii.gz", lambda a: np.where(a == 3, 255, a).astype(np.uint8))
    change(
        data, weak_label=json.loads((data / "dataset.json").read_text())["weak_label"] | {"undrawn_means_absent": 0 > 1}
    )
    problem = only(data)
    assert (problem.severity, problem.kind) == ("error", "class_undrawn")
    assert "'LV' is neither drawn nor tagged" in problem.problem
    assert "bound" in problem.todo
    change_case(data, 0, tags=[1, 1, 1, 1])
    problem = only(data)
    assert (problem.severity, problem.kind) == ("warning", "class_undrawn")
    assert "only tags say" in problem.problem
    change_case(data, 1, weak_label=None, tags=None)  # drawn densely: all classes are there
    change_case(data, 0, tags=None)
    assert found(data) == []


def test_declared_and_never_seen(data):
    values = {"0": "background", "1": "RV", "2": "Myo", "3": "LV", "4": "aorta"}
    change(data, labels=values, weak_label={"kind": "scribble", "values": values | {"255": "background"}})
    problems = {(p.severity, p.kind): p.problem for p in check_dataset(data).problems}
    assert problems["warning", "class_unseen"] == "no dense label shows ['aorta']"
    assert "'aorta' is neither drawn nor tagged" in problems["error", "class_undrawn"]
    assert "has no 'unlabelled'" in problems["warning", "value_unseen"]


def test_nothing_is_annotated(data):
    change(data, test=[], training=[{"patient": f"p{i}", "image": f"images/p{i}_ED.nii.gz"} for i in range(4)])
    assert ("error", "no_annotation", "", "") in found(data)


def test_unreadable_maps_do_not_make_a_class_missing(data):
    for i in range(1, 4):
        (data / f"scribbles/p{i}_ED.nii.gz").write_bytes(b"")
    assert {(severity, kind) for severity, kind, *_ in found(data)} == {("error", "unreadable")}


def test_label_maps_without_images(data):
    cases = [{"patient": f"p{i}", "label": f"labels/p{i}_ED.nii.gz"} for i in range(5 - 1)]
    change(data, training=cases[:3], test=cases[3:], weak_label=None, modality={})
    assert found(data) == []
    change(data, modality={"0": "MRI"})
    assert found(data) == [("error", "no_image", "", "")]
    change_case(data, 0, image="images/p0_ED.nii.gz")
    assert [(kind, case) for _, kind, case, _ in found(data)] == [("no_image", f"p{i}_ED") for i in (1, 2, 3)]


def test_a_quick_check_reads_headers_only(data):
    truncate(data / "images/p1_ED.nii.gz")
    edit(data / "labels/p2_ED.nii.gz", put((0, 0, 0), 7))
    edit(data / "scribbles/p3_ED.nii.gz", lambda a: a[:-1])
    result = check_dataset(data, quick=True)
    assert [(p.kind, p.case) for p in result.problems] == [("shape", "p3_ED")]
    assert result.classes == {}


def test_other_formats(data):
    text = (data / "dataset.json").read_text()
    for kind, suffix in (("images", "mha"), ("labels", "nrrd"), ("scribbles", "mhd")):
        for i in range(4):
            old, new = f"{kind}/p{i}_ED.nii.gz", f"{kind}/p{i}_ED.{suffix}"
            sitk.WriteImage(sitk.ReadImage(str(data / old)), str(data / new))
            text = text.replace(old, new)
    (data / "dataset.json").write_text(text)
    assert found(data) == found(data, quick=True) == []
    truncate(data / "images/p1_ED.mha")
    (data / "scribbles/p2_ED.raw").unlink()
    assert [(kind, case) for _, kind, case, _ in found(data)] == [("unreadable", "p1_ED"), ("unreadable", "p2_ED")]


def test_what_differs_between_cases(data):
    affine = nib.load(data / "images/p1_ED.nii.gz").affine
    for kind in ("images", "labels", "scribbles"):
        edit(data / kind / "p1_ED.nii.gz", affine=affine @ np.diag([4, 1, 1, 1]))
        edit(data / kind / "p2_ED.nii.gz", affine=affine @ np.diag([1, 1, -1, 1]))
    edit(data / "images/p3_ED.nii.gz", lambda a: a * np.float32(1000), dtype=np.float32)
    problems = check_dataset(data).problems
    assert [(p.severity, p.kind, p.case) for p in problems] == [
        ("warning", "spacing_range", ""), ("warning", "axes", ""), ("warning", "intensities", ""),
    ]  # fmt: skip
    assert "axis 0 goes from 2 mm (case 'p2_ED') to 8 mm (case 'p1_ED')" in problems[0].problem
    assert "1 of 4 cases (e.g. 'p2_ED') are stored mirrored to the others" in problems[1].problem
    assert "normalise each volume" in problems[2].todo


def test_axes_in_another_order_and_2d_files_among_3d_ones(data):
    for kind in ("images", "labels", "scribbles"):
        for i in range(4):
            edit(data / kind / f"p{i}_ED.nii.gz", affine=np.diag([1, 1, 8, 1]))
        edit(data / kind / "p1_ED.nii.gz", affine=np.diag([-1, -1, 8, 1]))
    problem = only(data)
    assert (problem.severity, problem.kind) == ("warning", "axes")
    assert "RAS in 3 (e.g. 'p2_ED'), LPS in 1 (e.g. 'p1_ED')" in problem.problem
    for kind in ("images", "labels", "scribbles"):
        edit(data / kind / "p1_ED.nii.gz", lambda a: a[:, :, 1])
    assert [(p.severity, p.kind, p.case) for p in check_dataset(data).problems] == [
        ("error", "axes", ""), ("warning", "one_slice", "p1_ED"),
    ]  # fmt: skip


def segmentation(data: Path, source: str, target: str, names: dict[int, str]) -> None:
    """Write a label map as 3D Slicer saves segmentations."""
    picture = sitk.ReadImage(str(data / source))
    for n, (value, name) in enumerate(names.items()):
        for key, text in {"ID": f"S{n}", "Name": name, "LabelValue": str(value), "Layer": "0"}.items():
            picture.SetMetaData(f"Segment{n}_{key}", text)
    sitk.WriteImage(picture, str(data / target), useCompression=True)


def test_segmentations_of_slicer(data):
    names = {1: "RV", 2: "myocardium", 3: "LV"}
    segmentation(data, "labels/p1_ED.nii.gz", "labels/p1.seg.nrrd", names)
    change_case(data, 0, label="labels/p1.seg.nrrd", segments={"myocardium": "Myo"})
    before = check_dataset(data)
    assert before.problems == []
    assert before.classes["Myo"]["cases"] == 4
    change_case(data, 0, segments=None)
    problem = only(data)
    assert (problem.severity, problem.kind, problem.file) == ("error", "values", "labels/p1.seg.nrrd")
    assert "['myocardium'] are no class" in problem.problem
    assert '"segments": {"myocardium": "?"}' in problem.todo
    assert found(data, quick=True) == []
    segmentation(data, "scribbles/p2_ED.nii.gz", "scribbles/p2.seg.nrrd", {0: "background", 1: "RV", 2: "LV", 3: "Myo"})
    change_case(data, 0, segments={"myocardium": "Myo"})
    change_case(data, 1, weak_label="scribbles/p2.seg.nrrd")
    problem = only(data)
    assert (problem.kind, problem.file) == ("weak_against_dense", "scribbles/p2.seg.nrrd")


def test_kinds_of_cases_decide_what_supervises(data):
    """A dense label beside tags alone is for scores; without tags it is a case drawn densely."""
    for i in range(3):
        change_case(data, i, weak_label=None, tags=[1, 1, 1, 1], weak_labels={"kind": "tags"})
    assert {(severity, kind) for severity, kind, *_ in found(data)} == {("warning", "class_undrawn")}
    change_case(data, 0, tags=None, weak_labels=None)
    assert found(data) == []


def test_no_voxel_is_unlabelled(data):
    for i in range(4):
        edit(data / f"scribbles/p{i}_ED.nii.gz", lambda a: np.where(a == 255, 0, a).astype(np.uint8))
    assert ("warning", "value_unseen", "", "") in found(data)


def test_classes_are_looked_for_where_the_split_file_trains(data):
    for i in (1, 2):
        edit(data / f"scribbles/p{i}_ED.nii.gz", lambda a: np.where(a == 1, 255, a).astype(np.uint8))
    change(
        data, weak_label=json.loads((data / "dataset.json").read_text())["weak_label"] | {"undrawn_means_absent": False}
    )
    (data / "split.json").write_text('{"training": ["p1", "p2"], "test": ["p3", "p0"]}')
    assert found(data) == []
    assert found(data, split="split.json") == [("error", "class_undrawn", "", "")]


def test_cases_with_other_classes(data):
    change_case(data, 0, labels={"0": "background", "1": "RV", "2": "Myo", "3": "LV", "4": "aorta"})
    kinds = {(severity, kind) for severity, kind, *_ in found(data)}
    assert kinds == {("warning", "classes_differ"), ("warning", "class_unseen"), ("error", "class_undrawn")}


def test_large_and_negative_values(data):
    labels = {"0": "background", "-1000": "RV", "2": "Myo", "3000000": "LV"}
    change(data, labels=labels)
    for i in range(4):
        edit(
            data / f"labels/p{i}_ED.nii.gz",
            lambda a: np.select([a == 1, a == 3], [-1000, 3000000], a),
            dtype=np.int32,
        )
    result = check_dataset(data)
    assert result.problems == []
    assert result.classes["LV"]["cases"] == 4


def test_many_faults_at_once_are_all_found(data):
    (data / "images/p0_ED.nii.gz").unlink()
    edit(data / "images/p1_ED.nii.gz", put((0, 0, 0), np.nan), dtype=np.float32)
    edit(data / "labels/p1_ED.nii.gz", put((0, 0, 0), 9))
    (data / "scribbles/p1_ED.nii.gz").write_bytes(b"")
    edit(data / "scribbles/p2_ED.nii.gz", lambda a: a[1:])
    change_case(data, 1, patient=None, group=5)
    change_case(data, 2, patient="p0", tags=[1, 1])
    assert sorted((kind, case) for _, kind, case, _ in found(data)) == sorted(
        [
            ("missing", "p0_ED"),
            ("not_finite", "p1_ED"),
            ("values", "p1_ED"),
            ("unreadable", "p1_ED"),
            ("shape", "p2_ED"),
            ("format", "p2_ED"),
            ("format", "p2_ED"),
            ("format", "p3_ED"),
            ("leak", ""),
            ("group", ""),
        ]
    )


@pytest.mark.parametrize(
    "name",
    ["acdc", "brats2013_flair_t1c", "hippocampus", "open_ms_mni", "prostate_isbi2013_case", "prostate_zones",
     "sct_multicontrast", "tcga_lgg_silver", "totalseg_example"],
)  # fmt: skip
def test_real_data_passes(real_data, name):
    problems = check_dataset(real_data(name)).problems
    expected = {
        "hippocampus": {"intensities", "default_geometry"},
        "sct_multicontrast": {"few_patients", "spacing_range", "axes"},
        "tcga_lgg_silver": {"few_patients", "class_unseen"},
        "totalseg_example": {"few_patients", "axes", "classes_differ"},
        "acdc": set(),
        "prostate_zones": set(),
    }
    assert [p for p in problems if p.severity == "error"] == []
    assert {p.kind for p in problems} == expected.get(name, {"few_patients"})
