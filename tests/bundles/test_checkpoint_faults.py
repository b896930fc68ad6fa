# SPDX-License-Identifier: Apache-2.0
"""Weights, checkpoints and output folders that a run cannot use: one error, nothing written."""

from __future__ import annotations

import re

import pytest
import torch
from tiny import workflow

from wss_monai.bundle.user_errors import find_user_error


def refuse(message, *files, **settings):
    with pytest.raises(Exception) as caught:
        flow = workflow(*files, **settings)
        flow.initialize()
        flow.run()
    error = find_user_error(caught.value)
    assert isinstance(error, (ValueError, FileNotFoundError)) and re.search(message, str(error)), str(error)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    flow = workflow("train.yaml", folder=dataset, out=out)
    flow.initialize()
    flow.run()
    return out


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file", ["train.yaml", "evaluate.yaml"])
def test_output_folder_that_cannot_be_written(trained, dataset, tmp_path, file):
    (tmp_path / "taken").write_text("mine")
    more = {} if file == "train.yaml" else {"ckpt_path": str(trained / "model.pt")}
    message = r"cannot write to the output folder .*taken/run \(.*: .*taken\): choose another --output_dir"
    refuse(message, *dict.fromkeys(["train.yaml", file]), folder=dataset, out=tmp_path / "taken" / "run", **more)
    assert files_of(tmp_path) == {tmp_path / "taken": b"mine"}


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (
            "model.pt",
            {"network_def#features": [8, 8, 8, 8, 8, 8]},
            r"model\.pt has the weights of another network: .* \(4, 1, 3, 3\)",
        ),
        ("checkpoint.pt", {}, r"checkpoint of a training run, .* model\.pt beside it"),
        (b"half", {}, r"cannot read .*weights\.pt"),
        ({"state": 1}, {}, r"weights\.pt holds no network's weights but \['state'\]"),
    ],
)
def test_evaluation_with_other_weights(trained, dataset, tmp_path, content, settings, message):
    path = tmp_path / "weights.pt"
    if isinstance(content, str):
        path = trained / content
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    files = ("train.yaml", "evaluate.yaml")
    refuse(message, *files, folder=dataset, out=tmp_path / "run", ckpt_path=str(path), **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "resume", "message"),
    [
        (b"", True, r"cannot read .*checkpoint\.pt \(it is empty\)"),
        (b"text", False, r"cannot read .*checkpoint\.pt"),
        ({"model": {}, "optimizer": {}}, True, r"no training checkpoint of this package: it holds \['model'"),
        ({"format": 1, "epoch": 1, "objects": {}}, True, r"older version of this package \(format 1, here 2\)"),
    ],
)
def test_training_beside_a_checkpoint_that_is_none(dataset, tmp_path, content, resume, message):
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    before = files_of(tmp_path)
    refuse(message, "train.yaml", folder=dataset, out=tmp_path / "run", resume=resume)
    assert files_of(tmp_path) == before
