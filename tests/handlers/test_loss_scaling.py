# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from torch import nn

from wss_monai.handlers import LossScaling


class Scaler:
    """Stands in for the scaler that MONAI's trainer makes."""


def started(amp: bool, **amp_kwargs) -> object:
    engine = Engine(lambda *_: None)
    engine.amp, engine.amp_kwargs, engine.scaler = amp, amp_kwargs, Scaler()
    engine.state.device = torch.device("cuda:0")
    LossScaling().attach(engine)
    engine.run([0])
    return engine.scaler


def test_bfloat16_is_not_scaled():
    scaler = started(True, dtype=torch.bfloat16)
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], 0.5)
    loss = 3 * weight.sum()
    assert not scaler.is_enabled() and scaler.scale(loss) is loss
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.item() == pytest.approx(0.5) and scaler.state_dict() == {}


@pytest.mark.parametrize("kwargs", [{}, {"dtype": torch.float16}])
def test_float16_keeps_the_scaler_of_the_trainer(kwargs):
    assert isinstance(started(True, **kwargs), Scaler)


def test_without_mixed_precision_nothing_changes():
    assert isinstance(started(False, dtype=torch.bfloat16), Scaler)


def test_a_trainer_learns_with_it():
    """The trainer calls what it is given in place of its own scaler."""
    network = nn.Linear(1, 1)
    before = network.weight.detach().clone()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(2, 1), "label": torch.zeros(2, 1)}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=nn.MSELoss(),
        train_handlers=[LossScaling()],
        decollate=False,
        amp=True,
        amp_kwargs={"dtype": torch.bfloat16},
    )
    trainer.run()
    assert not trainer.scaler.is_enabled()
    assert not torch.equal(network.weight, before)
