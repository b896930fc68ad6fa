# SPDX-License-Identifier: Apache-2.0
"""Activation maps as files and figures."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, CenterSpatialCropd, Compose, Flipd, Invertd, Spacingd
from PIL import Image

from wss_monai.handlers import CAMFiles
from wss_monai.report import cam_sheet
from wss_monai.transforms import CAMLogitsd, CAMScoresd

AFFINE = torch.tensor([[0.0, -2, 0, 5], [2, 0, 0, -7], [0, 0, 5, 3], [0, 0, 0, 1]], dtype=torch.float64)


def run(handler: CAMFiles, *cases) -> None:
    def step(engine, batch):
        engine.state.batch = batch[0]
        return batch[1]

    engine = Engine(step)
    handler.attach(engine)
    engine.run([([item], [output]) for item, output in cases])


def case(name: str, modalities: int = 2, shape: tuple[int, ...] = (6, 5, 4), affine=AFFINE):
    R = np.random.RandomState(0)

    def made(channels):
        return MetaTensor(torch.from_numpy(R.rand(channels, *shape)).float(), affine=affine)

    item = {"case": name, "image": made(modalities), "label": (made(1) > 0.5).to(torch.uint8)}
    return item, {"maps": made(modalities + 1), "pred": (made(1) > 0.5).float()}


class Recorder:
    """A sheet that keeps what it was asked to draw."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple, dict]] = []

    def __call__(self, *arguments, **more):
        self.calls.append((arguments, more))
        return Image.new("RGB", (8, 8))


@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_maps_read_back_as_0_to_1_on_the_grid_of_the_case(tmp_path, modalities):
    names = ["T2", "ADC/b", "T1", "FLAIR"][:modalities]
    item, output = case("p1", modalities)
    output["maps"][0, 0, 0, 0], output["maps"][0, 1, 0, 0] = 0, 1
    run(CAMFiles(tmp_path, names), (item, output))
    files = sorted(path.name for path in (tmp_path / "evaluation" / "maps").iterdir())
    endings = ["T2", "ADC_b", "T1", "FLAIR"][:modalities] + (["fused"] if modalities > 1 else [])
    assert files == sorted(f"p1_{ending}.nii.gz" for ending in endings)
    assert not (tmp_path / "evaluation" / "figures").exists()
    for number, ending in enumerate(endings):
        file = nib.load(tmp_path / "evaluation" / "maps" / f"p1_{ending}.nii.gz")
        assert file.get_data_dtype() == np.uint8
        np.testing.assert_allclose(file.affine, AFFINE.numpy(), atol=1e-6)
        values = file.get_fdata()
        np.testing.assert_allclose(values, output["maps"][number].numpy(), atol=0.5 / 255 + 1e-6)
        assert values.min() >= 0 and values.max() <= 1
    first = nib.load(tmp_path / "evaluation" / "maps" / "p1_T2.nii.gz").get_fdata()
    assert first[0, 0, 0] == 0 and first[1, 0, 0] == pytest.approx(1, abs=1e-6)


def test_what_is_drawn_and_how_often(tmp_path):
    sheet = Recorder()
    handler = CAMFiles(tmp_path, ["T2", "ADC"], sheet, folder="inference", figures=2, slice_axis=1)
    cases = [case(name) for name in ("a", "b", "c")]
    del cases[1][0]["label"]
    run(handler, *cases)
    assert sorted(path.name for path in (tmp_path / "inference" / "figures").iterdir()) == ["a.png", "b.png"]
    assert len(list((tmp_path / "inference" / "maps").iterdir())) == 9
    (image, maps, prediction, spacing, names), more = sheet.calls[0]
    item, output = cases[0]
    np.testing.assert_array_equal(image, item["image"].numpy())
    np.testing.assert_array_equal(maps, output["maps"].numpy())
    np.testing.assert_array_equal(prediction, output["pred"][0].numpy())
    np.testing.assert_array_equal(more["reference"], item["label"][0].numpy())
    assert spacing == [2, 2, 5] and names == ["T2", "ADC"] and more["slice_axis"] == 1
    np.testing.assert_array_equal(more["affine"], AFFINE.numpy())
    assert sheet.calls[1][1]["reference"] is None
    run(handler, *cases)
    assert len(sheet.calls) == 4


def test_the_image_comes_back_to_the_grid_of_the_maps(tmp_path):
    """The whole way: raw maps on the network's grid, scores, mask and maps on the file's, and the image beside them."""
    shape = (12, 10, 4)
    ramp = torch.arange(12.0)[:, None, None].expand(shape)
    load = Compose([Flipd("image", 0), Spacingd("image", (1.0, 1.0, -1)), CenterSpatialCropd("image", (16, 16, -1))])
    item = load({"case": "p", "image": MetaTensor(torch.stack([ramp, -ramp]), affine=AFFINE)})
    assert item["image"].shape == (2, 16, 16, 4)
    raw = torch.full((4, 16, 16, 4), -0.01)
    raw[[0, 2]] = 0
    raw[[1, 3], 6:10, 6:10, 1:3] = 5
    data = {**item, "pred": MetaTensor(raw, affine=item["image"].affine)}
    post = Compose(
        [
            CAMScoresd("pred", ["T2", "ADC"], maps_key="maps"),
            CAMLogitsd("pred"),
            Invertd(["pred", "maps"], load, orig_keys="image", nearest_interp=False),
            AsDiscreted("pred", argmax=True),
        ]
    )
    out = post(data)
    sheet = Recorder()
    run(CAMFiles(tmp_path, ["T2", "ADC"], sheet), (item, {"pred": out["pred"], "maps": out["maps"]}))
    (image, maps, prediction, *_), _ = sheet.calls[0]
    assert image.shape == (2, *shape) and maps.shape == (3, *shape) and prediction.shape == shape
    seen = image[0] != 0
    assert seen.sum() > 200
    np.testing.assert_allclose(image[0][seen][:40], ramp.numpy()[seen][:40], atol=0.51)
    assert prediction[..., 0].sum() == 0 and 4 <= prediction[..., 1].sum() <= 16
    file = nib.load(tmp_path / "evaluation" / "maps" / "p_fused.nii.gz")
    np.testing.assert_allclose(file.affine, AFFINE.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(24, 20, 5), (24, 20)])
def test_with_the_sheet_of_the_report(tmp_path, shape):
    cases = [case("a", 2, shape), case("b", 2, shape)]
    for _, output in cases:
        output["maps"][:] = 0 if output is cases[1][1] else output["maps"]
        output["pred"][:] = 0
    cases[1][0]["label"][:] = 255
    run(CAMFiles(tmp_path, ["T2", "ADC"], cam_sheet), *cases)
    sizes = [Image.open(tmp_path / "evaluation" / "figures" / f"{name}.png").size for name in "ab"]
    assert sizes[0][0] > sizes[1][0]  # a column of the reference more


def test_a_case_without_a_name_has_that_of_its_file(tmp_path):
    item, output = case("")
    item["image"].meta["filename_or_obj"] = ["/data/x/scan_T2.nii.gz", "/data/x/scan_ADC.nii.gz"]
    run(CAMFiles(tmp_path, ["T2", "ADC"]), (item, output))
    assert (tmp_path / "evaluation" / "maps" / "scan_T2_fused.nii.gz").is_file()


def test_messages(tmp_path):
    for wrong in ([], ["a", "a"], ["a b", "a_b"], ["a", "fused"]):
        with pytest.raises(ValueError, match="modalities must be different names"):
            CAMFiles(tmp_path, wrong)
    item, output = case("p")
    with pytest.raises(ValueError, match="case 'p': 'maps' holds 3 maps; 4 modalities and their fusion are 5"):
        CAMFiles(tmp_path, ["a", "b", "c", "d"]).add(item, output)
    with pytest.raises(ValueError, match="not on one grid: give Invertd the keys 'pred' and 'maps'"):
        CAMFiles(tmp_path, ["a", "b"]).add(item, {**output, "pred": output["pred"][..., :2]})
