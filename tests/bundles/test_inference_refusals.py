# SPDX-License-Identifier: Apache-2.0
"""Inference by MONAI alone: masks are those of the images, or there are none; each case is one of a public tracker."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.networks.nets import BasicUNet
from scipy import ndimage
from tiny import ROOT, command_here

CONFIG = str(ROOT / "bundles" / "acdc_logbarrier" / "configs" / "inference.yaml")
FEATURES = [4, 4, 4, 4, 4, 4]
AFFINE = np.array([[1.5, 0, 0, 5.0], [0, 1.5, 0, 6.0], [0, 0, 8.0, 400.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Weights whose prediction is many pieces."""
    torch.manual_seed(0)
    network = BasicUNet(2, 1, 2, FEATURES, act="relu", norm="batch", upsample="nontrainable")
    path = tmp_path_factory.mktemp("model") / "model.pt"
    seen = torch.nn.functional.avg_pool2d(torch.rand(3, 1, 36, 36), 5, 1)
    with torch.no_grad():
        for _ in range(20):  # statistics of the batch normalisation
            network(seen)
        scores = network.eval()(seen)
        network.final_conv.bias[0] += torch.quantile(scores[:, 1] - scores[:, 0], 0.7)
    torch.save(network.state_dict(), path)
    return path


def volume(path, seed=0, shape=(32, 32, 3), **edit):
    smooth = ndimage.gaussian_filter(np.random.RandomState(seed).rand(*shape), (1.5, 1.5, 0))
    array = ((smooth - smooth.min()) / np.ptp(smooth) * 900).astype(np.float32)
    for place, value in edit.items():
        array[tuple(map(int, place.strip("v").split("_")))] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def predict(model, folder, out, **more):
    settings = {"dataset_dir": folder, "output_dir": out, "ckpt_path": model, "network_def#features": FEATURES}
    settings |= {"network_def#out_channels": 2, "window": [32, 32], "pixdim": [1.5, 1.5, -1.0], **more}
    return command_here("run", "--config_file", CONFIG, **settings)


def refused(done, *words):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    for word in words:
        assert word in last


def pieces(path):
    return ndimage.label(np.asarray(nib.load(path).dataobj) == 1, np.ones((3, 3, 3)))[1]


def test_a_voxel_that_is_not_finite_is_refused_by_file_name(model, tmp_path):
    volume(tmp_path / "in" / "a.nii.gz", v0_0_0=np.nan)
    refused(predict(model, tmp_path / "in", tmp_path / "out"), "a.nii.gz", "not finite")
    assert not list((tmp_path / "out").glob("*"))


def test_percentiles_that_coincide_are_refused_by_file_name(model, tmp_path):
    array = np.zeros((32, 32, 5), np.float32)
    array[10:15, 10:15, 1] = 1000 + np.arange(25).reshape(5, 5)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "in" / "flat.nii.gz")
    refused(predict(model, tmp_path / "in", tmp_path / "out"), "flat.nii.gz", "percentiles")


def test_weights_that_are_not_finite_are_refused_by_file_name(model, tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    state = torch.load(model)
    state["final_conv.bias"][0] = np.nan
    torch.save(state, tmp_path / "nan.pt")
    refused(predict(tmp_path / "nan.pt", tmp_path / "in", tmp_path / "out"), "nan.pt", "not finite")


def test_a_broken_file_is_named(model, tmp_path):
    for name in ("a", "c"):
        volume(tmp_path / "in" / f"{name}.nii.gz")
    data = (tmp_path / "in" / "a.nii.gz").read_bytes()
    (tmp_path / "in" / "b.nii.gz").write_bytes(data[: len(data) // 2])
    refused(predict(model, tmp_path / "in", tmp_path / "out"), "b.nii.gz")


def test_false_is_false_and_other_words_are_refused(model, tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    counts = {}
    for word in (False, "false", True, "true"):
        done = predict(model, tmp_path / "in", tmp_path / str(word), keep_largest=word)
        assert done.returncode == 0, done.stderr
        counts[word] = pieces(tmp_path / str(word) / "a_seg.nii.gz")
    assert counts[False] == counts["false"] > 1
    assert counts[True] == counts["true"] == 1
    refused(predict(model, tmp_path / "in", tmp_path / "out", keep_largest="maybe"), "keep_largest", "maybe")


def test_images_of_one_name_and_masks_among_images_are_refused(model, tmp_path):
    first = volume(tmp_path / "in" / "a" / "image.nii.gz")
    volume(tmp_path / "in" / "b" / "image.nii.gz", seed=1)
    refused(predict(model, tmp_path / "in", tmp_path / "out", pattern="*/image.nii.gz"), "share the mask")
    shutil.copy(first, first.parent / "again.nii.gz")
    nib.save(nib.load(first), first.parent / "image.nii")
    refused(predict(model, first.parent, tmp_path / "out", pattern="*.nii*"), "share the mask")
    refused(predict(model, first.parent, first.parent), "output_dir")
    assert not (tmp_path / "out").exists()


def test_a_single_slice_keeps_its_axis_and_its_place(model, tmp_path):
    volume(tmp_path / "in" / "a.nii.gz", shape=(32, 32, 1))
    assert predict(model, tmp_path / "in", tmp_path / "out").returncode == 0
    image, mask = (sitk.ReadImage(str(tmp_path / name)) for name in ("in/a.nii.gz", "out/a_seg.nii.gz"))
    assert mask.GetSize() == image.GetSize() == (32, 32, 1)
    assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
    assert mask.GetSpacing() == pytest.approx(image.GetSpacing())


def test_brackets_in_a_folders_name_and_the_word_for_the_cpu(model, tmp_path):
    volume(tmp_path / "[set 1]" / "a.nii.gz")
    done = predict(model, tmp_path / "[set 1]", tmp_path / "out", device="cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a_seg.nii.gz").is_file()


def test_commands_run_in_any_folder(model, tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    for file in (CONFIG, f"['{CONFIG}']"):
        settings = {"dataset_dir": "in", "output_dir": "out", "network_def#features": FEATURES}
        done = command_here(
            "run", "--config_file", file, **settings, **{"network_def#out_channels": 2}, ckpt_path=model, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    # what is not given lies beside the bundles, not in the folder of the moment
    refused(
        command_here("run", "--config_file", CONFIG, dataset_dir="in", cwd=tmp_path), f"{ROOT}/runs/acdc_logbarrier"
    )
    train = CONFIG.replace("inference", "train")
    done = command_here("run", "training", "--config_file", train, output_dir="out2", cwd=tmp_path)
    refused(done, f"{ROOT}/data/ACDC")
