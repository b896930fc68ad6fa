# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from wss_monai.__main__ import main
from wss_monai.data import read_dataset
from wss_monai.data.phantoms.cardiac import Patient, Phase, make_patient, synthesize_cardiac
from wss_monai.data.phantoms.cardiac_anatomy import GROUPS, LV, MYO, PHASES, RV, Ventricles, sample_ventricles
from wss_monai.data.phantoms.cardiac_scribbles import draw_scribbles

# Smallest and largest volume (ml) of the 40 development patients of ACDC, rounded outwards by some 10 %.
ML = {"ED": {RV: (64, 285), MYO: (30, 265), LV: (51, 330)}, "ES": {RV: (23, 215), MYO: (37, 325), LV: (20, 310)}}
SEEDS = range(4)


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    """A patient of each group, on a grid of twice the pixel size of real ones."""
    return [
        make_patient(np.random.RandomState(seed), group=GROUPS[seed % 4], size=(112, 112), spacing=(2.5, 2.5, 9.0))
        for seed in SEEDS
    ]


@pytest.fixture(scope="module")
def full() -> Patient:
    return make_patient(np.random.RandomState(3), group="NOR")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "PHANTOM"
    synthesize_cardiac(out, 3, seed=5)
    return out


def volumes(patients: list[Patient]):
    return [(patient, name, phase) for patient in patients for name, phase in patient.phases.items()]


def test_same_state_same_patient(full):
    again = make_patient(np.random.RandomState(3), group="NOR")
    assert (again.affine == full.affine).all()
    for name in PHASES:
        for field in ("image", "label", "scribble"):
            one, two = getattr(full.phases[name], field), getattr(again.phases[name], field)
            assert one.dtype == two.dtype and one.tobytes() == two.tobytes()


def test_another_seed_another_patient(full):
    other = make_patient(np.random.RandomState(4), group="NOR")
    assert not np.allclose(other.affine, full.affine)
    assert other.phases["ED"].image.shape != full.phases["ED"].image.shape or not np.array_equal(
        other.phases["ED"].label, full.phases["ED"].label
    )


def test_default_grid_is_that_of_cine_mri(full):
    phase = full.phases["ED"]
    spacing = np.linalg.norm(full.affine[:3, :3], axis=0)
    assert 1.2 <= spacing[0] == pytest.approx(spacing[1]) and spacing[1] <= 1.7 and 8 <= spacing[2] <= 10
    assert all(160 <= n <= 224 for n in phase.image.shape[:2]) and 8 <= phase.image.shape[2] <= 11
    assert all(225 <= n * mm <= 345 for n, mm in zip(phase.image.shape[:2], spacing[:2], strict=True))
    assert phase.image.dtype == np.int16 and phase.label.dtype == phase.scribble.dtype == np.uint8
    assert phase.image.min() >= 0 and phase.image.max() > 100


def test_affine_is_a_scaled_rotation_and_the_right_ventricle_lies_at_the_right(patients):
    for patient in patients:
        directions = patient.affine[:3, :3] / np.linalg.norm(patient.affine[:3, :3], axis=0)
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
        assert np.linalg.det(directions) == pytest.approx(1)
        np.testing.assert_allclose(np.linalg.norm(patient.affine[:3, :3], axis=0), (2.5, 2.5, 9.0))
        label = patient.phases["ED"].label
        right, left = ((patient.affine @ [*np.argwhere(label == value).mean(0), 1])[:3] for value in (RV, LV))
        assert right[0] > left[0] and right[1] > left[1], "RAS: to the right and in front of the left ventricle"
        assert np.abs(left).max() < 100, "near the isocentre"


def test_volumes_are_those_of_patients(patients):
    for patient, name, phase in volumes(patients):
        voxel = 2.5 * 2.5 * 9.0 / 1000
        for value, (low, high) in ML[name].items():
            assert low <= (phase.label == value).sum() * voxel <= high, (patient.group, name, value)


@pytest.mark.parametrize("seed", range(10))
def test_volumes_stay_in_range_over_many_hearts(seed):
    axis = np.arange(-100, 60, 3.0)
    x, y, _ = np.meshgrid(axis, axis, np.zeros(14), indexing="ij")
    z = np.arange(14) * 8.0
    for group in GROUPS:
        hearts = sample_ventricles(np.random.RandomState(100 + seed), group)
        for name, shape in hearts.items():
            label = shape.label(shape.distances(x, y, z), 9.0)
            for value, (low, high) in ML[name].items():
                assert low <= (label == value).sum() * 3 * 3 * 8 / 1000 <= high, (group, name, value)


def test_about_a_quarter_of_the_patients_is_for_test_in_every_group(tmp_path, monkeypatch):
    tiny = np.zeros((2, 2, 2), np.uint8)
    monkeypatch.setattr(
        "wss_monai.data.phantoms.cardiac.make_patient",
        lambda R, group: Patient(group, np.eye(4), {name: Phase(tiny, tiny, tiny) for name in PHASES}),
    )
    raw = json.loads(synthesize_cardiac(tmp_path, 32, seed=0).read_text())
    assert len(raw["training"]) == 2 * 24 and len(raw["test"]) == 2 * 8
    assert not {c["patient"] for c in raw["training"]} & {c["patient"] for c in raw["test"]}
    assert sorted(c["group"] for c in raw["test"]) == sorted(GROUPS * 4)


def test_groups_differ_as_the_diseases_do():
    def mean(group, what):
        return np.mean([what(sample_ventricles(np.random.RandomState(s), group)) for s in range(12)])

    def radius(hearts: dict[str, Ventricles]) -> float:
        return hearts["ED"].radius

    def wall(hearts: dict[str, Ventricles]) -> float:
        return hearts["ED"].wall * (1 + hearts["ED"].asymmetry)

    def crescent(hearts: dict[str, Ventricles]) -> float:
        return hearts["ED"].rv_depth

    assert mean("DCM", radius) > 1.15 * mean("NOR", radius)
    assert mean("HCM", wall) > 1.5 * mean("NOR", wall)
    assert mean("RV", crescent) > 1.15 * mean("NOR", crescent)


@pytest.mark.parametrize("group", GROUPS)
def test_solved_volumes_are_the_volumes_of_the_surfaces(group):
    # Integrate the left ventricle's label on a fine grid: bullet of radius R and length L, solved for its volume.
    shape = sample_ventricles(np.random.RandomState(1), group)["ED"]
    axis = np.arange(-80, 80, 2.0)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    z = np.arange(0.5, shape.length + shape.apex_wall, 1.0)
    shape_3d = (*x.shape, len(z))
    distances = shape.distances(np.broadcast_to(x[..., None], shape_3d), np.broadcast_to(y[..., None], shape_3d), z)
    t = (np.arange(400) + 0.5) / 400
    outline = (shape.outline(np.linspace(-np.pi, np.pi, 360, endpoint=False)) ** 2).mean()
    bullet = ((1 - t ** shape.taper[0]) ** (2 * shape.taper[1])).mean() * outline * np.pi
    cavity = bullet * shape.radius**2 * shape.length
    muscle = bullet * (shape.radius + shape.wall) ** 2 * (shape.length + shape.apex_wall) - cavity
    label = shape.label(distances, 4.0)
    assert 4 * (label == LV).sum() == pytest.approx(cavity, rel=0.03)
    assert 4 * (label == MYO).sum() == pytest.approx(muscle, rel=0.03)


def test_ventricles_contract_on_one_axis(patients):
    for patient in patients:
        end_diastole, end_systole = (patient.phases[name].label for name in PHASES)
        for value in (LV, RV):
            assert (end_diastole == value).sum() > 1.1 * (end_systole == value).sum()
        assert (end_systole == MYO).sum() == pytest.approx((end_diastole == MYO).sum(), rel=0.2)
        middle = [np.argwhere(label == LV)[:, :2].mean(0) for label in (end_diastole, end_systole)]
        assert np.linalg.norm((middle[0] - middle[1]) * 2.5) < 8


def test_labels_and_left_ventricle_inside_the_myocardium(patients):
    for _, name, phase in volumes(patients):
        assert set(np.unique(phase.label)) == {0, RV, MYO, LV}
        for k in range(phase.label.shape[2]):
            slice_ = phase.label[:, :, k]
            if (slice_ == LV).any():
                ring = ndimage.binary_dilation(slice_ == LV) & (slice_ != LV)
                assert (slice_[ring] == MYO).mean() > 0.98, (name, k)
                assert ndimage.label(slice_ == LV)[1] == 1


def test_right_ventricle_is_absent_at_the_apex_and_shrinks_towards_it(patients):
    for _, _, phase in volumes(patients):
        shown = [np.flatnonzero((phase.label == value).any((0, 1))) for value in (RV, MYO)]
        assert shown[1][0] < shown[0][0], "slices run from the apex to the base"
        areas = (phase.label == RV).sum((0, 1))[shown[0]]
        assert areas[0] < 0.5 * areas.max()
        assert (np.diff(shown[1]) == 1).all() and (np.diff(shown[0]) == 1).all()


def test_papillary_muscles_are_dark_but_left_ventricle(full):
    phase = full.phases["ED"]
    blood, muscle = np.median(phase.image[phase.label == LV]), np.median(phase.image[phase.label == MYO])
    inner = ndimage.binary_erosion(phase.label == LV, np.ones((3, 3, 1)))
    dark = (phase.image < (blood + muscle) / 2) & inner
    assert 0.005 < dark.sum() / inner.sum() < 0.3


def test_contrast_is_that_of_cine_mri_and_distractors_are_as_bright(patients):
    # ACDC: myocardium over left ventricle 0.33 to 0.62, right over left 0.66 to 1.04, 4 to 26 % of the background
    # brighter than 0.8 of the left ventricle.
    for _, _, phase in volumes(patients):
        image = phase.image.astype(float)
        left = image[phase.label == LV].mean()
        assert 0.3 < image[phase.label == MYO].mean() / left < 0.65
        assert 0.6 < image[phase.label == RV].mean() / left < 1.25
        assert 0.04 < (image[phase.label == 0] > 0.8 * left).mean() < 0.3


def test_scribbles_are_right_thin_and_complete(patients):
    for _, name, phase in volumes(patients):
        drawn = phase.scribble != 255
        assert (phase.scribble[drawn] == phase.label[drawn]).all()
        for k in range(phase.label.shape[2]):
            present, seen = (set(np.unique(a[:, :, k])) - {255} for a in (phase.label, phase.scribble))
            assert seen == present, (name, k)
        share = [drawn[phase.label == value].mean() for value in (0, RV, MYO, LV)]
        assert share[0] < 0.03 and all(0.02 < s < 0.45 for s in share[1:])


def test_scribbles_cover_about_one_percent_of_a_full_size_volume(full):
    for phase in full.phases.values():
        assert 0.004 < (phase.scribble != 255).mean() < 0.016


def test_scribbles_of_a_slice_without_heart_are_background():
    label = np.zeros((64, 64, 2), np.uint8)
    label[24:40, 24:40, 0] = LV
    weak = draw_scribbles(label, np.random.RandomState(0), 2.0)
    assert set(np.unique(weak[:, :, 1])) == {0, 255}
    assert set(np.unique(weak[:, :, 0])) == {0, LV, 255}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "XYZ"}, "group must be one of NOR, DCM, HCM, RV, got 'XYZ'"),
        ({"spacing": (1.5, 1.5, 0.0)}, "spacing must be three positive numbers"),
        ({"size": (64, 64), "spacing": (1.5, 1.5, 8.0)}, "covers less than 200 mm"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_patient(np.random.RandomState(0), **options)


@pytest.mark.parametrize(("patients", "seed", "message"), [(0, 0, "patients must be 1"), (2, -1, "seed must be 0")])
def test_bad_numbers_write_nothing(tmp_path, patients, seed, message):
    with pytest.raises(ValueError, match=message):
        synthesize_cardiac(tmp_path / "out", patients, seed)
    assert not (tmp_path / "out").exists()


def test_dataset_file_says_what_the_files_hold(written):
    raw = json.loads((written / "dataset.json").read_text())
    assert raw["labels"] == {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
    assert raw["slice_axis"] == 2 and raw["modality"] == {"0": "MRI (synthetic cine)"}
    assert raw["weak_label"] == {
        "kind": "scribble",
        "values": raw["labels"] | {"255": "unlabelled"},
        "undrawn_means_absent": True,
    }
    assert raw["generator"]["seed"] == 5 and "synthesize cardiac" in raw["generator"]["command"]
    training, test = ({case["patient"] for case in raw[name]} for name in ("training", "test"))
    assert training == {"patient001", "patient002"} and test == {"patient003"}
    cases = raw["training"] + raw["test"]
    assert [case["group"] for case in cases if case["phase"] == "ED"] == ["NOR", "DCM", "HCM"]
    for case in cases:
        assert case["case"] == f"{case['patient']}_{case['phase']}"
        image, label, weak = (nib.load(written / case[key]) for key in ("image", "label", "weak_label"))
        assert image.shape == label.shape == weak.shape
        np.testing.assert_array_equal(image.affine, label.affine)
        np.testing.assert_array_equal(image.affine, weak.affine)
        assert [i.get_data_dtype() for i in (image, label, weak)] == [np.int16, np.uint8, np.uint8]
        assert image.header["sform_code"] == image.header["qform_code"] == 1
        np.testing.assert_allclose(image.get_qform(), image.affine, atol=1e-3)
    assert read_dataset(written / "dataset.json").class_names == ["background", "RV", "Myo", "LV"]


def test_patients_do_not_depend_on_their_number(written, tmp_path):
    synthesize_cardiac(tmp_path, 1, seed=5)
    for folder in ("images", "labels", "scribbles"):
        for phase in PHASES:
            name = f"{folder}/patient001_{phase}.nii.gz"
            assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_verb_writes_and_refuses_a_folder_in_use(tmp_path, capsys):
    out = tmp_path / "PHANTOM"
    words = ["synthesize", "cardiac", "--out", str(out), "--patients", "1", "--seed", "2"]
    assert main(words) == 0
    assert "1 training and 0 test patients, 2 volumes" in capsys.readouterr().out
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "--out" in message and str(out) in message and "--overwrite" in message
    before = (out / "labels/patient001_ED.nii.gz").read_bytes()
    assert main([*words, "--overwrite"]) == 0
    assert (out / "labels/patient001_ED.nii.gz").read_bytes() == before
    assert main(["synthesize", "cardiac", "--out", str(out / "dataset.json")]) == 2
    assert "is a file" in capsys.readouterr().err
