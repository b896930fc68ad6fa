# SPDX-License-Identifier: Apache-2.0
"""A bundle's training starts from the weights of a file, and says what of them it took."""

from __future__ import annotations

import pytest
import torch
from tiny import ROOT, run_workflow, user_error


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


@pytest.mark.parametrize("mode", ["partial", "pseudo"])
def test_a_run_starts_from_the_weights_of_another(dataset, tmp_path, monkeypatch, mode):
    monkeypatch.chdir(ROOT)
    settings = {"folder": dataset, "train#trainer#max_epochs": 1, "mode": mode}
    run_workflow("train.yaml", out=tmp_path / "first", **settings)
    file = tmp_path / "first" / "model.pt"
    run_workflow(
        "train.yaml", out=tmp_path / "second", initialize_from=str(file), learning_rate=1e-12, seed=3, **settings
    )
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name in first:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(second[name], first[name], msg=name)
    log = (tmp_path / "second" / "log.txt").read_text()
    assert f"initialize_from: {file} gives {len(first)} of {len(first)} tensors" in log
    with pytest.raises(Exception) as caught:
        run_workflow("train.yaml", out=tmp_path / "third", initialize_from=str(tmp_path / "none.pt"), **settings)
    assert "there is no file" in user_error(caught.value)
