# SPDX-License-Identifier: Apache-2.0
"""Somebody else's losses beside ours on random input; stubs are gone afterwards."""

from __future__ import annotations

import sys

import pytest
from tiny import ROOT

GLOBAL = """
import torch
from termcolor import colored
from torch._six import container_abcs
from deepclustering2.utils import simplex
from contrastyou.helper import average_iter


class IIDLoss:
    def __call__(self, p, q):
        assert simplex(p) and colored("text", "green") == "text" and container_abcs.Iterable
        joint = p.T @ q / len(p)
        joint = (joint + joint.T) / (2 * joint.sum())
        apart = torch.outer(joint.sum(0), joint.sum(0))
        return -(joint * (joint / apart).log()).sum(), None


class IIDSegmentationLoss:
    def __init__(self, padding, patch_size=None):
        pass

    def __call__(self, p, q):
        return (p * q).sum()


IIDSegmentationSmallPathLoss = IIDSegmentationLoss
"""


@pytest.fixture
def start(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import authors_losses

    def run(*words):
        monkeypatch.setattr("sys.argv", ["authors_losses.py", *map(str, words)])
        authors_losses.main()
        rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
        return {name: (float(value), float(gradient)) for name, value, gradient in rows}

    return run


def test_equal_and_different_losses_are_told_apart(start, tmp_path):
    (file := tmp_path / "contrastyou" / "losses" / "iic_loss.py").parent.mkdir(parents=True)
    file.write_text(GLOBAL)
    before = set(sys.modules)
    apart = start("--mutual_information", tmp_path)
    assert max(apart["global mutual information"]) < 1e-6  # but for the 1e-10 within the logarithms
    assert apart["local mutual information, whole"][0] > 0.1
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("termcolor", "contrastyou")}


@pytest.mark.parametrize("words", [(), ("--cross_modality", "nowhere")])
def test_no_checkout_is_an_error(start, capsys, words):
    with pytest.raises(SystemExit):
        start(*words)
    assert "checkout" in capsys.readouterr().err
