# SPDX-License-Identifier: Apache-2.0
"""What MONAI Deploy's bundle operator does with a bundle, done here by MONAI alone: its SDK needs Holoscan's runtime.

Written from the behaviour of `MonaiBundleInferenceOperator` (monai-deploy-app-sdk 4): it reads a bundle folder, or a
model.ts with its configuration inside; takes all transforms whose name contains LoadImage or SaveImage out of the two
Compose; and gives a tensor without a channel axis (of several channels: the last), with the metadata of a DICOM series.
The bundle's metadata say which dictionary keys are inputs and outputs; the mask goes on as uint8, slices first.
"""

from __future__ import annotations

import json
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from monai.utils import set_determinism
from tiny import ROOT

BUNDLES = sorted(path.parent.name for path in (ROOT / "bundles").glob("*/bundle.yaml"))
LEFT_OUT = ("LoadImage", "SaveImage")
AFFINE = np.diag([-1.5, -1.5, 4.0, 1.0])
pytestmark = pytest.mark.filterwarnings("ignore")


class Operator:
    """The steps of the operator that depend on the bundle."""

    def __init__(self, parser: ConfigParser, network: torch.nn.Module) -> None:
        data = parser["_meta_"]["network_data_format"]
        self.inputs, self.outputs = list(data["inputs"]), list(data["outputs"])
        self.device = torch.device(parser.get_parsed_content("device"))
        self.inferer = parser.get_parsed_content("inferer")
        self.before, self.after = (self.compose(parser, name) for name in ("preprocessing", "postprocessing"))
        self.network = network.to(self.device).eval()

    @staticmethod
    def compose(parser: ConfigParser, name: str) -> Compose:
        """Without what reads and writes files."""
        made = parser.get_parsed_content(name)
        made.transforms = tuple(t for t in made.transforms if not any(no in type(t).__name__ for no in LEFT_OUT))
        return made

    def __call__(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Mask of an image (W, H, D), or (W, H, D, C) of several modalities."""
        channel = "no_channel" if array.ndim == 3 else -1
        meta: dict[str, Any] = {"affine": affine.copy(), "original_affine": affine.copy()}
        meta |= {"spatial_shape": np.asarray(array.shape[:3]), "original_channel_dim": channel}
        (key,), (out,) = self.inputs, self.outputs
        data = {key: MetaTensor.ensure_torch_and_prune_meta(torch.from_numpy(array), meta)}
        assert isinstance(self.before.transforms[0], MapTransform) and isinstance(
            self.after.transforms[0], MapTransform
        )
        with torch.no_grad():
            data = self.before(data)
            found = self.inferer(inputs=data[key][None].to(self.device), network=self.network)
            mask = self.after({out: found[0], **data})[out]
        return np.swapaxes(np.squeeze(mask.numpy(), 0), 0, 2).astype(np.uint8)


def parsed(bundle: str) -> ConfigParser:
    """The two files as the operator reads them from a folder."""
    configs = ROOT / "bundles" / bundle / "configs"
    parser = ConfigParser()
    parser.read_meta(json.loads((configs / "metadata.json").read_text()))
    parser.read_config([configs / "inference.yaml"])
    parser["device"] = "$torch.device('cpu')"
    if "field" in parser and parser["network_def#spatial_dims"] == 2:  # small, for speed
        parser["field"] = [32, 32, -1]
        parser["window"] = [32, 32]
    if "modalities" in parser:
        parser["network_def#channels"] = [4, 4, 4, 4]
        parser["gate"] = "none"  # random networks would say of every slice that nothing is in it
    parser.parse()
    return parser


def network_of(parser: ConfigParser) -> torch.nn.Module:
    """Random weights, the same each time, none of whose classes wins everywhere."""
    set_determinism(0)
    network = parser.get_parsed_content("network_def")
    set_determinism(None)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            if name.endswith("head.weight"):  # of maps: evidence for the foreground, more or less of it
                value[1] = value[1].abs()
                value[0] = -value[1]
    return network.eval()


def image(parser: ConfigParser) -> np.ndarray:
    """A volume of 36 x 40 x 3 voxels, or 24 deep for a 3D network; the channel axis last where there are several."""
    about = parser["_meta_"]["network_data_format"]["inputs"]["image"]
    depth = 24 if len(about["spatial_shape"]) == 3 else 3
    shape = (36, 40, depth, about["num_channels"])[: 3 + (about["num_channels"] > 1)]
    smooth = torch.rand(1, 1, *shape[:3], generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool3d(smooth, (5, 5, 1), 1, (2, 2, 0))[0, 0].numpy() * 255
    return np.stack([smooth, 255 - smooth, smooth**2 / 255, smooth], -1)[..., : shape[3]] if len(shape) > 3 else smooth


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_operator_predicts_on_the_grid_of_its_image(bundle):
    parser = parsed(bundle)
    array = image(parser)
    mask = Operator(parser, network_of(parser))(array, AFFINE)
    assert mask.shape == array.shape[2::-1] and mask.dtype == np.uint8
    data = parser["_meta_"]["network_data_format"]
    classes = (data.get("post_processed_outputs") or data["outputs"])["pred"]["channel_def"]
    assert mask.max() < len(classes)


@pytest.mark.parametrize("bundle", ["acdc_logbarrier", "hippocampus_logbarrier", "prostate_cross_modality"])
def test_its_mask_is_that_of_the_command(bundle, tmp_path):
    """Of the same image as files; one bundle a way of reading."""
    parser = parsed(bundle)
    array, network = image(parser), network_of(parser)
    channels = np.moveaxis(array, -1, 0) if array.ndim > 3 else array[None]
    names = [f"a_{name}.nii.gz" for name in parser.config.get("modalities", ["image"])]
    for name, channel in zip(names, channels, strict=True):
        nib.save(nib.Nifti1Image(channel.astype(np.float32), AFFINE), tmp_path / name)
    given = [str(tmp_path / name) for name in names]
    case = parser.get_parsed_content("preprocessing")({"image": given if len(given) > 1 else given[0]})
    with torch.no_grad():
        found = parser.get_parsed_content("inferer")(case["image"][None], network)
    steps = parser.get_parsed_content("postprocessing").transforms
    written = Compose([step for step in steps if "SaveImage" not in type(step).__name__])({"pred": found[0], **case})
    expected = np.swapaxes(written["pred"].numpy()[0], 0, 2)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(Operator(parsed(bundle), network)(array, AFFINE), expected)


def test_from_a_torchscript_with_its_configuration_inside(tmp_path):
    """As `ckpt_export` makes it, which the operator unzips."""
    bundle = "hippocampus_logbarrier"
    configs, parser = ROOT / "bundles" / bundle / "configs", parsed(bundle)
    network = network_of(parser)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    out = tmp_path / "model.ts"
    ckpt_export("network_def", filepath=str(out), ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(configs / "metadata.json"), config_file=str(configs / "inference.yaml"))  # fmt: skip
    inside = {"inference.json": "", "metadata.json": ""}
    scripted = torch.jit.load(out, _extra_files=inside)
    packed = ConfigParser()
    packed.read_meta(json.loads(inside["metadata.json"]))
    packed.read_config(json.loads(inside["inference.json"]))
    packed["device"] = "$torch.device('cpu')"
    packed.parse()
    array = image(parser)
    expected = Operator(parser, network)(array, AFFINE)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(Operator(packed, scripted)(array, AFFINE), expected)


def test_a_folder_without_known_file_names_is_told_of_its_image(tmp_path):
    """The image of another program has no file: a refusal says so and does not fail over the name."""
    parser = parsed("acdc_logbarrier")
    array = image(parser)
    array[0, 0, 0] = np.nan
    with pytest.raises(Exception) as caught:
        Operator(parser, network_of(parser))(array, AFFINE)
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert "the image holds intensities that are not finite" in str(error)
