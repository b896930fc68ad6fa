# SPDX-License-Identifier: Apache-2.0
"""The setting `compile` of a bundle: the same run, whose files know nothing of it."""

from __future__ import annotations

import pytest
import torch
from tiny import interrupt

SETTINGS = {"mode": "logbarrier", "val_interval": 1}
EAGER = {"backend": "eager"}
"""What torch.compile finds is computed by torch's own operators: the same numbers."""


@pytest.mark.parametrize("mode", ["full", "pseudo"])
def test_a_compiled_run_ends_where_the_plain_one_ends(run_bundle, tmp_path, mode):
    settings = {**SETTINGS, "mode": mode, "pseudo_start": 0.0, "pseudo_ramp": 0.5}
    compiled, there = run_bundle("train.yaml", out=tmp_path / "compiled", compile=EAGER, **settings)
    trainer = compiled.parser.get_parsed_content("train#trainer")
    assert hasattr(trainer.network, "_orig_mod") and hasattr(trainer.loss_function, "_orig_mod")
    plain, here = run_bundle("train.yaml", out=tmp_path / "plain", **settings)
    assert not hasattr(plain.parser.get_parsed_content("train#trainer").network, "_orig_mod")
    wanted, found = (torch.load(folder / "model.pt") for folder in (here, there))
    assert wanted.keys() == found.keys() and len(wanted) > 10
    for key, value in wanted.items():
        assert torch.equal(value, found[key]), key


def test_a_run_goes_on_with_or_without_it(run_bundle, tmp_path):
    """Begun compiled, broken off, ended plain: as one that was never compiled; and the names are the network's own."""
    flow, out = run_bundle("train.yaml", run=False, out=tmp_path / "run", compile=EAGER, **SETTINGS)
    interrupt(flow, epoch=2)
    names = [*torch.load(out / "model.pt"), *torch.load(out / "checkpoint.pt", weights_only=True)["objects"]["network"]]
    assert names and not any("_orig_mod" in name for name in names)
    run_bundle("train.yaml", out=out, resume=True, **SETTINGS)
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **SETTINGS)
    wanted, found = (torch.load(folder / "model.pt") for folder in (whole, out))
    for key, value in wanted.items():
        assert torch.equal(value, found[key]), key
