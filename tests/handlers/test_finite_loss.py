# SPDX-License-Identifier: Apache-2.0
"""A loss that is not finite ends the training: which epoch, which iteration, which term."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fake_cuda import FakeCuda
from ignite.engine import Engine, Events
from torch import nn

from wss_monai.handlers import FiniteLoss
from wss_monai.handlers.finite_loss import first_not_finite

NAN, INF = float("nan"), float("inf")


def run(values, epochs=2, length=3, names=("a", "b"), network=None, scored=None, device="cpu", **options):
    """Train on losses by iteration (from 1), 1.0 elsewhere; give the epochs that ended and the error."""
    loss = SimpleNamespace(parts={})
    network = nn.Linear(2, 2) if network is None else network

    def step(engine, batch):
        parts = values.get(engine.state.iteration, {})
        loss.parts = {name: torch.tensor(parts.get(name, 1.0), device=device) for name in names}
        return {"loss": sum(loss.parts.values())}

    trainer, ended, looked = Engine(step), [], []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: ended.append(e.state.epoch))
    handler = FiniteLoss(loss, network, scored, **options)
    handler.attach(trainer)
    look = handler._look
    handler._look = lambda state: (looked.append(state.iteration), look(state))
    try:
        trainer.run(range(length), max_epochs=epochs)
    except ValueError as error:
        return ended, str(error), looked
    return ended, "", looked


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_it_names_epoch_iteration_and_term_and_ends_before_the_epoch_does(bad):
    ended, message, _ = run({5: {"b": bad}})
    assert ended == [1]
    assert "epoch 2, iteration 5, in the term 'b'" in message


def test_several_terms_and_a_sum_that_overflows():
    assert "iteration 1, in the terms ['a', 'b']" in run({1: {"a": NAN, "b": INF}})[1]
    assert "iteration 2." in run({2: {"a": 3e38, "b": 3e38}})[1]  # each is finite, the sum is not


def test_a_finite_run_ends_well():
    assert run({})[:2] == ([1, 2], "")


def test_terms_that_come_later_are_looked_at_too():
    loss, handler = SimpleNamespace(parts={}), None
    handler = FiniteLoss(loss, nn.Linear(1, 1))
    state = SimpleNamespace(epoch=1, iteration=1, epoch_length=9, output={"loss": torch.tensor(1.0)})
    loss.parts = {"a": torch.tensor(1.0)}
    handler(SimpleNamespace(state=state))
    state.iteration, loss.parts = 2, {"late": torch.tensor(NAN)}
    with pytest.raises(ValueError, match=r"epoch 1, iteration 2, in the term 'late'"):
        handler(SimpleNamespace(state=state))


def test_weights_that_are_not_finite_end_the_epoch_before_it_is_saved():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network[1].running_var[1] = INF
    ended, message, _ = run({}, network=network)
    assert ended == [] and "'1.running_var' after epoch 1, iteration 3" in message
    ended, message, _ = run({}, scored=network)
    assert ended == [] and "'1.running_var'" in message


def test_integers_count_as_finite():
    assert first_not_finite([("n", torch.tensor(3)), ("name", "x")]) is None
    assert first_not_finite([("n", torch.tensor(3)), ("w", torch.tensor([1.0, NAN]))]) == "w"


def test_a_gpu_is_waited_for_now_and_then_alone_and_the_first_iteration_is_named_all_the_same():
    handler = FiniteLoss(SimpleNamespace(parts={}), nn.Linear(1, 1), interval=4)
    looks = []
    handler._look = lambda state: looks.append(state.iteration)
    for iteration in range(1, 11):
        output = {"loss": torch.tensor(1.0, device="meta")}
        state = SimpleNamespace(epoch=1, iteration=iteration, epoch_length=10, output=output)
        handler(SimpleNamespace(state=state))
    assert looks == [4, 8, 10]
    late = FiniteLoss(SimpleNamespace(parts={}), nn.Linear(1, 1))
    for iteration, value in enumerate((1.0, NAN, 1.0, INF), start=1):
        late._note({"loss": torch.tensor(value)}, iteration)
    with pytest.raises(ValueError, match="epoch 1, iteration 2"):
        late._look(SimpleNamespace(epoch=1, epoch_length=10))


def test_an_iteration_does_not_wait_for_the_device():
    loss = SimpleNamespace(parts={})
    handler = FiniteLoss(loss, nn.Linear(1, 1), interval=3)
    with FakeCuda() as gpu:
        for iteration in range(1, 7):
            value = torch.tensor(1.0 if iteration < 5 else NAN).to("cuda:0")
            loss.parts = {"a": value}
            waits = gpu.syncs
            state = SimpleNamespace(epoch=1, iteration=iteration, epoch_length=100, output={"loss": value})
            try:
                handler(SimpleNamespace(state=state))
            except ValueError as error:
                assert iteration == 6 and "iteration 5, in the term 'a'" in str(error)
                break
            assert gpu.syncs - waits == (1 if iteration == 3 else 0)
        else:
            pytest.fail("the loss was not finite")
