# SPDX-License-Identifier: Apache-2.0
"""Running statistics are the same in all processes; tests/bundles/test_multi_gpu.py has two."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from torch import nn

from wss_monai.handlers import SharedBuffers, shared_buffers


def run(networks, monkeypatch, processes):
    sent = []
    monkeypatch.setattr(shared_buffers, "rank_and_size", lambda: (0, processes))
    monkeypatch.setattr(shared_buffers.dist, "broadcast", lambda tensor, source: sent.append((tensor, source)))
    engine = Engine(lambda engine, batch: None)
    SharedBuffers(networks).attach(engine)
    engine.run([0, 1], max_epochs=2)
    return sent


def test_buffers_go_out_once_an_epoch(monkeypatch):
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), norm)
    sent = run([network, network], monkeypatch, 2)
    each = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    assert [source for _, source in sent] == [0] * 6
    assert all(tensor is buffer for (tensor, _), buffer in zip(sent, each * 2, strict=True))


def test_one_process_sends_nothing(monkeypatch):
    assert run([nn.BatchNorm2d(3)], monkeypatch, 1) == []


def test_a_network_without_buffers(monkeypatch):
    assert run([nn.Conv2d(1, 3, 3, dtype=torch.float64)], monkeypatch, 2) == []
