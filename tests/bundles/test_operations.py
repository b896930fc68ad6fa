# SPDX-License-Identifier: Apache-2.0
"""What MONAI's own tools do with the bundle: metadata, shapes, export to TorchScript, properties."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from tiny import CONFIGS, ROOT, TINY, UNET_3D

META = str(CONFIGS / "metadata.json")
SCHEMA = Path(__file__).with_name("schema.json")
NETWORK = {key: value for key, value in TINY.items() if key.startswith("network_def")}


def configs(*names):
    return [str(CONFIGS / name) for name in names]


@pytest.mark.filterwarnings("ignore:No hash value")
def test_metadata_fits_the_schema(tmp_path):
    verify_metadata(meta_file=META, filepath=str(SCHEMA))
    content = json.loads(Path(META).read_text())
    assert content["version"] in content["changelog"]
    del content["network_data_format"]["outputs"]["pred"]
    broken = tmp_path / "metadata.json"
    broken.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="pred"):
        verify_metadata(meta_file=str(broken), filepath=str(SCHEMA))


def test_metadata_names_the_classes_and_versions_of_the_bundle():
    content = json.loads(Path(META).read_text())
    parser = ConfigParser()
    parser.read_config(configs("train.yaml"))
    channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == parser["class_names"]
    from wss_monai import __version__

    assert content["required_packages_version"]["wss_monai"] == __version__ == content["version"]


@pytest.mark.parametrize("overlay", [(), ("inference_cpu.yaml",)])
def test_network_takes_and_gives_what_the_metadata_says(overlay):
    verify_net_in_out(
        net_id="network_def", meta_file=META, config_file=configs("inference.yaml", *overlay), device="cpu"
    )


def test_training_and_inference_configure_the_same_network():
    for train, inference in (
        (("train.yaml",), ("inference.yaml",)),
        (("train.yaml", "cpu.yaml"), ("inference.yaml", "inference_cpu.yaml")),
        (("train.yaml", "train_3d.yaml"), ("inference.yaml", "inference_3d.yaml")),
    ):
        parsers = [ConfigParser(), ConfigParser()]
        for parser, names in zip(parsers, (train, inference), strict=True):
            parser.read_config(configs(*names))
        one, other = (dict(parser["network_def"]) for parser in parsers)
        assert one.pop("out_channels") == "$len(@class_names)"
        assert other.pop("out_channels") == len(parsers[0]["class_names"])
        assert one == other
        for key in ("pixdim", "field", "window"):
            trained, predicted = (parser[key] for parser in parsers)
            assert predicted == (parsers[0]["patch_size"] if trained == "@patch_size" else trained)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")
@pytest.mark.parametrize("use_trace", [False, True])
def test_exported_torchscript_predicts_the_same(run_bundle, tmp_path, use_trace):
    flow, out = run_bundle("train.yaml")
    exported = tmp_path / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(exported),
        ckpt_file=str(out / "model.pt"),
        meta_file=META,
        config_file=configs("inference.yaml"),
        use_trace=use_trace,
        input_shape=[1, 1, 32, 32],
        **NETWORK,
    )
    eager = flow.parser.get_parsed_content("network_def").eval()
    extra = {"inference.json": "", "metadata.json": ""}
    scripted = torch.jit.load(exported, _extra_files=extra)
    image = torch.rand(3, 1, 48, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(scripted(image), eager(image), rtol=0, atol=1e-5)
    packed = json.loads(extra["inference.json"])
    assert {"preprocessing", "postprocessing", "inferer"} <= set(packed)
    assert json.loads(extra["metadata.json"])["name"] == "ACDC log-barrier"


SMALL_3D = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]}
SMALL_3D |= {"network_def": UNET_3D}


@pytest.mark.parametrize("last", [(), ("evaluate.yaml",)], ids=["train", "evaluate"])
@pytest.mark.parametrize("overlay", [(), ("cpu.yaml",), ("volume_bounds.yaml",), ("train_3d.yaml",)], ids=str)
def test_properties_of_training_and_evaluation(run_bundle, overlay, last):
    settings = SMALL_3D if "train_3d.yaml" in overlay else {}
    flow, _ = run_bundle("train.yaml", *overlay, *last, run=False, **settings)
    assert flow.check_properties() == []
    assert flow.max_epochs == 2 and flow.val_interval == 1
    assert len(flow.train_dataset) == 2 and len(flow.val_dataset_data) == 1


@pytest.mark.parametrize("overlay", [(), ("inference_cpu.yaml",), ("inference_3d.yaml",)], ids=str)
def test_properties_of_inference(dataset, tmp_path, monkeypatch, overlay):
    monkeypatch.chdir(ROOT)
    flow = ConfigWorkflow(
        config_file=configs("inference.yaml", *overlay),
        meta_file=META,
        logging_file=False,
        workflow_type="infer",
        dataset_dir=str(dataset / "images"),
        output_dir=str(tmp_path / "predictions"),
    )
    flow.initialize()
    assert flow.check_properties() == []
    assert len(flow.dataset) == 4


def test_inference_without_images_is_refused(tmp_path):
    flow = ConfigWorkflow(
        config_file=configs("inference.yaml"),
        meta_file=META,
        logging_file=False,
        workflow_type="infer",
        dataset_dir=str(tmp_path),
        pattern="*.nii",
    )
    with pytest.raises(RuntimeError) as caught:
        flow.initialize()
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert f"there is no {tmp_path}/*.nii" in str(caught.value.__cause__)
