# SPDX-License-Identifier: Apache-2.0
"""Somebody else's losses beside the published overlays, step by step, and nothing of them left behind."""

from __future__ import annotations

import contextlib
import sys

import pytest
from tiny import ROOT

LOSSES = """
import torch
from .utils import soft_size


class CrossEntropy:
    def __init__(self, idk):
        self.idk = idk

    def __call__(self, probs, target):
        drawn = target[:, self.idk]
        return -((probs[:, self.idk] + FLOOR).log() * drawn).sum() / drawn.sum()


class NaiveSizeLoss:
    def __init__(self, idk):
        self.idk = idk

    def __call__(self, probs, bounds):
        size, (lower, upper) = soft_size(probs)[:, self.idk], bounds[:, self.idk].unbind(-1)
        return ((size - upper).relu() ** 2 + (lower - size).relu() ** 2) / probs[0, 0].numel()


class ParametrableLogBarrier:
    def __init__(self, idk, function):
        self.idk, self.function = idk, function

    def __call__(self, probs, bounds):
        measure, (lower, upper) = self.function(probs)[:, self.idk].flatten(), bounds[:, self.idk].unbind(-1)
        z = torch.cat((measure - upper.flatten(), lower.flatten() - measure))
        return torch.where(z <= -1, -(-z.clamp(max=-1)).log(), z + 1).sum() / probs[0, 0].numel()
"""
NETWORK = """
from torch import nn


def shallowCNN(channels, kernels, classes):
    widths = [channels, 4 * kernels, 4 * kernels, classes]
    return nn.Sequential(*(
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.PReLU())
        for a, b in zip(widths, widths[1:])
    ))
"""
HELPERS = """
import torch
import torchvision


def weights_init(module):
    pass


def soft_size(probs):
    return probs.sum((2, 3))


def soft_centroid(probs):
    places = torch.meshgrid(*(torch.arange(n).float() for n in probs.shape[2:]), indexing='ij')
    return torch.stack([(probs * place).sum((2, 3)) for place in places], -1) / soft_size(probs)[..., None]
"""


@pytest.fixture
def source(tmp_path):
    def make(floor="1e-10"):
        folder = tmp_path / "code" / "utils"
        folder.mkdir(parents=True)
        for name, text in {"losses": LOSSES.replace("FLOOR", floor), "ShallowNet": NETWORK, "utils": HELPERS}.items():
            (folder / f"{name}.py").write_text(text)
        return tmp_path

    return make


@pytest.fixture
def start(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import authors_tutorial

    def run(source, steps=3):
        monkeypatch.setattr("sys.argv", ["authors_tutorial.py", "--source", str(source), "--steps", str(steps)])
        authors_tutorial.main()
        rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
        return {tuple(row[:3]): (float(row[3]), float(row[4])) for row in rows}

    return run


def test_the_published_overlays_are_their_losses_step_by_step(start, source):
    before = set(sys.modules), sys.path[:]
    apart = start(source())
    for (_, _, configuration), (loss, weights) in apart.items():
        assert configuration != "published.yaml" or (loss < 1e-5 and weights < 1e-6)
    assert len(apart) == 8 and apart["toy_logbarrier", "logbarrier", "train.yaml"][0] > 0.1
    assert sys.path == before[1] and not {name for name in set(sys.modules) - before[0] if name.startswith("utils")}


def test_a_difference_is_seen(start, source):
    assert start(source("1e-2"))["toy_size", "full", "published.yaml"][0] > 1e-3


def test_a_folder_without_their_code_is_refused(start, tmp_path, capsys):
    with pytest.raises(SystemExit), contextlib.suppress(KeyError):
        start(tmp_path)
    assert "has no losses.py" in capsys.readouterr().err
