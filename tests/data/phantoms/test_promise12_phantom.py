# SPDX-License-Identifier: Apache-2.0
"""Generated prostate MRI: geometry of the gland, image, and files of the release's layout."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from wss_monai.__main__ import main
from wss_monai.data.phantoms.promise12 import make_case, synthesize_promise12
from wss_monai.data.phantoms.prostate_anatomy import Gland, sample_gland

BALL = Gland(
    half=(20.0, 10.0, 20.0), power=2, ends=(2, 2), taper=0, tilt=0.5, lean=0, notch=0, harmonics=(), centre=0.6
)  # fmt: skip


def grid(step: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = np.arange(-40, 40.5, step, dtype=np.float32)
    return place[:, None, None], place[None, :, None], place


@pytest.fixture(scope="module")
def cases():
    return [make_case(np.random.RandomState([0, i]), 96) for i in range(5)]


def test_a_gland_without_deformation_is_an_ellipsoid():
    x, y, z = grid()
    inside = BALL.outside(x, y, z) < 0
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 20 * 10 * 20, rel=0.01)
    np.testing.assert_allclose(ndimage.center_of_mass(inside[:, :, 50]), (40, 40 + 0.5 * 10), atol=0.1)
    np.testing.assert_allclose(BALL.profile(np.array([0, 12, -12, 20, 33])), [1, 0.8, 0.8, 0, 0], atol=1e-6)
    assert BALL.outside(np.array(25.0), np.array(0.0), np.array(0.0)) == pytest.approx(5)


def test_the_central_part_lies_inside_in_front_and_not_at_the_apex():
    x, y, z = grid()
    outside, central = BALL.outside(x, y, z) < 0, BALL.central(x, y, z) < 0
    assert not (central & ~outside).any()
    middle = 40
    assert ndimage.center_of_mass(central[:, :, middle])[1] < ndimage.center_of_mass(outside[:, :, middle])[1]
    assert not central[:, :, z < -15].any() and outside[:, :, z < -15].any()


def test_sizes_are_those_of_prostates():
    x, y, z = grid()
    volumes = [(sample_gland(np.random.RandomState(i)).outside(x, y, z) < 0).sum() / 1000 for i in range(30)]
    assert 18 < min(volumes) < 35 and 70 < max(volumes) < 120


def test_image_and_mask_share_a_realistic_grid(cases):
    for case in cases:
        assert case.image.dtype == np.int16 and case.mask.dtype == np.uint8
        assert case.image.shape == case.mask.shape and case.image.shape[:2] == (96, 96)
        assert 20 <= case.image.shape[2] <= 30 and 3 <= case.spacing[2] <= 4
        assert 175 < 96 * case.spacing[0] < 205
        np.testing.assert_allclose(case.direction @ case.direction.T, np.eye(3), atol=1e-12)


def test_the_gland_is_one_piece_with_empty_slices_on_both_sides(cases):
    for case in cases:
        assert ndimage.label(case.mask)[1] == 1
        areas = case.mask.sum((0, 1)) * case.spacing[0] ** 2
        assert areas[0] == areas[-1] == 0
        assert areas[areas > 0].min() >= 60 and 500 < areas.max() < 5000


def test_no_threshold_separates_the_gland(cases):
    """The best window of grey values, chosen with the mask in hand, is far from the gland."""
    for case in cases:
        image = ndimage.gaussian_filter(case.image.astype(float), (1, 1, 0))
        edges = np.quantile(image, np.linspace(0, 1, 25))
        inside = np.histogram(image[case.mask > 0], edges)[0].cumsum()
        every = np.histogram(image, edges)[0].cumsum()
        best = max(
            2 * (inside[j] - inside[i]) / (every[j] - every[i] + case.mask.sum())
            for i in range(len(every)) for j in range(i + 1, len(every))
        )  # fmt: skip
        assert best < 0.3


def test_equal_states_give_equal_cases_and_others_differ(cases):
    again = make_case(np.random.RandomState([0, 1]), 96)
    np.testing.assert_array_equal(again.image, cases[1].image)
    np.testing.assert_array_equal(again.mask, cases[1].mask)
    assert len({case.image.tobytes() for case in cases}) == len(cases)
    assert len({case.spacing for case in cases}) > 1


def test_files_are_those_of_the_release(tmp_path, capsys):
    words = ["synthesize", "promise12", "--out", str(tmp_path / "release"), "--seed", "3", "--size", "32"]
    assert main([*words, "--cases", "2", "--test", "1"]) == 0
    assert "release: 2 cases with a segmentation and 1 without" in capsys.readouterr().out
    found = sorted(str(path.relative_to(tmp_path / "release")) for path in tmp_path.rglob("*.*"))
    names = [f"Case0{i}{end}" for i in range(2) for end in (".mhd", ".raw", "_segmentation.mhd", "_segmentation.raw")]
    assert found == ["test_data/Case00.mhd", "test_data/Case00.raw", *(f"training_data/{name}" for name in names)]
    case = make_case(np.random.RandomState([3, 1]), 32)
    for end, array in (("", case.image), ("_segmentation", case.mask)):
        picture = sitk.ReadImage(str(tmp_path / "release" / "training_data" / f"Case01{end}.mhd"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(picture).T, array)
        np.testing.assert_allclose(picture.GetSpacing(), case.spacing)
        np.testing.assert_allclose(picture.GetDirection(), case.direction.ravel())
    header = (tmp_path / "release" / "training_data" / "Case01.mhd").read_text()
    assert "ElementType = MET_SHORT" in header and "ElementDataFile = Case01.raw" in header
    assert main([*words, "--cases", "2"]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": 0}, "cases must be 1 or more"),
        ({"test": -1}, "test 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"size": 16}, "size must be 32 pixels or more, got 16"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        synthesize_promise12(tmp_path, **{"cases": 1, "seed": 0, **changes})
