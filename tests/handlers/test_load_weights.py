# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from wss_monai.handlers import StrictCheckpointLoader


def network(features=2, **more):
    return nn.Sequential(nn.Linear(features, 3), nn.Linear(3, 1, **more))


def load(path, into):
    engine = Engine(lambda *_: None)
    StrictCheckpointLoader(path, into).attach(engine)
    engine.run([0])


def test_weights_are_loaded_when_the_engine_starts(tmp_path):
    one, other = network(), network()
    torch.save(one.state_dict(), tmp_path / "model.pt")
    load(tmp_path / "model.pt", other)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


CHECKPOINT = {"format": 2, "epoch": 1, "objects": {"network": {}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there are no weights .*model\.pt: train first, or set --output_dir or --ckpt_path"),
        (b"", r"cannot read .*model\.pt \(it is empty\): choose another --ckpt_path"),
        (b"text", r"cannot read .*model\.pt \("),
        (CHECKPOINT, r"checkpoint of a training run, .*model\.pt beside it"),
        ({"model": {}, "epoch": 3}, r"holds no network's weights but \['model', 'epoch'\]"),
        ({}, r"holds no network's weights but nothing"),
        ([1], r"holds no network's weights but a list"),
        (
            network(4).state_dict(),
            r"model\.pt has the weights of another network: 19 weights in 4 tensors in the file, 13 weights in "
            r"4 tensors in this Sequential; 0\.weight is \(3, 4\) in the file and \(3, 2\) here\. Give the same files",
        ),
        (network(bias=False).state_dict(), r"1\.bias \(1,\) is not in the file\."),
        ({**network().state_dict(), "2.bias": torch.zeros(7)}, r"2\.bias \(7,\) of the file is not here\."),
        ({"a": torch.zeros(1)}, r"0\.weight \(3, 2\) is not in the file; .*; and 2 more\."),
    ],
)
def test_what_does_not_fit_is_refused_and_the_network_stays(tmp_path, content, message):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    into = network()
    before = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(FileNotFoundError if content is None else ValueError, match=message):
        load(path, into)
    assert all(torch.equal(value, before[name]) for name, value in into.state_dict().items())
