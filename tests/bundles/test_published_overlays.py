# SPDX-License-Identifier: Apache-2.0
"""The overlays published.yaml: each trains, and what it says of the papers arrives in the parts that compute."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import pytest
import torch
from tiny import ROOT, TINY, differing_voxels, make_dataset, run_workflow

from wss_monai.__main__ import main
from wss_monai.transforms import ChannelShifts

PUBLISHED = ("train.yaml", "published.yaml")
STRETCHED = {"pixdim": [-1.0, -1.0, -1.0], "crop": [-1, -1, -1]}
CPU = {"train#trainer#max_epochs": 1, "device": "$torch.device('cpu')", "val_interval": 1}


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("discs") / "data", patients=6)


def pictures(folder: Path, kind: str, radius: int) -> Path:
    words = ["--images", "3", "2", "--size", "32", "32", "--radius", str(radius), "--out", str(folder)]
    assert main(["synthesize", kind, *words]) == 0
    return folder


def finite_losses(out: Path) -> dict[str, float]:
    with (out / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    losses = {name: float(value) for name, value in row.items() if name.startswith("loss")}
    assert losses and all(math.isfinite(value) for value in losses.values())
    return losses


def test_toy_1(tmp_path):
    data = pictures(tmp_path / "data", "toy", 7)
    flow = run_workflow(
        *PUBLISHED, bundle="toy_size", tiny={"window": [32, 32], **CPU}, folder=data, out=tmp_path / "run"
    )
    assert {"loss_partial", "loss_size"} <= set(finite_losses(tmp_path / "run"))
    terms = flow.parser.get_parsed_content("loss").terms
    assert terms["partial"].floor == 1e-10 and list(terms["partial"].classes) == [1]
    assert terms["size"].published and terms["size"].reduction == "sum"


@pytest.mark.parametrize("mode", ["quadratic", "logbarrier"])
def test_toy_2_divides_by_the_pixels_and_bounds_coordinates_by_a_tenth(tmp_path, mode):
    data = pictures(tmp_path / "data", "two-circles", 5)
    tiny = {"window": [32, 32], **CPU}
    flow = run_workflow(*PUBLISHED, bundle="toy_logbarrier", tiny=tiny, folder=data, out=tmp_path / "run", mode=mode)
    finite_losses(tmp_path / "run")
    prepare = flow.parser.get_parsed_content("train#trainer").prepare_batch
    image, target = prepare(next(iter(flow.parser.get_parsed_content("train#dataloader"))), torch.device("cpu"))
    truth = (target["label"] == 1).nonzero()[:, 2:].double().mean(0)
    expected = torch.stack((0.9 * truth, 1.1 * truth), -1)
    torch.testing.assert_close(target["bounds_centroid"][0, 1].double(), expected, rtol=1e-4, atol=1e-4)
    loss, network = (flow.parser.get_parsed_content(name) for name in ("loss", "network_def"))
    network.train()
    logits = network(image).detach()
    total = loss(logits, target)
    probs = torch.softmax(5 * logits, 1)[0, 1].double()
    size, (low, high) = probs.sum(), target["bounds_size"][0, 1, 0].double()
    axes = [torch.arange(32.0, dtype=torch.float64), torch.arange(32.0, dtype=torch.float64)]
    centre = torch.stack(((probs.sum(1) * axes[0]).sum(), (probs.sum(0) * axes[1]).sum())) / size
    z = torch.cat((torch.stack((low - size, size - high)), expected[:, 0] - centre, centre - expected[:, 1]))
    t = 1.0
    barrier = torch.where(z <= -1 / t**2, -(-z.clamp(max=-1e-12)).log() / t, t * z - math.log(1 / t**2) / t + 1 / t)
    cost = barrier if mode == "logbarrier" else z.relu().square()
    torch.testing.assert_close(total.double(), cost.sum() / 32**2, rtol=1e-3, atol=1e-3)


def test_the_notebook_on_the_heart(discs, tmp_path):
    tiny = {key: value for key, value in TINY.items() if not key.startswith(("network_def", "batch_size", "size_b"))}
    tiny |= CPU | STRETCHED | {"network_def#features": 2, "stretch": [32, 48, -1], "window": [32, 48]}
    flow = run_workflow(*PUBLISHED, bundle="acdc_size", tiny=tiny, folder=discs, out=tmp_path)
    finite_losses(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["bounds_origin"] == "oracle"
    batch = next(iter(flow.parser.get_parsed_content("train#dataloader")))
    assert len(batch["image"]) == 1
    bounds, label = batch["bounds_size"][0, :, 0], batch["label"][0, 0]
    for k in (1, 2, 3):  # RV is missing in some slices: [0, 0] there
        size = float((label == k).sum())
        assert bounds[k].tolist() == pytest.approx([0.9 * size, 1.1 * size], rel=1e-5)
    assert flow.parser.get_parsed_content("train#augment") is None
    # slices of 36 x 34 pixels, stretched: pixels of 2.25 x 1.42 mm, intensities in steps of 1 / 255 from 0 to 1
    assert batch["image"].shape == (1, 1, 32, 48)
    torch.testing.assert_close(batch["spacing"][0], torch.tensor([2 * 36 / 32, 2 * 34 / 48]))
    store = flow.parser.get_parsed_content("train#dataloader").store.tensors["image"]
    assert (float(store.min()), float(store.max())) == (0, 1)
    torch.testing.assert_close(store * 255, (store * 255).round(), atol=1e-3, rtol=0)
    run_workflow(*PUBLISHED, "evaluate.yaml", bundle="acdc_size", tiny=tiny, folder=discs, out=tmp_path)
    assert_on_its_own_grid(tmp_path, discs)


def assert_on_its_own_grid(run: Path, data: Path) -> None:
    """Predictions of an evaluation lie on the grid of the image, and the run's folder alone gives the same."""
    case = json.loads((run / "evaluation" / "cases.json").read_text())[0]
    image, found = nib.load(case["image"]), nib.load(run / case["prediction"])
    assert found.shape == image.shape == (36, 34, 4)
    assert abs(found.affine - image.affine).max() < 1e-5
    assert differing_voxels(run) == {case["case"]: 0}


def test_seed_expand_constrain(discs, tmp_path):
    tiny = {key: value for key, value in TINY.items() if key not in ("size_bounds", "network_def#features")}
    tiny |= CPU | {"network_def#width": 2, "network_def#hidden": 4, "network_def#dilation": 1}
    tiny |= STRETCHED | {"stretch": [33, 33, -1], "window": [33, 33], "iterations": "null"}
    flow = run_workflow(*PUBLISHED, bundle="acdc_sec", tiny=tiny, folder=discs, out=tmp_path)
    losses = finite_losses(tmp_path)
    assert losses["loss"] == pytest.approx(sum(value for name, value in losses.items() if name != "loss"), rel=1e-4)
    terms = flow.parser.get_parsed_content("loss").terms
    assert (terms["expand"].present, terms["expand"].absent, terms["expand"].background) == (0.996, 0.0, 0.999)
    assert "theta_alpha=6.6666667" in str(terms["constrain"]) and "lattice" in str(terms["constrain"])
    files = (*PUBLISHED, "evaluate.yaml", "published_evaluate.yaml")
    run_workflow(*files, bundle="acdc_sec", tiny=tiny, folder=discs, out=tmp_path)
    summary = json.loads((tmp_path / "metrics_summary.json").read_text())
    found = [v for name, v in summary["iou_pooled"].items() if name != "mean" and v > 0]
    assert summary["iou_pooled"]["mean"] == pytest.approx(sum(found) / len(found))
    assert_on_its_own_grid(tmp_path, discs)


def test_cross_modality(prostates, tmp_path):
    tiny = {"pixdim": [6.0, 6.0, -1.0], "crop": [24, 24, -1], "window": [24, 24], "network_def#channels": [2, 4]}
    tiny |= {"views#sizes": [16, 32, 8], "family": "scaling"}
    flow = run_workflow(
        *PUBLISHED,
        bundle="prostate_cross_modality",
        tiny={**tiny, **CPU, "validation": 1},
        folder=prostates,
        out=tmp_path,
    )
    assert {"loss_within", "loss_cross", "loss_exchange"} <= set(finite_losses(tmp_path))
    loss = flow.parser.get_parsed_content("loss")
    assert loss.border == "compared" and loss.visible == 0
    assert loss.weights == {"classification": 1.0, "exchange": 0.5, "within": 1.0, "cross": 1.0}
    assert flow.parser.get_parsed_content("views").one_a_batch
    prepare = flow.parser.get_parsed_content("train#trainer").prepare_batch
    image, target, _, _ = prepare(next(iter(flow.parser.get_parsed_content("train#dataloader"))), torch.device("cpu"))
    assert image.shape[1:] == (2, 24, 24) and target["view"].frame[0] in (16, 24, 32)
    assert isinstance(prepare.augment, ChannelShifts) and prepare.augment.translation == 0.1
    with (tmp_path / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    own = [float(row[f"val_tag_accuracy_{name}"]) for name in ("T2", "ADC")]
    assert float(row["val_score"]) == pytest.approx(sum(own) / 2)
    store = flow.parser.get_parsed_content("train#dataloader").store.tensors["image"]
    torch.testing.assert_close(store * 255, (store * 255).round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("bundle", "weights"), [("prostate_cross_modality", 213_632), ("brats_cross_modality", 3_398_144)]
)
def test_networks_of_cross_modality_have_the_published_weights(bundle, weights):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(ROOT / "bundles" / bundle / "configs" / name) for name in PUBLISHED])
    network = parser.get_parsed_content("network_def")
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == weights * len(parser.get_parsed_content("modalities"))


@pytest.mark.parametrize("mode", ["partial", "meanteacher", "midl", "udaiic"])
def test_mutual_information(discs, tmp_path, mode):
    tiny = {"pixdim": [2.0, 2.0, -1.0], "window": [32, 32], "num_clusters": 3, "num_heads": 2}
    tiny |= {"network_def#channels": [2, 2, 4, 4, 4], "labelled": 1, "labelled_batch": 2, "unlabelled_batch": 3}
    tiny |= {
        "crop": [40, 40, -1],
        "field": [32, 32, -1],
        "train#augment#crop": [32, 32],
        "epoch_iterations": 2,
        "warmup_epochs": 0,
        "validation": 1,
        **CPU,
    }
    settings = {"bundle": "acdc_mutual_information", "tiny": tiny, "folder": discs, "out": tmp_path, "mode": mode}
    flow = run_workflow(*PUBLISHED, **settings)
    finite_losses(tmp_path)
    assert flow.parser.get_parsed_content("loss").needs_first or mode == "meanteacher"
    batch = next(iter(flow.parser.get_parsed_content("train#dataloader")))
    image, *_ = flow.parser.get_parsed_content("train#trainer").prepare_batch(batch, torch.device("cpu"))
    assert batch["image"].shape[2:] == (40, 40) and image.shape[2:] == (32, 32)
    torch.testing.assert_close(image * 255, (image * 255).round(), atol=1e-3, rtol=0)
    if mode == "meanteacher":
        average = flow.parser.get_parsed_content("average")
        assert average.shrink == 1e-6 and average.own_statistics and average.network.training


def test_the_upper_bound_of_mutual_information_has_unlabelled_slices_too(discs, tmp_path):
    tiny = {"pixdim": [2.0, 2.0, -1.0], "window": [32, 32], "crop": [40, 40, -1], "field": [32, 32, -1]}
    tiny |= {"train#augment#crop": [32, 32], "network_def#channels": [2, 2, 4, 4, 4], "validation": 1, **CPU}
    tiny |= {"labelled": "all", "unlabelled": "all", "epoch_iterations": 1, "warmup_epochs": 0, "labelled_batch": 2}
    settings = {"bundle": "acdc_mutual_information", "tiny": tiny, "folder": discs, "out": tmp_path, "mode": "partial"}
    flow = run_workflow(*PUBLISHED, **settings)
    finite_losses(tmp_path)
    data = flow.parser.get_parsed_content("data")
    assert [case["case"] for case in data.labelled] == [case["case"] for case in data.unlabelled]
    run_workflow("train.yaml", "published.yaml", "evaluate.yaml", **settings)
    assert (tmp_path / "metrics_summary.json").is_file()
