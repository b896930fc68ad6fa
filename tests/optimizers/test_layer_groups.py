# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import LrScheduleHandler
from torch import nn

from wss_monai.handlers import TrainingCheckpoint
from wss_monai.networks import LargeFOV
from wss_monai.optimizers import layer_groups, published_groups


class Wrapped(nn.Module):
    """What DistributedDataParallel makes of the names."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def network():
    return nn.ModuleDict(
        {
            "first": nn.Conv2d(1, 2, 3),
            "norm": nn.BatchNorm2d(2),
            "plain": nn.Linear(2, 2, False),
            "fc8": nn.Linear(2, 3),
        }
    )


def facts(groups):
    return [(g["name"], len(g["params"]), g["lr"], g["weight_decay"]) for g in groups]


def test_the_first_pattern_that_matches_decides():
    net = network()
    groups = layer_groups(net, 0.5, 0.25, {"fc8.*": {"lr": 10}, "*.bias": {"lr": 2, "weight_decay": 0}})
    assert facts(groups) == [("rest", 3, 0.5, 0.25), ("fc8.*", 2, 5.0, 0.25), ("*.bias", 2, 1.0, 0.0)]
    assert groups[2]["params"][0] is net["first"].bias
    optimizer = torch.optim.SGD(groups, 0.5, momentum=0.9)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 5.0, 1.0]
    assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == len(list(net.parameters()))


def test_no_rest():
    assert facts(layer_groups(network(), 1.0)) == [("rest", 7, 1.0, 0.0)]
    assert facts(layer_groups(network(), 1.0, rates={"*": {"lr": 0}})) == [("*", 7, 0.0, 0.0)]
    with pytest.raises(
        ValueError, match=r"no pattern of \['fc8.\*'\] matches.*first.weight, first.bias, norm.weight and 2"
    ):
        layer_groups(network(), 1.0, rates={"fc8.*": {}}, rest=False)


@pytest.mark.parametrize("wrap", [nn.Identity, Wrapped])
def test_published_groups(wrap):
    net = LargeFOV(2, 1, 4, width=1, hidden=2, dilation=2)
    groups = published_groups(net if wrap is nn.Identity else wrap(net))
    assert facts(groups) == [
        ("rest", 15, 1e-3, 5e-4),
        ("fc8.*bias", 1, pytest.approx(2e-2), 0.0),
        ("*bias", 15, 2e-3, 0.0),
        ("fc8.*", 1, 1e-2, 5e-4),
    ]
    assert groups[1]["params"] == [net.fc8.bias] and groups[3]["params"] == [net.fc8.weight]
    assert all(p.ndim == 4 for p in groups[0]["params"]) and all(p.ndim == 1 for p in groups[2]["params"])


def test_published_groups_of_networks_without_biases():
    net = nn.ModuleDict({"first": nn.Conv2d(1, 2, 3, bias=False), "classifier": nn.Linear(2, 3, bias=False)})
    assert facts(published_groups(net, 1.0, 0.5, "classifier")) == [
        ("rest", 1, 1.0, 0.5),
        ("classifier.*", 1, 10.0, 0.5),
    ]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"fc9.*": {"lr": 10}}, r"rates\['fc9.\*'\] gets no parameter: none has such a name; .*'fc8"),
        ({"conv": {"lr": 10}}, r"rates\['conv'\] gets no parameter"),
        ({"fc8.*": {}, "fc8.bias": {}}, r"'fc8.bias'\] gets no parameter.*\(fc8.bias\) match \['fc8.\*'\] before"),
        ({"fc8.*": {"rate": 10}}, r"multipliers of \['lr', 'weight_decay'\], got \{'rate': 10\}"),
        ({"fc8.*": 10}, r"multipliers of \['lr', 'weight_decay'\], got 10"),
        ({"fc8.*": {"lr": -1}}, "multiplier of lr must be a number from 0 up, got -1"),
        ({"fc8.*": {"weight_decay": float("nan")}}, "multiplier of weight_decay must be a number from 0 up, got nan"),
    ],
)
def test_bad_rates_are_named(rates, message):
    with pytest.raises(ValueError, match=message):
        layer_groups(network(), 1.0, rates=rates)


def test_a_last_layer_that_is_not_there():
    with pytest.raises(ValueError, match=r"rates\['classifier.\*'\] gets no parameter.*the network has \['fc8"):
        published_groups(LargeFOV(2, 1, 4, width=1, hidden=2, dilation=2), last="classifier")


def recipe(net):
    optimizer = torch.optim.SGD(published_groups(net), 1e-3, momentum=0.9)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2000, 0.1)


def run(folder, epochs, stop_in=None, resume=False):
    """Give the rates at the beginning of each iteration of a run with 1000 iterations an epoch."""
    net = network()
    optimizer, scheduler = recipe(net)
    rates = {}

    def step(engine, _):
        if engine.state.epoch == stop_in:
            raise KeyboardInterrupt
        rates[engine.state.iteration - 1] = [group["lr"] for group in optimizer.param_groups]
        if engine.state.iteration == 1:
            net["first"].weight.grad = torch.ones_like(net["first"].weight)
        optimizer.step()

    engine = Engine(step)
    engine.state.epoch_length = 1000
    LrScheduleHandler(scheduler, print_lr=False, epoch_level=False).attach(engine)
    objects = {"network": net, "optimizer": optimizer, "lr_scheduler": scheduler}
    TrainingCheckpoint(folder, objects, resume=resume).attach(engine)
    engine.state.max_epochs = epochs
    try:
        engine.run(range(1000), max_epochs=epochs)
    except KeyboardInterrupt:
        assert stop_in is not None
    return rates


def test_the_published_schedule_falls_after_2000_iterations_and_survives_a_checkpoint(tmp_path):
    whole = run(tmp_path / "whole", 5)
    base = [1e-3, 2e-2, 2e-3, 1e-2]
    for iteration, factor in {0: 1, 1: 1, 1999: 1, 2000: 0.1, 3999: 0.1, 4000: 0.01, 4999: 0.01}.items():
        assert whole[iteration] == pytest.approx([rate * factor for rate in base])
    parts = run(tmp_path / "parts", 5, stop_in=2)
    parts |= run(tmp_path / "parts", 5, stop_in=4, resume=True)
    parts |= run(tmp_path / "parts", 5, resume=True)
    assert parts == whole
