# SPDX-License-Identifier: Apache-2.0
"""Every bundle records what a prediction needs; the tests of most bundles compare it with their evaluation."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser
from tiny import ROOT, TINY, differing_voxels, run_workflow

from wss_monai.bundle.configuration import as_ids
from wss_monai.bundle.prediction_settings import prediction_settings

BUNDLES = sorted(path.parent.parent for path in (ROOT / "bundles").glob("*/configs/train.yaml"))
SMALL = {key: value for key, value in TINY.items() if "features" not in key} | {"network_def#channels": [4, 8]}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_settings_of_every_overlay_are_plain(bundle):
    configs = bundle / "configs"
    overlays = [file for file in configs.glob("*.yaml") if file.stem.partition("_")[0] not in ("multi", "inference")]
    for overlay in overlays:
        if overlay.stem in ("train", "cues", "hippocampus_cpu", "evaluate"):
            continue
        parser = ConfigParser()
        parser.read_config([configs / "train.yaml", overlay, configs / "evaluate.yaml"])
        parser.resolve_macro_and_relative_ids()
        found = prediction_settings(parser.config)
        assert "reason" not in found, (overlay.name, found)
        assert found["class_names"][0] == "background"
        assert found["preprocessing"]["transforms"][0]["_target_"] == "wss_monai.transforms.LoadCased"


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("network_def", "$object()", "'network_def' is an object of builtins.object"),
        ("validate#postprocessing#transforms#2", "$lambda data: data", "'validate#postprocessing#transforms#2' is an"),
        (
            "validate#preprocessing",
            {"_target_": "mine.Steps"},
            "there is no setting 'validate#preprocessing#transforms",
        ),
        ("validate#preprocessing#transforms#4", {"_target_": "mine.Step"}, "is a step without keys, mine.Step"),
        ("slice_axis", "x", "its configuration is of another kind"),
    ],
)
def test_what_cannot_be_recorded_is_named_and_stops_no_training(setting, value, reason):
    configs = ROOT / "bundles" / "acdc_logbarrier" / "configs"
    parser = ConfigParser()
    parser.read_config([configs / "train.yaml", configs / "evaluate.yaml"])
    parser[setting] = value
    parser.resolve_macro_and_relative_ids()
    assert reason in prediction_settings(parser.config)["reason"]


def test_the_whole_configuration_is_json():
    found = as_ids({"a": {"b": float("inf"), "device": [1, None]}, "dataset_dir": "data"}, everything=True)
    assert found == {"a#b": "Infinity", "a#device#0": 1, "a#device#1": None, "dataset_dir": "data"}


def test_the_size_loss_of_the_tutorials(discs, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    tiny = SMALL | {"field": [32, 32, -1], "network_def#strides": [2], "train#trainer#max_epochs": 1}
    for files in (["train.yaml", "cpu.yaml"], ["train.yaml", "cpu.yaml", "evaluate.yaml"]):
        run_workflow(
            *files,
            bundle="acdc_size",
            tiny=tiny,
            folder=discs,
            out=tmp_path,
            **({"keep_largest": True} if len(files) == 3 else {}),
        )
    assert differing_voxels(tmp_path) == {"p0_ED": 0}
