# SPDX-License-Identifier: Apache-2.0
"""The output of a trainer over whole batches, as MONAI's handlers read it."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.handlers import from_engine

from wss_monai.engines import BatchTrainer
from wss_monai.handlers.batch_output import batch_output


def trainer(decollate=False):
    network = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.tensor([0.0, 3.0]))
    batches = [{"image": torch.ones(4, 1, 2, 2), "label": torch.ones(4, 2, 2, 2)}]
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    return BatchTrainer("cpu", 2, batches, network, optimizer, torch.nn.MSELoss(), decollate=decollate)


def test_the_customary_form_gives_the_loss_of_the_batch():
    engine, losses, shapes = trainer(), [], []
    loss_of = from_engine(["loss"], first=True)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(loss_of(e.state.output).item()))
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: shapes.append(batch_output(e)["pred"].shape))
    engine.run()
    assert losses == [2.5, 2.5]  # (1 + 4) / 2
    assert shapes == [(4, 2, 2, 2)] * 2


def test_a_trainer_that_decollates_is_refused():
    with pytest.raises(ValueError, match="decollate must be false"):
        trainer(decollate=True)
