# SPDX-License-Identifier: Apache-2.0
"""From a volume to the frame of the network: crops, published ways of stretching, levels, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, ResizeWithPadOrCropd, Spacingd
from scipy.ndimage import zoom

from wss_monai.data.loading.estimated_size import prepared_shape
from wss_monai.io.grids import spacing_of
from wss_monai.transforms import ConstantBoundsd, FitToFramed, ScalePercentilesd

STEPS = (1.5, 1.2, 8.0)


def volume(shape=(21, 34, 3), channels=1, seed=0, index=False) -> MetaTensor:
    R = np.random.RandomState(seed)
    array = R.randint(0, 4, (channels, *shape)).astype(np.uint8) if index else R.rand(channels, *shape)
    return MetaTensor(
        torch.as_tensor(array, dtype=torch.uint8 if index else torch.float32), affine=np.diag([*STEPS, 1])
    )


@pytest.mark.parametrize("index", [False, True])
def test_without_stretch_it_crops_and_pads(index):
    case = {"image": volume(index=index)}
    wanted = ResizeWithPadOrCropd("image", [24, 30, -1], **({"value": 255} if index else {}))(case)["image"]
    found = FitToFramed("image", [24, 30, -1], index=index)(case)["image"]
    assert torch.equal(found, wanted) and found.dtype == case["image"].dtype
    np.testing.assert_array_equal(found.affine, wanted.affine)


class TestStretched:
    @pytest.mark.parametrize("shape", [(21, 34, 3), (70, 17, 2)])
    @pytest.mark.parametrize("index", [False, True])
    def test_nearest_is_what_pillow_gives(self, shape, index):
        pillow = pytest.importorskip("PIL.Image")
        given = volume(shape, index=True)
        found = FitToFramed("image", [-1], [32, 32, -1], mode="nearest", index=index)({"image": given})["image"]
        assert found.shape == (1, 32, 32, shape[2])
        for number in range(shape[2]):
            picture = pillow.fromarray(given[0, ..., number].numpy())
            wanted = np.asarray(picture.resize((32, 32), resample=pillow.Resampling.NEAREST))
            np.testing.assert_array_equal(found[0, ..., number].numpy(), wanted)

    @pytest.mark.parametrize("shape", [(21, 34, 3), (70, 17, 2)])
    def test_aligned_is_what_scipy_gives(self, shape):
        given = volume(shape)
        found = FitToFramed("image", [-1], [41, 33, -1], mode="aligned")({"image": given})["image"]
        wanted = zoom(given[0].numpy(), (41 / shape[0], 33 / shape[1], 1), order=1)
        np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-5)

    def test_maps_lie_on_the_grid_of_the_image(self):
        """A map of the row numbers: 0..9 on 19 rows is 0, .5, 1, ... corner onto corner, rounded."""
        rows = torch.arange(10, dtype=torch.uint8).view(1, 10, 1, 1).expand(1, 10, 6, 2)
        affine = np.diag([*STEPS, 1])
        case = {"image": MetaTensor(rows.float(), affine=affine), "map": MetaTensor(rows, affine=affine)}
        for mode in ("aligned", "linear", "nearest"):
            out = FitToFramed("image", [-1], [19, 6, -1], mode=mode)(case)
            out = FitToFramed("map", [-1], [19, 6, -1], mode=mode, index=True)(out)
            np.testing.assert_allclose(out["map"].affine, out["image"].affine)
            assert out["map"].dtype == torch.uint8
            assert float((out["map"].float() - out["image"]).abs().max()) <= 0.5 + 1e-4
        out = FitToFramed("map", [-1], [19, 6, -1], mode="aligned", index=True)(case)["map"]
        assert out[0, ::2, 0, 0].tolist() == list(range(10))
        assert spacing_of(out) == pytest.approx([1.5 * 9 / 18, 1.2, 8.0])

    @pytest.mark.parametrize("index", [False, True])
    @pytest.mark.parametrize("mode", ["nearest", "linear", "aligned"])
    def test_a_single_slice_keeps_its_thickness_there_and_back(self, mode, index):
        steps = FitToFramed("image", [-1], [42, 68, -1], mode=mode, index=index)
        out = steps({"image": volume((21, 34, 1), index=index)})
        expected = [1.5 * 20 / 41, 1.2 * 33 / 67, 8.0] if mode == "aligned" else [0.75, 0.6, 8.0]
        assert spacing_of(out["image"]) == pytest.approx(expected)
        back = steps.inverse(out)["image"]
        np.testing.assert_allclose(back.affine, np.diag([*STEPS, 1]), atol=1e-6)

    def test_the_area_in_mm2_is_bounded_right(self):
        """21 x 34 voxels of 1.5 x 1.2 mm on 42 x 17: voxels of .75 x 2.4 mm, so that 180 mm2 are 100 of them."""
        steps = Compose(
            [
                FitToFramed("image", [-1], [42, 17, -1]),
                ConstantBoundsd(
                    values={"LV": [18.0, 180.0]}, class_names=["background", "LV"], unit="mm2", slice_axis=2
                ),
            ]
        )
        out = steps({"case": "p", "image": volume()})
        assert spacing_of(out["image"]) == pytest.approx([0.75, 2.4, 8.0])
        assert out["bounds_size"][0, 1, 0, 1].item() == pytest.approx(100.0)  # its lower side asks for a tag

    @pytest.mark.parametrize("mode", ["nearest", "linear", "aligned"])
    def test_the_way_back(self, mode):
        """A ramp comes back as it was, on the grid that it had."""
        ramp = torch.linspace(0, 1, 20).view(1, 20, 1, 1).expand(1, 20, 30, 3)
        steps = Compose([Spacingd("image", [-1, -1, -1]), FitToFramed("image", [-1], [40, 60, -1], mode=mode)])
        out = steps({"image": MetaTensor(ramp, affine=np.diag([*STEPS, 1]))})
        assert out["image"].shape == (1, 40, 60, 3)
        out["pred"] = MetaTensor(out["image"].as_tensor().repeat(2, 1, 1, 1))
        back = Invertd("pred", transform=steps, orig_keys="image", nearest_interp=False)(out)["pred"]
        assert back.shape == (2, 20, 30, 3)
        np.testing.assert_allclose(back.affine, np.diag([*STEPS, 1]), atol=1e-6)
        inner = slice(1, -1) if mode == "linear" else slice(None)  # of which the outermost half voxels are repeated
        np.testing.assert_allclose(back[0, inner].numpy(), ramp[0, inner].numpy(), atol=1e-5)

    def test_scores_of_a_grid_come_back_as_if_zoomed_in_one_step(self):
        """From 41 x 41 points to 321 x 321 pixels and back to the image's own: the points are among the pixels."""
        steps = FitToFramed("image", [-1], [321, 321, -1], mode="aligned")
        out = steps({"image": volume((97, 120, 1))})
        points = np.random.RandomState(0).rand(41, 41)
        pixels = zoom(points, 321 / 41, order=1)
        out["pred"] = MetaTensor(torch.as_tensor(pixels, dtype=torch.float32)[None, ..., None])
        back = Invertd("pred", transform=steps, orig_keys="image", nearest_interp=False)(out)["pred"]
        np.testing.assert_allclose(back[0, ..., 0].numpy(), zoom(points, (97 / 41, 120 / 41), order=1), atol=2e-5)

    def test_its_shape_is_known_beforehand(self, tmp_path):
        import nibabel as nib

        nib.save(nib.Nifti1Image(np.zeros((21, 34, 3), np.uint8), np.diag([*STEPS, 1])), tmp_path / "a.nii.gz")
        case = {"image": str(tmp_path / "a.nii.gz")}
        assert prepared_shape(case, Compose([FitToFramed("image", [8, 8, -1], [42, 17, -1])])) == (42, 17, 3)
        assert prepared_shape(case, Compose([FitToFramed("image", [8, 8, -1])])) == (8, 8, 3)


def test_the_tutorials_pictures_of_8_bit():
    """Minimum to maximum of the volume onto 0..255, cut down to whole numbers."""
    given = volume(channels=1) * 1000 - 300
    steps = [
        ScalePercentilesd("image", 0.0, 100.0, 0.0, 1.0, clip=True),
        FitToFramed("image", [-1, -1, -1], levels=256),
    ]
    found = Compose(steps)({"case": "p", "image": given})["image"] * 255
    array = given.numpy()
    wanted = (255 * ((array - array.min()) / (array - array.min()).max())).astype(np.uint8)
    np.testing.assert_array_equal(found.numpy().round().astype(np.uint8), wanted)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "cubic"}, "stretch_mode.* must be one of nearest, linear, aligned, got 'cubic'"),
        ({"stretch": [0, 5, -1]}, r"stretch must have a number of voxels for each axis, or -1, got \[0, 5, -1\]"),
        ({"levels": 1}, "levels must be at least 2"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        FitToFramed("image", [-1], **settings)


def test_cases_that_cannot_be():
    with pytest.raises(ValueError, match=r"case 'anna': --stretch \[8, 8\] does not fit image of \[21, 34, 3\] voxels"):
        FitToFramed("image", [-1], [8, 8])({"case": "anna", "image": volume()})
    with pytest.raises(ValueError, match=r"case 'anna': image has intensities from 0.* but --levels 256 cuts down"):
        FitToFramed("image", [-1, -1, -1], levels=256)({"case": "anna", "image": volume() * 9})
