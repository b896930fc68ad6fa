# SPDX-License-Identifier: Apache-2.0
"""Predictions are those of the evaluation, whatever format and axes an image comes in, and nothing unlike is silent."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, ResizeWithPadOrCropd, Spacingd
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from tiny import ROOT, differing_voxels, run_workflow, write_series

from wss_monai.prediction import Predictor, inversion
from wss_monai.prediction.inversion import Inversion


def save(image, array, path, change=lambda header: None):
    """A file with the geometry of another."""
    like = nib.load(image)
    header = like.header.copy()
    header.set_data_dtype(np.float32)
    change(header)
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), like.affine, header), path)
    return path


def values(image):
    return np.asarray(nib.load(image).dataobj).astype(np.float32)


def test_the_prediction_is_that_of_the_evaluation_to_the_last_voxel(trained, expected):
    assert differing_voxels(trained) == {"p0_ED": 0}
    assert set(np.unique(expected.mask)) == {0, 1, 2, 3}
    stored = nib.load(trained / "evaluation" / "predictions" / "p0_ED.nii.gz")
    ml = np.bincount(np.asarray(stored.dataobj).ravel(), minlength=4)[1:] * 2 * 2 * 8 / 1000
    assert list(expected.volumes_ml.values()) == pytest.approx(ml)
    assert expected.warnings == []


@pytest.mark.parametrize("kind", ["nii", "nrrd", "mha", "mhd", "dicom"])
def test_every_format_gives_the_same_mask(predictor, expected, image, tmp_path, kind):
    read = sitk.ReadImage(str(image))
    for key in read.GetMetaDataKeys():
        read.EraseMetaData(key)
    path = tmp_path / ("series" if kind == "dicom" else f"p.{kind}")
    write_series(read, path) if kind == "dicom" else sitk.WriteImage(read, str(path))
    found = predictor(path)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert found.volumes_ml == pytest.approx(expected.volumes_ml)


@pytest.mark.parametrize("axes", ["PSR", "LPS", "LAS", "RAI", "SLA"])
def test_other_axes_are_turned_for_the_network_and_back(predictor, expected, image, tmp_path, axes):
    """Public case: P,S,R was predicted along the wrong axis, 562 ml for 169 ml and no word."""
    stored = nib.load(image)
    turn = ornt_transform(io_orientation(stored.affine), axcodes2ornt(tuple(axes)))
    nib.save(stored.as_reoriented(turn), tmp_path / "turned.nii.gz")
    found = predictor(tmp_path / "turned.nii.gz")
    turned = nib.Nifti1Image(expected.mask, stored.affine).as_reoriented(turn)
    np.testing.assert_array_equal(found.mask, np.asarray(turned.dataobj))
    np.testing.assert_allclose(found.affine, turned.affine, atol=1e-5)
    assert found.volumes_ml == pytest.approx(expected.volumes_ml, rel=1e-2)
    assert f"its axes run {axes}, those of training RAS" in found.warnings[0]


def test_spacings_unlike_those_of_training_are_told_with_numbers(predictor, image, tmp_path):
    stored = nib.load(image)
    affine = stored.affine @ np.diag([0.25, 0.25, 1, 1])
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj), affine), tmp_path / "fine.nii.gz")
    (warning,) = predictor(tmp_path / "fine.nii.gz").warnings
    assert "its spacing is 0.5 x 0.5 x 8 mm; in training it was 2 x 2 x 8 mm" in warning


def test_a_unit_in_the_header_counts(predictor, expected, image, tmp_path):
    stored = nib.load(image)
    there = nib.Nifti1Image(np.asarray(stored.dataobj), np.diag([1000, 1000, 1000, 1]) @ stored.affine)
    there.header.set_xyzt_units("micron")
    nib.save(there, tmp_path / "micron.nii.gz")
    assert predictor(tmp_path / "micron.nii.gz").volumes_ml == pytest.approx(expected.volumes_ml, rel=1e-4)


def test_what_training_refuses_is_refused_by_name(predictor, image, tmp_path):
    array = values(image)
    array[0, 0, 0] = np.nan
    nan = save(image, array, tmp_path / "nan.nii.gz")
    few = np.zeros_like(array)
    few[3, 3, :2] = 7
    whole = gzip.decompress(image.read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:-20])
    for path, message in (
        (nan, "nan.nii.gz holds intensities that are not finite"),
        (save(image, few, tmp_path / "few.nii.gz"), "nearly all intensities of its image are one value"),
        (tmp_path / "cut.nii.gz", "cut.nii.gz"),
        (tmp_path / "none.nii.gz", "none.nii.gz does not exist"),
        ([image, image], "2 file\\(s\\), but the run has 1 channels"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            predictor(path)


class TestTwoDimensions:
    def test_a_2d_file_is_one_slice_and_its_mask_2d(self, predictor, expected, image, tmp_path):
        flat, thin = tmp_path / "flat.nii.gz", tmp_path / "thin.nii.gz"
        stored = nib.load(image)
        slice_ = np.asarray(stored.dataobj)[:, :, 2]
        nib.save(nib.Nifti1Image(slice_, stored.affine), flat)
        nib.save(nib.Nifti1Image(slice_[..., None], stored.affine), thin)
        masks = [predictor(path).mask for path in (flat, thin)]
        assert [mask.shape for mask in masks] == [(36, 34), (36, 34, 1)]
        np.testing.assert_array_equal(masks[0], masks[1][..., 0])
        assert set(np.unique(masks[0])) >= {0, 2, 3}
        assert nib.load(predictor(flat).save(tmp_path / "m.nii.gz")).shape == (36, 34)

    def test_a_fourth_axis_of_one_frame_stays(self, predictor, expected, image, tmp_path):
        stored = nib.load(image)
        nib.save(nib.Nifti1Image(np.asarray(stored.dataobj)[..., None], stored.affine), tmp_path / "frame.nii.gz")
        found = predictor(tmp_path / "frame.nii.gz")
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert nib.load(found.save(tmp_path / "m.nii.gz")).shape == (*expected.mask.shape, 1)


class TestPlanes:
    """Large volumes are brought to their grid a few planes at a time."""

    @pytest.fixture
    def scored(self):
        """Scores on a turned grid of odd sizes, and the step that inverts them."""
        affine = np.eye(4)
        affine[:3, :3] = [[0, -1.3, 0], [0.9, 0, 0], [0, 0, 4]]
        steps = Compose([Spacingd("image", pixdim=[2.0, 1.1, -1.0]), ResizeWithPadOrCropd("image", [16, 40, 6])])
        data = steps({"image": MetaTensor(torch.zeros(1, 31, 27, 7), affine=torch.as_tensor(affine))})
        scores = torch.randn(5, *data["image"].shape[1:], generator=torch.Generator().manual_seed(0))
        return Invertd("pred", transform=steps, orig_keys="image", nearest_interp=False), data, scores, (31, 27, 7)

    def test_they_are_what_monai_gives_at_once(self, scored, monkeypatch):
        back, data, scores, _ = scored
        whole = back({**data, "pred": MetaTensor(scores)})["pred"].as_tensor()
        once = Inversion(*scored)
        monkeypatch.setattr(inversion, "AT_ONCE", 5 * 27 * 7 * 8 * 4 * 3)
        planes = Inversion(*scored)
        assert planes.by_planes and not once.by_planes
        assert list(planes.blocks())[:2] == [(0, 3), (3, 6)]
        found = torch.cat([planes.planes(*block) for block in planes.blocks()], dim=1)
        assert torch.equal(found, whole)
        assert torch.equal(inversion.largest(planes)[0].long(), whole.argmax(0))
        assert torch.equal(inversion.largest(once), inversion.largest(planes))
        np.testing.assert_allclose(inversion.largest(planes).affine, inversion.largest(once).affine)

    def test_mean_and_entropy_by_hand(self):
        one = torch.tensor([[1.0, 0.9, 0.5, 0.0], [0.0, 0.1, 0.5, 0.0]])[:, :, None, None]
        two = torch.tensor([[1.0, 0.3, 0.3, 0.0], [0.0, 0.7, 0.7, 0.0]])[:, :, None, None]
        parts = [Inversion(None, {}, scores, (4, 1, 1)) for scores in (one, two)]
        mean, entropy = inversion.mean_of_classes(parts, True)
        assert mean.flatten().tolist() == [0, 0, 1, 0]
        expected = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4)) / np.log(2)
        assert entropy.flatten().tolist() == pytest.approx([0, expected, expected, 0], abs=1e-6)

    def test_a_prediction_by_planes_is_the_same(self, trained, predictor, expected, image, monkeypatch):
        unsure = Predictor(trained, uncertainty=True)(image).entropy
        monkeypatch.setattr(inversion, "AT_ONCE", 1)
        np.testing.assert_array_equal(predictor(image).mask, expected.mask)
        np.testing.assert_allclose(Predictor(trained, uncertainty=True)(image).entropy, unsure, atol=1e-6)


class TestSeveralNetworks:
    def test_a_run_twice_is_the_run(self, trained, image, expected):
        found = Predictor([trained, trained], uncertainty=True)(image)
        assert (found.mask != expected.mask).mean() < 0.01  # the mean of probabilities, not of logits, is resampled
        assert found.entropy.shape == found.mask.shape
        assert found.entropy.min() >= 0 and 0.1 < found.entropy.max() <= 1

    def test_networks_of_other_classes_or_grids(self, trained, changed, image, expected):
        other = changed("other", class_names=["background", "RV", "Myo", "lumen"])
        with pytest.raises(ValueError, match=r"has other classes than .*lumen"):
            Predictor([trained, other])
        turned = json.loads((trained / "prediction.json").read_text())["geometry"] | {
            "directions": {"PSR": 2},
            "orientations": [[[0, 0, 1], [-1, 0, 0], [0, 1, 0]]],
        }
        with pytest.raises(ValueError, match="have other axes, RAS and PSR"):
            Predictor([trained, changed("turned", geometry=turned)])(image)
        steps = json.loads((trained / "prediction.json").read_text())["preprocessing"]
        steps["transforms"][2]["pixdim"] = [2.0, 2.0, -1.0]
        found = Predictor([trained, changed("coarse", preprocessing=steps)])(image)
        assert found.mask.shape == expected.mask.shape and (found.mask != expected.mask).mean() < 0.1

    def test_mirrored_images_only_where_training_mirrored(self, trained, changed, image, tmp_path):
        with pytest.raises(ValueError, match="trained without mirrored images"):
            Predictor(trained, mirror=True)
        predictor = Predictor(changed(flips=[0]), mirror=True)
        assert predictor.flips == [[(), (0,)]]
        mirrored = save(image, values(image)[::-1], tmp_path / "mirrored.nii.gz")
        plain, turned = predictor(image).mask, predictor(mirrored).mask
        assert (plain[::-1] != turned).mean() < 0.01
        assert (predictor(image).mask != Predictor(trained)(image).mask).any()


class TestFoldersOfRuns:
    def test_a_run_of_before_is_refused_in_one_sentence(self, changed, tmp_path):
        old = changed()
        (old / "prediction.json").unlink()
        with pytest.raises(ValueError, match=r"has no prediction.json.*Evaluate it once"):
            Predictor(old)
        (old / "run.json").unlink()
        with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
            Predictor(old)
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            Predictor(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ({"_target_": "os.system", "command": "true"}, "code of another package, 'os.system'; pass --trust os"),
            ({"_target_": "BasicUNet", "act": "$__import__('os').system('true')"}, "holds the expression"),
            ({"_target_": "BasicUNet", "act": "@inferer"}, "holds the expression"),
            ({"_target_": "BasicUNet", "_mode_": "debug"}, "_mode_ 'debug' is refused"),
            ({"_target_": "SaveImaged", "keys": "image"}, "code of another package"),
            ([], "'network' is missing or of the wrong type"),
        ],
    )
    def test_a_folder_from_elsewhere_runs_no_code(self, changed, network, message):
        with pytest.raises(ValueError, match=message):
            Predictor(changed(network=network))

    @pytest.mark.parametrize(
        "entries",
        [
            {"geometry": {"volumes": 1}},
            {"bounds": [{"values": {"LV": "x"}, "unit": "ml", "slices": False}]},
            {"slice_axis": 7},
            {"class_names": ["background"]},
            {"flips": ["x"]},
            {"preprocessing": {"_target_": "Compose"}},
            {"network": {"_target_": "BasicUNet", "features": 3}},
            {"format": 9},
        ],
        ids=str,
    )
    def test_a_file_that_was_changed_ends_in_one_sentence(self, changed, entries):
        with pytest.raises(ValueError, match=r"does not hold what it should|cannot be built|no file of this release"):
            Predictor(changed(**entries))

    def test_a_reason_why_not_is_told(self, changed):
        with pytest.raises(ValueError, match="cannot be predicted from its folder alone: 'network_def' is an object"):
            Predictor(changed(reason="'network_def' is an object of tests.Network"))

    def test_weights(self, trained, changed, image, expected, tmp_path):
        folder = changed()
        assert (Predictor(folder, weights=str(folder / "model.pt"))(image).mask == expected.mask).all()
        assert Predictor(folder, weights="best").members[0].weights.name == "model_best.pt"
        torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=r"--weights: .*another network"):
            Predictor(folder, weights=str(tmp_path / "other.pt"))
        with pytest.raises(ValueError, match="is a checkpoint"):
            Predictor(folder, weights=str(folder / "checkpoint.pt"))
        (folder / "model_best.pt").unlink()
        with pytest.raises(FileNotFoundError, match=r"no weights .*model_best.pt.*without validation"):
            Predictor(folder, weights="best")
        with pytest.raises(ValueError, match="'gpu7' is no device"):
            Predictor(trained, device="gpu7")

    def test_the_run_keeps_command_configuration_and_data(self, trained):
        record = json.loads((trained / "run.json").read_text())
        assert record["command"] and record["data"]["cases"] == 2
        assert len(record["data"]["sha256_of_dataset_json"]) == 64
        settings = json.loads((trained / "configuration.json").read_text())
        assert settings["pixdim#0"] == 1.7 and settings["learning_rate"] == 0.02 and "dataset_dir" in settings
        geometry = json.loads((trained / "prediction.json").read_text())["geometry"]
        assert geometry["directions"] == {"RAS": 2} and geometry["slices"] == [4, 4]
        assert geometry["spacing_mm"] == pytest.approx([2, 2, 8])

    def test_the_largest_piece_as_in_the_evaluation_or_as_told(self, trained, image):
        kept, all_of_them = Predictor(trained)(image).mask, Predictor(trained, keep_largest=False)(image).mask
        assert (all_of_them > 0).sum() >= (kept > 0).sum()
        again = Predictor(trained, keep_largest=True)(image).mask
        np.testing.assert_array_equal(again, kept)


def test_sizes_that_the_evaluation_stated_are_met_by_all_volumes_together(changed, discs, image, settings, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = changed()
    sizes = {"predicted_sizes": {"LV": 15.0}}
    run_workflow("train.yaml", "evaluate.yaml", folder=discs, out=out, **settings, **sizes)
    assert differing_voxels(out) == {"p0_ED": 0}
    with pytest.raises(ValueError, match="call solve with all volumes first"):
        Predictor(out)(image)
