# SPDX-License-Identifier: Apache-2.0
"""Reading a case: what belongs together, and what is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from wss_monai.transforms import LoadCased, WeakTagsd

SHAPE = (6, 5, 4)
AFFINE = np.array([[0.0, -1.5, 0, 10], [1.5, 0, 0, -20], [0, 0, 8, 5], [0, 0, 0, 1]])


@pytest.fixture
def write(tmp_path):
    """Save an array as NIfTI and give its path."""

    def save(name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
        nib.save(nib.Nifti1Image(array, affine), tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def case(write):
    """A case with an image, a dense label of file values 0, 2, 7 and a scribble of 0, 7 and 9 (unlabelled)."""
    R = np.random.RandomState(0)
    label = R.choice([0, 2, 7], SHAPE).astype(np.int16)
    weak = np.where(R.rand(*SHAPE) < 0.5, 9, np.where(label == 2, 0, label)).astype(np.uint8)
    return {
        "case": "p1_ED",
        "image": write("image.nii.gz", R.randn(*SHAPE).astype(np.float32)),
        "label": write("label.nii.gz", label),
        "weak_label": write("weak.nii.gz", weak),
        "label_values": {0: 0, 2: 1, 7: 2},
        "weak_values": {0: 0, 7: 2, 9: 255},
        "tags": [-1, -1, -1],
        "slice_tags": None,
        "group": None,
    }


def array_of(path: str) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


class TestReading:
    def test_image(self, case):
        image = LoadCased()(case)["image"]
        assert isinstance(image, MetaTensor)
        assert image.shape == (1, *SHAPE)
        assert image.dtype == torch.float32
        np.testing.assert_array_equal(image[0].numpy(), array_of(case["image"]))
        np.testing.assert_allclose(image.affine.numpy(), AFFINE)

    def test_labels_become_class_indices(self, case):
        out = LoadCased()(case)
        file = array_of(case["label"])
        assert out["label"].dtype == torch.uint8
        np.testing.assert_array_equal(out["label"][0].numpy(), np.select([file == 2, file == 7], [1, 2], 0))
        weak = array_of(case["weak_label"])
        np.testing.assert_array_equal(out["weak_label"][0].numpy(), np.select([weak == 9, weak == 7], [255, 2], 0))
        np.testing.assert_allclose(out["weak_label"].affine.numpy(), AFFINE)

    def test_other_entries_stay(self, case):
        out = LoadCased()(case)
        assert (out["case"], out["tags"], out["group"]) == ("p1_ED", [-1, -1, -1], "")
        assert not {"label_values", "weak_values", "slice_tags"} & set(out)
        assert isinstance(case["image"], str)  # the case itself is not changed

    def test_a_dense_label_takes_the_place_of_a_missing_weak_one(self, case):
        case["weak_label"] = None
        out = LoadCased()(case)
        assert torch.equal(out["weak_label"], out["label"])
        assert out["weak_label"].data_ptr() != out["label"].data_ptr()
        weak_only = LoadCased(keys=["image", "weak_label"])(case)
        assert torch.equal(weak_only["weak_label"].as_tensor(), out["label"].as_tensor())
        assert "label" not in weak_only

    def test_missing_maps_are_unlabelled(self, case):
        case["label"] = case["weak_label"] = None
        out = LoadCased()(case)
        for key in ("label", "weak_label"):
            assert out[key].shape == (1, *SHAPE)
            assert out[key].dtype == torch.uint8
            assert (out[key] == 255).all()
            np.testing.assert_allclose(out[key].affine.numpy(), AFFINE)

    def test_a_weak_label_never_fills_the_dense_one(self, case):
        case["label"] = None
        out = LoadCased()(case)
        assert (out["label"] == 255).all()
        assert (out["weak_label"] != 255).any()

    def test_only_the_keys_asked_for_are_read(self, case):
        case["label"] = "/nowhere/label.nii.gz"
        out = LoadCased(keys=["image", "weak_label"])(case)
        assert "label" not in out
        assert out["weak_label"].shape == (1, *SHAPE)

    def test_modalities_become_channels(self, case, write):
        second = write("t2.nii.gz", np.full(SHAPE, 3, np.uint8))
        out = LoadCased()(case | {"image": [case["image"], second]})
        assert out["image"].shape == (2, *SHAPE)
        assert (out["image"][1] == 3).all()
        assert out["label"].shape == (1, *SHAPE)

    def test_2d_and_single_frame_files(self, case, write):
        flat = case | {"image": write("flat.nii.gz", np.ones(SHAPE[:2], np.float32)), "label": None, "weak_label": None}
        assert LoadCased()(flat)["image"].shape == (1, *SHAPE[:2], 1), "one slice"
        drawn = write("flat_label.nii.gz", np.full(SHAPE[:2], 7, np.uint8))
        assert LoadCased()(flat | {"label": drawn})["label"].shape == (1, *SHAPE[:2], 1)
        single = case | {"image": write("single.nii.gz", np.ones((*SHAPE, 1), np.float32))}
        assert LoadCased()(single)["image"].shape == (1, *SHAPE)

    @pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
    def test_number_types_and_byte_orders(self, case, tmp_path, dtype):
        array = np.random.RandomState(1).choice([0, 2, 7], SHAPE).astype(dtype)
        header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
        header.set_data_dtype(array.dtype)
        path = tmp_path / "other.nii.gz"
        nib.save(nib.Nifti1Image(array, AFFINE, header), path)
        out = LoadCased()(case | {"image": str(path), "label": str(path)})
        np.testing.assert_array_equal(out["image"][0].numpy(), array.astype(np.float32))
        np.testing.assert_array_equal(out["label"][0].numpy(), np.select([array == 2, array == 7], [1, 2], 0))

    def test_without_values_the_file_speaks_for_itself(self, case):
        case["label_values"] = None
        np.testing.assert_array_equal(LoadCased()(case)["label"][0].numpy(), array_of(case["label"]))

    def test_small_differences_of_the_affine_are_rounding(self, case, write):
        near = AFFINE + np.random.RandomState(0).uniform(-5e-4, 5e-4, (4, 4)) * np.array([[1], [1], [1], [0]])
        case["label"] = write("near.nii.gz", array_of(case["label"]), near)
        assert LoadCased()(case)["label"].shape == (1, *SHAPE)


class TestKinds:
    """What a case declares itself to be decides what its files mean."""

    def boxed(self, case, write, **changes):
        drawn = np.full(SHAPE, 9, np.uint8)
        drawn[1:3, 1:4, 1] = 7  # class 2
        drawn[4, 0:2, 2] = 2
        values = {2: 1, 7: 2, 9: 255, 0: 0}
        return case | {"weak_label": write("box.nii.gz", drawn), "weak_values": values, "weak_kind": "box"} | changes

    def test_boxes_are_no_partial_label(self, case, write):
        out = LoadCased()(self.boxed(case, write))
        assert (out["weak_label"] == 255).all()
        expected = np.zeros((3, *SHAPE))
        expected[2, 1:3, 1:4, 1], expected[1, 4, 0:2, 2] = 1, 1
        np.testing.assert_array_equal(out["boxes"].numpy(), expected)
        assert out["boxes"].dtype == out["weak_label"].dtype == torch.uint8
        np.testing.assert_allclose(out["boxes"].affine.numpy(), AFFINE)

    def test_outside_of_all_boxes_is_background_where_undrawn_means_absent(self, case, write):
        out = LoadCased()(self.boxed(case, write, undrawn_means_absent=True, slice_axis=2))
        weak, boxes = out["weak_label"][0].numpy(), out["boxes"].numpy().any(0)
        assert (weak[..., [0, 3]] == 255).all(), "nobody looked at slices without a box"
        np.testing.assert_array_equal(weak[..., [1, 2]], np.where(boxes[..., [1, 2]], 255, 0))
        flat = {"image": write("flat.nii.gz", np.ones((6, 5), np.float32)), "label": None}
        flat |= {"weak_label": write("flat_box.nii.gz", np.eye(6, 5, dtype=np.uint8) * 2), "weak_kind": "box"}
        out = LoadCased()(case | flat | {"weak_values": {0: 255, 2: 1}, "undrawn_means_absent": True})
        np.testing.assert_array_equal(out["weak_label"][0, ..., 0].numpy(), np.eye(6, 5) * 255)

    def test_background_that_is_drawn_stays(self, case, write):
        boxed = self.boxed(case, write)
        drawn = array_of(boxed["weak_label"]).copy()
        drawn[0, :, 0] = 0
        out = LoadCased()(boxed | {"weak_label": write("drawn.nii.gz", drawn)})
        assert int((out["weak_label"] == 0).sum()) == SHAPE[1]

    @pytest.mark.parametrize("kind", ["tags", "nothing"])
    def test_a_dense_label_for_evaluation_is_no_drawing(self, case, kind):
        out = LoadCased()(case | {"weak_label": None, "weak_kind": kind})
        assert (out["weak_label"] == 255).all()
        assert (out["label"] != 255).all()
        dense = LoadCased()(case | {"weak_label": None, "weak_kind": "dense"})
        assert torch.equal(dense["weak_label"], out["label"])

    def test_every_case_has_boxes(self, case):
        out = LoadCased(keys=["image", "weak_label"])(case)
        assert out["boxes"].shape == (3, *SHAPE)
        assert (out["boxes"] == 255).all()
        assert LoadCased(num_classes=5)(case)["boxes"].shape == (5, *SHAPE)
        assert "boxes" not in LoadCased(keys=["image", "label"])(case)

    def test_tags_come_from_boxes(self, case, write):
        tags = WeakTagsd(3, 2)
        out = tags(LoadCased()(self.boxed(case, write)))
        assert out["slice_tags"].tolist() == [[-1, -1, -1], [-1, -1, 1], [-1, 1, -1], [-1, -1, -1]]
        out = tags(LoadCased()(self.boxed(case, write, undrawn_means_absent=True)))
        assert out["slice_tags"].tolist() == [[-1, -1, -1], [1, 0, 1], [1, 1, 0], [-1, -1, -1]]

    def test_other_formats(self, case, tmp_path):
        for key in ("image", "label", "weak_label"):
            picture = sitk.ReadImage(case[key])
            sitk.WriteImage(picture, str(tmp_path / f"{key}.mhd"))
            sitk.WriteImage(picture, str(tmp_path / f"{key}.nrrd"))
        same = LoadCased()(case)
        for suffixes in (("mhd", "nrrd", "mhd"), ("nrrd", "mhd", "nrrd")):
            keys = dict(zip(("image", "label", "weak_label"), suffixes, strict=True))
            out = LoadCased()(case | {key: str(tmp_path / f"{key}.{suffix}") for key, suffix in keys.items()})
            for key in keys:
                assert torch.equal(out[key], same[key])
                np.testing.assert_allclose(out[key].affine.numpy(), AFFINE, atol=1e-5)

    def test_a_segmentation_of_3d_slicer(self, case, tmp_path):
        picture = sitk.ReadImage(case["image"])
        drawn = sitk.Cast(picture > 1.5, sitk.sitkUInt8)[1:5, :, :]
        drawn.SetMetaData("Segment0_Name", "ring")
        sitk.WriteImage(drawn, str(tmp_path / "drawn.seg.nrrd"))
        path = str(tmp_path / "drawn.seg.nrrd")
        whole = np.zeros(SHAPE, bool)
        whole[1:5] = array_of(case["image"])[1:5] > 1.5
        names = {"weak_segments": {"ring": 2}, "label_segments": {"ring": 1}}
        out = LoadCased()(case | names | {"weak_label": path, "label": path})
        np.testing.assert_array_equal(out["weak_label"][0].numpy(), np.where(whole, 2, 255))
        np.testing.assert_array_equal(out["label"][0].numpy(), np.where(whole, 1, 0))
        with pytest.raises(ValueError, match=r"case 'p1_ED': weak_label .*drawn.seg.nrrd: has the segments \['ring'\]"):
            LoadCased()(case | {"weak_segments": {"LV": 2}, "weak_label": path})


class TestRefusals:
    def refused(self, case, error, match):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(error, match=match):
                LoadCased()(case)

    @pytest.mark.parametrize("key", ["image", "label", "weak_label"])
    def test_missing_file(self, case, key):
        case[key] = "/nowhere/volume.nii.gz"
        match = rf"case 'p1_ED': {key} /nowhere/volume.nii.gz does not exist; mend its path in dataset.json"
        self.refused(case, FileNotFoundError, match)

    @pytest.mark.parametrize("key", ["image", "label"])
    @pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
    def test_truncated_gzip(self, case, key, part, write, tmp_path):
        raw = Path(write("whole.nii.gz", np.random.RandomState(0).randint(0, 9, (40, 40, 20), np.int16))).read_bytes()
        (tmp_path / "cut.nii.gz").write_bytes(raw[: int(part * len(raw))])
        case[key] = str(tmp_path / "cut.nii.gz")
        self.refused(case, ValueError, rf"case 'p1_ED': cannot read {key} .*cut\.nii\.gz: \w+")

    @pytest.mark.parametrize("name", ["noise.nii.gz", "noise.nii", "noise.txt", "empty.nii.gz"])
    def test_other_unreadable_files(self, case, name, tmp_path):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"not a volume" * 99)
        case["image"] = str(tmp_path / name)
        self.refused(case, ValueError, f"case 'p1_ED': cannot read image .*{name}: ")

    @pytest.mark.parametrize("shape", [(6, 5, 4, 2), (6,)])
    def test_wrong_number_of_axes(self, case, write, shape):
        case["image"] = write("axes.nii.gz", np.zeros(shape, np.float32))
        self.refused(case, ValueError, r"axes\.nii\.gz: shape .*, expected 2 or 3 non-empty axes; split a 4D file")

    def test_another_shape(self, case, write):
        case["weak_label"] = write("small.nii.gz", np.zeros((6, 5, 3), np.uint8))
        self.refused(
            case, ValueError, r"small.nii.gz has shape \(6, 5, 3\), but .*image.nii.gz has \(6, 5, 4\); resample"
        )

    @pytest.mark.parametrize("change", ["shift", "flip", "spacing"])
    def test_another_affine(self, case, write, change):
        other = AFFINE.copy()
        if change == "shift":
            other[0, 3] += 3
        elif change == "flip":
            other[:, 0] *= -1
        else:
            other[2, 2] = 7.5
        case["label"] = write("elsewhere.nii.gz", array_of(case["label"]), other)
        match = (
            r"(?s)case 'p1_ED': label .*elsewhere.nii.gz has another affine than .*image.nii.gz.*save it on the image's"
        )
        self.refused(case, ValueError, match)

    def test_modalities_on_other_grids(self, case, write):
        second = write("t2.nii.gz", np.zeros((6, 5, 3), np.float32))
        self.refused(case | {"image": [case["image"], second]}, ValueError, r"t2.nii.gz has shape \(6, 5, 3\)")
        label = write("small.nii.gz", np.zeros((6, 5, 3), np.uint8))
        two = case | {"image": [case["image"], case["image"]], "label": label}
        self.refused(two, ValueError, r"small.nii.gz has shape \(6, 5, 3\), but /.+image.nii.gz has")

    def test_unknown_label_values(self, case, write):
        label = array_of(case["label"]).copy()
        label[0, 0, :2] = 3, -1
        case["label"] = write("strange.nii.gz", label)
        self.refused(case, ValueError, r"label .*strange.nii.gz holds the values \[-1, 3\].* it names \[0, 2, 7\]")

    def test_unknown_weak_values(self, case, write):
        case["weak_label"] = write("strange.nii.gz", np.full(SHAPE, 2, np.uint8))
        self.refused(case, ValueError, r"weak_label .*strange.nii.gz holds the values \[2\].* it names \[0, 7, 9\]")

    @pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
    def test_labels_that_are_no_whole_numbers(self, case, write, value):
        label = np.zeros(SHAPE, np.float32)
        label[1, 1, 1] = value
        case["label"] = write("soft.nii.gz", label)
        self.refused(case, ValueError, r"label .*soft.nii.gz: holds values that are not whole numbers")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_intensities_that_are_not_finite(self, case, write, value):
        image = np.zeros(SHAPE, np.float32)
        image[1, 1, 1] = value
        bad = write("holes.nii.gz", image)
        match = r"case 'p1_ED': .*holes.nii.gz holds intensities that are not finite"
        self.refused(case | {"image": bad}, ValueError, match)
        self.refused(case | {"image": [case["image"], bad]}, ValueError, match)
