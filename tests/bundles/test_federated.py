# SPDX-License-Identifier: Apache-2.0
"""A round of federated learning with MONAI's own client: two sites with other patients and other kinds of labels."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from monai.fl.client.monai_algo import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from tiny import ROOT, TINY, make_dataset

ROUNDS = 2
PATIENTS = {"north": ["p1", "p2", "p3"], "south": ["p4", "p5", "p6"]}


def make_site(folder, name):
    """Its own patients; the south has dense labels in the place of scribbles."""
    content = json.loads((make_dataset(folder, patients=7) / "dataset.json").read_text())
    content["training"] = [case for case in content["training"] if case["patient"] in PATIENTS[name]]
    if name == "south":
        content["training"] = [{k: v for k, v in case.items() if k != "weak_label"} for case in content["training"]]
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def make_client(name, folder, out):
    settings = {**TINY, "dataset_dir": str(folder), "output_dir": str(out), "schedule_epochs": ROUNDS}
    del settings["train#trainer#max_epochs"]  # the client sets it
    client = MonaiAlgo(
        bundle_root="bundles/acdc_logbarrier",
        config_train_filename="configs/train.yaml",
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        train_kwargs=dict(settings),
        eval_kwargs=dict(settings),
        local_epochs=1,
        best_model_filepath=str(out / "model_best.pt"),
        final_model_filepath=str(out / "model.pt"),
        send_weight_diff=False,
    )
    client.initialize({ExtraItems.CLIENT_NAME: name, ExtraItems.APP_ROOT: str(ROOT)})
    return client


def average(shared):
    """Mean of the weights by the number of training patients; here both sites have as many."""
    return {key: sum(exchange.weights[key] for exchange in shared) / len(shared) for key in shared[0].weights}


@pytest.mark.filterwarnings("ignore")
def test_two_sites_exchange_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    folders = {name: make_site(tmp_path / name, name) for name in PATIENTS}
    clients = {name: make_client(name, folder, tmp_path / f"run_{name}") for name, folder in folders.items()}
    weights = clients["north"].get_weights().weights
    for done in range(1, ROUNDS + 1):
        shared = []
        for client in clients.values():
            client.train(ExchangeObject(weights=weights))
            exchange = client.get_weights()
            assert exchange.weight_type == WeightType.WEIGHTS
            assert client.trainer.state.epoch == done
            assert client.trainer.loss_function.t == pytest.approx(5.0 * 1.1 ** (50 * (done - 1) / (ROUNDS - 1)))
            assert client.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(
                0.002 * (1 - done / ROUNDS), abs=1e-9
            )
            shared.append(exchange)
        assert any(not torch.equal(shared[0].weights[key], shared[1].weights[key]) for key in weights)
        before, weights = weights, average(shared)
        assert any(not torch.equal(before[key], weights[key]) for key in weights)
        for client in clients.values():
            metrics = client.evaluate(ExchangeObject(weights=weights)).metrics
            assert 0 <= metrics["dice"] <= 1
            got = client.evaluator.network.state_dict()
            assert all(torch.equal(got[key], weights[key]) for key in weights)
    for name, client in clients.items():
        for kind in (ModelType.BEST_MODEL, ModelType.FINAL_MODEL):
            assert client.get_weights({ExtraItems.MODEL_TYPE: kind}).weights.keys() == weights.keys()
        client.finalize()
        out = tmp_path / f"run_{name}"
        rows = list(csv.DictReader((out / "metrics.csv").open()))
        assert [row["epoch"] for row in rows] == [str(number + 1) for number in range(ROUNDS)]
        record = json.loads((out / "run.json").read_text())
        assert {*record["patients"]["training"], *record["patients"]["validation"]} == set(PATIENTS[name])
        assert (out / "checkpoint.pt").is_file() and (out / "metrics_summary.json").is_file()
