# SPDX-License-Identifier: Apache-2.0
"""What a bundle asks of a GPU: read without one, and trained on one that is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fake_cuda import FakeCuda
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from tiny import ROOT

BUNDLES = sorted(path.parent for path in (ROOT / "bundles").glob("*/bundle.yaml"))
NETWORKS: dict[str, dict[str, Any]] = {
    "BasicUNet": {"features": [4, 4, 4, 4, 4, 4]},
    "SegResNet": {"init_filters": 8},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
    "UNet": {"channels": [4, 8], "strides": [2]},
    "DynUNet": {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
    "FlexibleUNet": {"backbone": "efficientnet-b0"},
}
"""MONAI's networks, some of which do not say how many dimensions they have."""
OWN = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3}
"""A network without any of MONAI's arguments."""
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


def parser_of(bundle: Path, *files: str, device: str = "cuda:0") -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / file) for file in files])
    parser["device"] = f"$torch.device('{device}')"
    return parser


@each_bundle
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_network_of_monai_says_its_memory_format(bundle, network, dimensions):
    parser = parser_of(bundle, "train.yaml")
    parser["network_def"] = {
        "_target_": network,
        "spatial_dims": dimensions,
        "in_channels": 1,
        "out_channels": 2,
        **NETWORKS[network],
    }
    wanted = torch.channels_last if dimensions == 2 else torch.contiguous_format
    if bundle.name in ("hippocampus_logbarrier", "weak_3d"):  # volumes alone
        wanted = torch.contiguous_format
    assert parser.get_parsed_content("memory_format") == wanted
    cpu = parser_of(bundle, "train.yaml", device="cpu")
    cpu["network_def"] = parser["network_def"]
    assert cpu.get_parsed_content("memory_format") == torch.contiguous_format


def test_a_network_of_ones_own_says_its_memory_format():
    parser = parser_of(ROOT / "bundles" / "acdc_logbarrier", "train.yaml")
    parser["network_def"] = OWN
    assert parser.get_parsed_content("memory_format") == torch.channels_last
    parser = parser_of(ROOT / "bundles" / "acdc_logbarrier", "train.yaml")
    parser["network_def"] = {**OWN, "_target_": "torch.nn.Conv3d"}
    assert parser.get_parsed_content("memory_format") == torch.contiguous_format


@each_bundle
@pytest.mark.parametrize("known", [True, False])
def test_the_card_is_asked_for_its_type(bundle, known, monkeypatch):
    """Without bfloat16 in hardware it is emulated, slowly: float16 there."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or known)
    for file in ("train.yaml", "inference.yaml"):
        wanted = torch.bfloat16 if known else torch.float16
        assert parser_of(bundle, file).get_parsed_content("amp_dtype") == wanted


def blocks(value: Any) -> list[dict]:
    """All dictionaries within."""
    if isinstance(value, dict):
        return [value, *(block for item in value.values() for block in blocks(item))]
    return [block for item in value for block in blocks(item)] if isinstance(value, list) else []


@each_bundle
def test_training_evaluation_and_inference_compute_in_one_type(bundle):
    seen = 0
    for file in sorted((bundle / "configs").glob("*.yaml")):
        for block in blocks(yaml.safe_load(file.read_text())):
            if "amp" in block and "_target_" in block:
                given = block.get("amp_dtype") or block.get("amp_kwargs", {}).get("dtype")
                assert given == "@amp_dtype", f"{file.name}: {block['_target_']}"
                seen += 1
    assert seen >= 3  # trainer, validation and evaluation, inference


@each_bundle
def test_the_scaler_is_settled_before_a_checkpoint_is_read(bundle):
    handlers = yaml.safe_load((bundle / "configs" / "train.yaml").read_text())["train"]["handlers"]
    names = [handler["_target_"].rpartition(".")[2] for handler in handlers]
    assert names.index("LossScaling") < names.index("TrainingCheckpoint")


@pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning")
@pytest.mark.parametrize("mode", ["full", "partial", "quadratic", "logbarrier"])
def test_a_step_of_the_bundle_waits_for_nothing(mode, run_bundle, monkeypatch):
    """From the batch of the loader to the optimiser, all handlers included; without the first iteration."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "made up")
    waits = []

    def note(engine: Engine) -> None:
        if len(waits) == 3:
            raise KeyboardInterrupt
        waits.append((gpu.syncs, gpu.blocking, gpu.uploads, dict(gpu.places)))
        gpu.reset()

    with FakeCuda() as gpu:
        settings = {"mode": mode, "batch_size": 2, "val_interval": 2, "amp_dtype": "$torch.bfloat16", "store": "memory"}
        flow, _ = run_bundle("train.yaml", run=False, device="$torch.device('cuda:0')", **settings)
        trainer = flow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
        with pytest.raises(KeyboardInterrupt):
            flow.run()
        assert not trainer.scaler.is_enabled()  # which waits once a step; bfloat16 needs none
    for syncs, blocking, uploads, places in waits[1:]:
        assert (syncs, blocking) == (0, 0), places
        assert 2 < uploads <= 5, places  # image, map, bounds; and all that was drawn in one


@pytest.mark.parametrize("wanted", [False, True])
def test_cudnn_may_time_its_algorithms(wanted, run_bundle, monkeypatch):
    """MONAI's seed turns it off; the setting has the last word."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not wanted)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    run_bundle("train.yaml", run=False, cudnn_benchmark=wanted)
    assert torch.backends.cudnn.benchmark is wanted and torch.backends.cudnn.deterministic
