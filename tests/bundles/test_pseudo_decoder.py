# SPDX-License-Identifier: Apache-2.0
"""Mode pseudo with a second decoder as the teacher: trains, resumes, leaves a plain network, in 2D and 3D."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from monai.networks.nets import BasicUNet
from tiny import TINY, UNET_3D, interrupt, user_error

from wss_monai.__main__ import main
from wss_monai.losses import WeightedSumLoss

SETTINGS = {
    **{"mode": "pseudo", "pseudo_teacher": "decoder", "train#trainer#max_epochs": 4},
    **{"pseudo_start": 0.25, "pseudo_ramp": 0.5},
}
SIZES = {"ED": {"RV": 2.0, "Myo": 3.0, "LV": 2.0}}
PATCHES = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]}


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def objects_of(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["objects"]


def same(first, second) -> bool:
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_both_decoders_learn_and_a_plain_network_is_left(run_bundle, weak_dataset):
    flow, out = run_bundle("train.yaml", folder=weak_dataset, run=False, **SETTINGS)
    parts = ("network_def", "decoders", "average")
    network, decoders, average = (flow.parser.get_parsed_content(part) for part in parts)
    before = {name: value.clone() for name, value in decoders.state_dict().items()}
    flow.run()
    flow.finalize()
    assert average is None
    after = decoders.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in after if name.endswith("conv.weight"))

    saved, objects = (torch.load(out / f"{file}.pt", weights_only=True) for file in ("model", "checkpoint"))
    objects = objects["objects"]
    plain = BasicUNet(2, 1, 4, features=TINY["network_def#features"], act="relu", norm="batch", upsample="nontrainable")
    assert set(saved) == set(plain.state_dict())  # and no name more
    plain.load_state_dict(saved)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(images), decoders.eval()(images))
    assert same(objects["network"], saved) and same(objects["second_decoder"], decoders.second.state_dict())
    assert "average" not in objects
    assert json.loads((out / "run.json").read_text())["parameters"] == sum(p.numel() for p in plain.parameters())
    assert network is decoders.network


def test_pseudo_labels_come_in_after_the_start(run_bundle, weak_dataset):
    _, out = run_bundle("train.yaml", folder=weak_dataset, **SETTINGS)
    rows = rows_of(out)
    assert float(rows[0]["loss_pseudo"]) == 0 and float(rows[0]["pseudo_removed"]) == 0
    assert all(float(row["loss_pseudo"]) > 0 and float(row["loss_partial"]) > 0 for row in rows[1:])
    assert float(rows[0]["loss"]) == pytest.approx(float(rows[0]["loss_partial"]), rel=1e-4)


def test_evaluation_is_that_of_the_first_decoder(run_bundle):
    _, out = run_bundle("train.yaml", **SETTINGS)
    scores = []
    for name, settings in (("same", SETTINGS), ("partial", {"mode": "partial"})):
        folder = out.parent / name
        run_bundle("train.yaml", "evaluate.yaml", out=folder, ckpt_path=str(out / "model.pt"), **settings)
        scores.append((folder / "evaluation" / "cases.csv").read_text())
    assert scores[0] == scores[1]


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, weak_dataset, tmp_path):
    settings = {**SETTINGS, "set_size": "stated", "stated_sizes": SIZES, "set_sizes#every": 3, "set_sizes#count": 1}
    settings |= {"folder": weak_dataset, "network_def#dropout": 0.2}
    flow, whole = run_bundle("train.yaml", out=tmp_path / "whole", **settings)
    assert flow.parser.get_parsed_content("set_sizes").solved == 2  # at 3, the first with pseudo-labels, and 6 of 8
    flow, broken = run_bundle("train.yaml", out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle("train.yaml", out=broken, resume=True, **settings)
    expected, got = objects_of(whole), objects_of(broken)
    assert same(expected["network"], got["network"]) and same(expected["second_decoder"], got["second_decoder"])
    assert torch.equal(expected["set_size"]["shift"], got["set_size"]["shift"])
    assert float(expected["set_size"]["shift"].abs().sum()) > 0
    rows = [rows_of(folder) for folder in (whole, broken)]
    for column in ("loss", "loss_partial", "loss_pseudo", "pseudo_removed", "set_shift_LV"):
        assert [row[column] for row in rows[0]] == [row[column] for row in rows[1]]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_on_patches(run_bundle, batch_size):
    network = {"_target_": "BasicUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 4, "norm": "instance"}
    network |= {"features": [4, 4, 4, 4, 4, 4]}
    settings = {**SETTINGS, **PATCHES, "batch_size": batch_size, "network_def": network}
    settings |= {"patch_size": [32, 32, 16], "window": [32, 32, 16]}  # four times halved
    _, out = run_bundle("train.yaml", "train_3d.yaml", **settings)
    assert float(rows_of(out)[3]["loss_pseudo"]) > 0
    assert any(name.startswith("upcat_1") for name in objects_of(out)["second_decoder"])


def test_with_boxes_and_their_constraints(run_bundle, dataset, tmp_path):
    """The overlay's terms act on both decoders, and the label stays in the boxes."""
    boxes = tmp_path / "boxes"
    assert main(["weaken", "--data", str(dataset), "--strategy", "box", "--out", str(boxes)]) == 0
    _, out = run_bundle("train.yaml", "box.yaml", folder=boxes, **SETTINGS)
    last = rows_of(out)[3]
    assert float(last["loss_pseudo"]) > 0 and float(last["loss_tightness"]) != 0 and "violation_size" in last


def test_other_modes_and_the_average_are_untouched(run_bundle):
    flow, out = run_bundle("train.yaml", mode="partial", pseudo_teacher="decoder", scored="average")
    content = {name: flow.parser.get_parsed_content(name) for name in ("network_def", "network", "loss", "decoders")}
    assert content["decoders"] is None and content["network"] is content["network_def"]
    assert type(flow.parser.get_parsed_content("train#trainer").loss_function) is WeightedSumLoss
    _, plain = run_bundle("train.yaml", mode="partial", out=out.parent / "plain")
    assert same(objects_of(out)["network"], objects_of(plain)["network"])
    assert "second_decoder" not in objects_of(plain)
    flow, _ = run_bundle("train.yaml", run=False, mode="pseudo")
    assert flow.parser.get_parsed_content("network") is flow.parser.get_parsed_content("network_def")
    assert flow.parser.get_parsed_content("average") is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scored": "average"}, "scored cannot be 'average': with --pseudo_teacher decoder there is no running"),
        ({"pseudo_teacher": "decodr"}, "pseudo_teacher must be one of ['average', 'decoder'], got 'decodr'; did you"),
        ({"decoder_dropout": 1.5}, "dropout must be at least 0 and less than 1, got 1.5"),
        ({"network_def": {**UNET_3D, "spatial_dims": 2, "strides": [2]}}, "needs MONAI's BasicUNet"),
    ],
)
def test_impossible_settings_are_refused(run_bundle, settings, message):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", **{**SETTINGS, **settings})
    assert message in user_error(error.value)


def test_properties(run_bundle):
    for files in (("train.yaml",), ("train.yaml", "evaluate.yaml")):
        flow, _ = run_bundle(*files, run=False, **SETTINGS)
        assert flow.check_properties() == []
