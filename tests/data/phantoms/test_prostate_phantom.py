# SPDX-License-Identifier: Apache-2.0
"""Generated T2 and ADC of the prostate on zone masks: grids, slices outside the gland, two contrasts of one anatomy."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from wss_monai.data.phantoms.prostate import make_pair, synthesize_prostate
from wss_monai.data.phantoms.prostate_zones import (
    Zones,
    checked_zones,
    depth,
    generated_zones,
    on_grid,
    with_slices_outside,
)
from wss_monai.data.phantoms.two_contrasts import TwoContrasts, acquire_adc, typical
from wss_monai.data.schema import read_dataset, write_dataset

RAS = np.array([[0.6, 0, 0, -50], [0, 0.6, 0, 20], [0, 0, 3.6, 7], [0, 0, 0, 1.0]])


def ball(shape: tuple[int, int, int] = (120, 120, 12), affine: np.ndarray = RAS, shift: int = 0) -> Zones:
    """An ellipsoid of two zones: the front (higher second index) is transition zone."""
    at = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    at[0] -= shift
    inside = (at[0] / 36) ** 2 + (at[1] / 28) ** 2 + (at[2] / 5) ** 2 < 1
    return Zones((inside * np.where(at[1] > -8, 2, 1)).astype(np.uint8), affine)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def world(zones: Zones) -> np.ndarray:
    return zones.affine[:3, :3] @ np.argwhere(zones.label > 0).mean(0) + zones.affine[:3, 3]


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(R, generated_zones(R, 96, None)) for R in (np.random.RandomState([0, i]) for i in range(4))]


def test_a_mask_is_measured_in_the_frame_of_the_pelvis():
    x, y, z = ball().place()
    assert x[0, 0, 0] > 0 > x[-1, 0, 0]  # the index grows to the patient's right, x to the left
    assert y[0, 0, 0] > 0 > y[0, -1, 0] and z[0] < 0 < z[-1]
    gland = ball().gland()
    assert gland.half == pytest.approx((0.6 * 36, 0.6 * 28, 3.6 * 5), abs=0.6)
    assert (gland.tilt, gland.lean) == pytest.approx((0, 0), abs=1e-6)
    turned = Zones(ball().label[::-1, :, ::-1], RAS @ np.diag([-1, 1, -1, 1]))
    there = turned.place()
    np.testing.assert_allclose(there[0], x[::-1], atol=1e-5)
    np.testing.assert_allclose(there[1], y, atol=1e-5)
    np.testing.assert_allclose(there[2], z[::-1], atol=1e-5)
    assert turned.gland().half == pytest.approx(gland.half)


def test_painting_by_depth_fills_exactly_the_mask():
    mask = ball().label == 2
    canvas = TwoContrasts(*(axis.astype(np.float32) for axis in np.indices(mask.shape)[:2]), np.arange(12.0), 0.6)
    canvas.paint(depth(mask, 0.6), 0.7, adc=1.5)
    np.testing.assert_array_equal(canvas.adc == 1.5, mask)
    assert canvas.water[~mask].max() < 0.02 < 0.69 < canvas.water[mask].min()


def test_strokes_bring_the_coefficient_of_their_tissue_unless_told_otherwise():
    place = np.zeros((8, 8, 2), np.float32)
    canvas = TwoContrasts(place, place, np.arange(2.0), 1.0, variation=2.0)
    canvas.paint(place - 9, 0.17)
    assert canvas.adc == pytest.approx(2 * 1.2 * 0.17 / 0.171, rel=1e-4)
    with canvas.coefficient(0.8):
        canvas.paint(place - 9, 0.5)
    assert (canvas.adc == np.float32(0.8)).all() and (canvas.water == np.float32(0.5)).all()
    with canvas.only("T2"):
        canvas.paint(place - 9, 0.9, 0.1, adc=3)
    assert (canvas.adc == np.float32(0.8)).all() and (canvas.water == np.float32(0.9)).all()
    with canvas.only("ADC"):
        canvas.paint(place - 9, 0.1, adc=7)
    assert (canvas.adc == np.float32(3.1)).all() and (canvas.water == np.float32(0.9)).all()
    assert typical(0.02, 0.85) < 0.05 < 1 < typical(0.17, 0) < typical(0.8, 0) < 2 < typical(1.5, 0)


def test_diffusion_is_sampled_where_the_anatomy_is():
    place = np.zeros((101, 90, 2), np.float32)
    canvas = TwoContrasts(place, place, np.arange(2.0), 0.6)
    canvas.adc[20:50, 30:70] = 2.0
    image = acquire_adc(canvas, np.random.RandomState(0), 0.01)
    assert image.shape == place.shape and image.dtype == np.int16
    np.testing.assert_allclose(ndimage.center_of_mass(image > 1000), (34.5, 49.5, 0.5), atol=0.35)
    assert image[30:40, 40:60].mean() == pytest.approx(2000, rel=0.01)


def test_slices_are_added_until_a_third_shows_no_gland():
    for seed in range(8):
        R = np.random.RandomState(seed)
        padded = with_slices_outside(ball(), R)
        free = np.flatnonzero(padded.inside)[[0, -1]]
        assert free[0] >= 1 and free[1] <= len(padded.inside) - 2
        assert 0.6 < padded.inside.mean() < 0.75
        np.testing.assert_allclose(world(padded), world(ball()), atol=1e-9)
    wide = Zones(np.pad(ball().label, ((0, 0), (0, 0), (30, 30))), RAS)
    np.testing.assert_array_equal(with_slices_outside(wide, R).label, wide.label)


@pytest.mark.parametrize(("size", "field"), [(48, None), (64, 60), (None, 66), (200, 90)])
def test_another_grid_keeps_the_place_of_the_gland(size, field):
    there = on_grid(ball(), size, field, "x")
    side = field or 72
    assert there.label.shape[:2] == (size or 110,) * 2
    np.testing.assert_allclose(there.spacing, [side / (size or 110)] * 2 + [3.6])
    np.testing.assert_allclose(world(there), world(ball()), atol=0.4)
    volumes = [(zones.label > 0).sum() * zones.spacing.prod() for zones in (there, ball())]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.03)
    same = on_grid(there, size or 110, None, "x")
    np.testing.assert_array_equal(same.label, there.label)
    np.testing.assert_allclose(same.affine, there.affine)


def test_both_images_share_the_grid_of_the_label(pairs):
    for pair in pairs:
        assert pair.t2.shape == pair.adc.shape == pair.label.shape and pair.t2.shape[:2] == (96, 96)
        assert pair.t2.dtype == pair.adc.dtype == np.int16 and pair.label.dtype == np.uint8
        assert pair.t2.min() >= 0 and pair.adc.min() >= 0 and pair.t2.std() > 0 and 2000 < pair.adc.max() < 5000
        assert set(np.unique(pair.label)) == {0, 1, 2}
        shown = (pair.label > 0).any((0, 1))
        assert not shown[0] and not shown[-1] and 0.5 < shown.mean() < 0.75


def test_contrasts_are_those_of_t2_and_diffusion(pairs):
    for pair in pairs:
        zone = [np.median(pair.adc[pair.label == value]) for value in (1, 2)]
        assert 1000 < zone[1] < zone[0] < 2200
        assert np.median(pair.t2[pair.label == 1]) > np.median(pair.t2[pair.label == 2])
        bright = pair.t2 > np.quantile(pair.t2, 0.7)  # fat
        assert np.median(pair.adc[bright]) < 500


def test_no_single_threshold_finds_the_gland(pairs):
    """The best window of values, chosen with the mask in hand, and Otsu's threshold."""
    for pair in pairs:
        for image, least in ((pair.t2, 0.2), (pair.adc, 0.4)):
            smooth, gland = ndimage.gaussian_filter(image.astype(float), (0.7, 0.7, 0)), pair.label > 0
            edges = np.quantile(smooth, np.linspace(0, 1, 40))
            inside, every = (
                np.r_[0, np.histogram(values, edges)[0].cumsum()] for values in (smooth[gland], smooth.ravel())
            )
            best = max(
                2 * (inside[j] - inside[i]) / (every[j] - every[i] + gland.sum())
                for i in range(40) for j in range(i + 1, 40)
            )  # fmt: skip
            assert best < least
            above = smooth > threshold_otsu(smooth)
            assert 2 * (above & gland).sum() / (above.sum() + gland.sum()) < 0.25


def test_equal_states_give_equal_cases_and_others_differ(pairs):
    R = np.random.RandomState([0, 1])
    again = make_pair(R, generated_zones(R, 96, None))
    for name in ("t2", "adc", "label", "affine"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pairs[1], name))
    assert len({pair.adc.tobytes() for pair in pairs}) == 4
    other = make_pair(np.random.RandomState(1), ball()), make_pair(np.random.RandomState(2), ball())
    assert (other[0].t2[:, :, :10] != other[1].t2[:, :, :10]).mean() > 0.5


def test_a_larger_set_begins_with_the_smaller_one(tmp_path):
    for name, number in (("small", 2), ("large", 3)):
        path = synthesize_prostate(tmp_path / name, None, number, 5, test=1, size=32)
    content = json.loads(path.read_text())
    assert [len(content[part]) for part in ("training", "test")] == [2, 1]
    small, large = files(tmp_path / "small"), files(tmp_path / "large")
    assert len(small) == 2 * 3 + 1
    for name in small:
        assert (small[name] == large[name]) == (name != "dataset.json")


def write_zones(folder, zones: list[Zones], patients: list[str] | None = None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, mask in enumerate(zones):
        nib.save(nib.Nifti1Image(mask.label, mask.affine), folder / f"mask{i}.nii.gz")
        entries.append({"label": f"mask{i}.nii.gz", "patient": (patients or "abcdefg")[i]})
    content = {"name": "Zones", "labels": {"0": "background", "1": "pz", "2": "tz"}, "training": entries}
    write_dataset(folder, content | more)
    return folder


def test_masks_of_a_data_set_are_the_labels(tmp_path):
    oblique = ball(affine=RAS @ np.array([[-1, 0, 0, 119], [0, 0.9, -0.1, 0], [0, 0.1, 1.2, 0], [0, 0, 0, 1.0]]))
    folder = write_zones(tmp_path / "zones", [ball(), oblique], ["p", "q"], licence="CC BY-SA 4.0")
    data = read_dataset(synthesize_prostate(tmp_path / "out", folder, None, 0, test=1, keep_zones=True))
    assert data.class_names == ["background", "peripheral zone", "transition zone"]
    assert data.raw["modality"] == {"0": "T2", "1": "ADC"} and data.raw["licence"] == "CC BY-SA 4.0"
    assert "Zones" in data.raw["description"] and "generated" in data.raw["description"]
    assert [case["patient"] for case in data.training + data.test] == ["p", "q"]
    for case, mask in zip(data.training + data.test, (ball(), oblique), strict=True):
        pictures = [nib.load(path) for path in [*data.file_of(case, "image"), data.file_of(case, "label")]]
        for picture in pictures:
            np.testing.assert_allclose(picture.affine, pictures[0].affine)
            assert picture.shape == pictures[0].shape
        label = np.asarray(pictures[2].dataobj)
        written = Zones(label, pictures[2].affine)
        np.testing.assert_allclose(world(written), world(mask), atol=1e-3)
        assert (label > 0).sum() == (mask.label > 0).sum()
        shown = np.stack([(label == value).any((0, 1)) for value in range(3)], 1).astype(int)
        np.testing.assert_array_equal(case["slice_tags"], shown)


def test_a_patient_is_on_one_side_of_the_split(tmp_path):
    folder = write_zones(tmp_path / "zones", [ball((60, 60, 12))] * 3, ["p", "q", "p"])
    data = read_dataset(synthesize_prostate(tmp_path / "out", folder, None, 0, test=1, size=32))
    assert [case["patient"] for case in data.training] == ["p", "p"]
    assert [case["patient"] for case in data.test] == ["q"]


def test_a_gland_of_one_zone_and_one_slice_is_painted():
    label = np.zeros((64, 64, 3), np.uint8)
    label[20:44, 24:40, 1] = 1
    pair = make_pair(np.random.RandomState(0), Zones(label, np.diag([1.5, 1.5, 4, 1])))
    assert pair.label.any((0, 1)).sum() == 1 and pair.label.max() == 1


@pytest.mark.parametrize(
    ("label", "affine", "message"),
    [
        (np.zeros((9, 9, 3)), RAS, "no voxel of the prostate"),
        (np.full((9, 9, 3), 3), RAS, "values \\[3\\] in a zone map"),
        (np.full((9, 9, 3), 0.5), RAS, "values \\[0.5\\] in a zone map"),
        (np.ones((9, 9)), RAS, "has 3 axes, this one has the shape \\(9, 9\\)"),
        (np.ones((9, 9, 3)), RAS[:, [0, 2, 1, 3]], "the third axis runs to 'A'"),
    ],
)
def test_masks_that_are_no_zones_are_refused(label, affine, message):
    with pytest.raises(ValueError, match="file.nii: .*" + message):
        checked_zones(label, affine, "file.nii")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patients": 0}, "patients must be 1 or more"),
        ({"patients": 3}, "patients must be at most 2"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"size": 8}, "size must be 24 pixels or more, got 8"),
        ({"field": 30}, "field must lie between 60 and 1000 mm, got 30"),
        ({"test": 2}, "leave a patient to train on, got 2 of 2"),
        ({"test": -1}, "test must be 0 or more"),
        ({"field": float("nan")}, "field must lie between"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(tmp_path, changes, message):
    folder = write_zones(tmp_path / "zones", [ball(), ball()], ["p", "q"])
    with pytest.raises(ValueError, match=message):
        synthesize_prostate(tmp_path / "out", folder, **{"patients": None, "seed": 0, **changes})
    assert not (tmp_path / "out").exists()


def test_a_field_that_cuts_one_gland_names_it_before_anything_is_written(tmp_path):
    folder = write_zones(tmp_path / "zones", [ball(), ball(shift=20)], ["p", "q"])
    with pytest.raises(ValueError, match="mask1: --field 60 mm cuts the gland"):
        synthesize_prostate(tmp_path / "out", folder, None, 0, field=60.0)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match="no data set folder"):
        synthesize_prostate(tmp_path / "out", tmp_path / "none", None, 0)


def test_expert_masks_keep_their_grid_and_volume(tmp_path, real_data):
    zones = read_dataset(real_data("prostate_zones"))
    data = read_dataset(synthesize_prostate(tmp_path / "out", zones.root, 2, 0, test=1, size=96))
    assert [c["patient"] for c in data.training + data.test] == [c["patient"] for c in zones.training[:2]]
    for case, before in zip(data.training + data.test, zones.training, strict=False):
        pictures = [nib.load(file) for file in (data.file_of(case, "label"), zones.file_of(before, "label"))]
        there, mask = (Zones(np.asarray(picture.dataobj), picture.affine) for picture in pictures)
        np.testing.assert_allclose(world(there), world(mask), atol=0.3)
        volumes = [(zone.label > 0).sum() * zone.spacing.prod() for zone in (there, mask)]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.03)
        assert 0.55 < there.inside.mean() < 0.75
