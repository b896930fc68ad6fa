# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest
from monai.bundle import ConfigWorkflow, create_workflow
from tiny import CONFIGS, ROOT

from wss_monai.bundle import check_overrides

TRAIN = ("train.yaml",)
EVALUATE = ("train.yaml", "evaluate.yaml")


@pytest.fixture(autouse=True)
def place(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def files_of(names):
    return [name if "/" in str(name) else str(CONFIGS / name) for name in map(str, names)]


def check(*names, tracking=None, **overrides):
    """Initialise a workflow, as Python code does; nothing but the check and the seed is evaluated."""
    flow = ConfigWorkflow(
        config_file=files_of(names), logging_file=False, workflow_type="train", tracking=tracking, **overrides
    )
    flow.initialize()
    return flow


def message(*names, start=check, **overrides):
    """What the user reads when the settings are refused."""
    with pytest.raises(RuntimeError) as caught:
        start(*names, **overrides)
    error = caught.value.__cause__
    assert isinstance(error, ValueError)
    return str(error)


@pytest.mark.parametrize(
    "names",
    [
        TRAIN,
        EVALUATE,
        ("train.yaml", "cpu.yaml"),
        ("train.yaml", "cpu.yaml", "volume_bounds.yaml", "evaluate.yaml"),
        ("train.yaml", "train_3d.yaml"),
        ("train.yaml", "train_3d.yaml", "evaluate.yaml"),
    ],
    ids=str,
)
def test_the_bundles_own_files_pass(names):
    assert check(*names).parser is not None


@pytest.mark.parametrize(
    "overrides",
    [
        {"mode": "partial", "learning_rate": 0.1, "train#trainer#max_epochs": 3, "train::dataset::workers": 0},
        {"train#trainer#accumulation_steps": 2, "train#dataset#progress": False, "optimizer#weight_decay": 0.01},
        {"network_def": {"_target_": "SegResNet", "spatial_dims": 2, "init_filters": 8, "out_channels": 4}},
        {"network_def": {"_target_": "monai.networks.nets.BasicUNet", "features": [8, 8, 8, 8, 8, 8]}},
        {"network_def#act": "PRELU"},
        {"network_def": "$monai.networks.nets.UNet(2, 1, 4, (4, 8), (2,))"},
        {"train#dataset#data": [{"image": "a.nii.gz", "label": "b.nii.gz"}], "validate#dataset#data": []},
        {"train#handlers": [{"_target_": "CheckpointLoader", "load_path": "m.pt", "load_dict": {"model": "@network"}}]},
        {"train#augment": None, "train#key_metric": {"accuracy": {"_target_": "MeanDice"}}},
        {"size_bounds": {"LV": [10, 900]}, "size_bounds#LV": [10, 800]},
        {"volume_bounds#Aorta": [1, 2]},
        {"bounds#choices#constant#values": {"LV": [1, 2]}, "bounds#choices#mine": {"_target_": "my.Bounds", "a": 1}},
        {"loss#choices#partial#terms#crf": ["@my_loss", 0.1], "my_loss": {"_target_": "torch.nn.CrossEntropyLoss"}},
        {"partial_loss": {"_target_": "wss_monai.losses.PartialDiceCELoss"}},
        {"optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": "@rate"}, "rate": 0.1},
        {"train#extra": 3, "val_interval": "$@train#extra"},
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_valid_overrides_are_accepted(overrides):
    assert check(*TRAIN, **overrides) is not None


@pytest.mark.parametrize(
    ("names", "overrides", "expected"),
    [
        (TRAIN, {"learning_rte": 1}, "unknown setting '--learning_rte'; did you mean '--learning_rate'?"),
        (TRAIN, {"lr": 0.1}, "unknown setting '--lr'; did you mean '--learning_rate'?"),
        (TRAIN, {"epochs": 1}, "unknown setting '--epochs'; did you mean '--max_epochs'?"),
        (TRAIN, {"steps": 1}, "unknown setting '--steps'; did you mean '--iterations'?"),
        (TRAIN, {"train#max_epochs": 1}, "unknown setting '--train#max_epochs'; did you mean '--train#trainer#max_ep"),
        (TRAIN, {"train#handler": []}, "did you mean '--train#handlers'?"),
        (TRAIN, {"train#trainer#max_epoch": 1}, "did you mean '--train#trainer#max_epochs'?"),
        (TRAIN, {"validate::evaluator::am": 1}, "did you mean '--validate#evaluator#amp'?"),
        (TRAIN, {"network_def#featurs": [4]}, "did you mean '--network_def#features'?"),
        (TRAIN, {"network_def": {"_target_": "SegResNet", "init_filter": 8}}, "mean '--network_def#init_filters'?"),
        (TRAIN, {"train#dataset#progres": 0}, "did you mean '--train#dataset#progress'?"),
        (TRAIN, {"size_weight#logbarier": 0.1}, "did you mean '--size_weight#logbarrier'?"),
        (TRAIN, {"partial_loss#ignore_idx": 0}, "did you mean '--partial_loss#ignore_index'?"),
        (TRAIN, {"ckpt_path": "m.pt"}, "'--ckpt_path' has no effect here"),
        (TRAIN, {"pattern": "*.nii"}, "unknown setting '--pattern'"),
        (TRAIN, {"qqq": 1}, "unknown setting '--qqq'. Known here: "),
        (EVALUATE, {"evaluate_onn": "test"}, "did you mean '--evaluate_on'?"),
        (EVALUATE, {"validate#handlrs": []}, "did you mean '--validate#handlers'?"),
    ],
)
def test_misspelt_overrides_are_refused_with_the_nearest_name(names, overrides, expected):
    text = message(*names, **overrides)
    assert expected in text, text


def as_command_line(*names, **overrides):
    return create_workflow(config_file=files_of(names), logging_file=False, **overrides)


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("start", [check, as_command_line])
def test_overlay_of_a_user_may_bring_its_own_ids(tmp_path, start):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("my_rate: 0.5\nlearning_rate: '@my_rate'\n+imports: ['$import json']\nmy_run: ['$1']\n")
    settings = {"run_id": "my_run"}
    assert start("train.yaml", overlay, **settings).run() == [1]
    assert "'--my_rte'" in message("train.yaml", overlay, start=start, my_rte=1, **settings)


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize(
    ("line", "words"), [("learning_rte: 0.5", "learning_rate"), ("train#trainer#max_epoch: 5", "max_epochs")]
)
def test_a_misspelt_id_in_a_file_of_ones_own_is_refused(tmp_path, line, words):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(f"{line}\n")
    said = message("train.yaml", overlay)
    assert "unknown setting" in said
    assert words in said


def test_ids_that_a_bundle_names_are_accepted():
    flow = check(*TRAIN, initialize=["$check_overrides(@bundle_root + '/configs', also=['remark'])"], remark=1)
    assert flow.parser["remark"] == 1


def test_experiment_tracking_is_not_taken_for_a_misspelling(tmp_path):
    flow = check(*TRAIN, tracking="mlflow", output_dir=str(tmp_path / "run"), dataset_dir=str(tmp_path))
    assert flow.parser["train#handlers"][-1]["_target_"] == "MLFlowHandler"


def test_properties_set_from_python_are_accepted():
    flow = check(*TRAIN)
    flow.max_epochs = 7
    flow.val_interval = 2
    flow.initialize()
    assert flow.parser["train#trainer#max_epochs"] == 7


def test_outside_of_a_workflow_there_is_nothing_to_check():
    assert check_overrides(str(CONFIGS)) is None
