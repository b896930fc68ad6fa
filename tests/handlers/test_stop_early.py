# SPDX-License-Identifier: Apache-2.0
"""Early stopping: after so many validations without a better score, and a resumed run goes on waiting."""

from __future__ import annotations

import pytest
from ignite.engine import Engine, Events

from wss_monai.handlers import Patience, StopEarly


def train(scores: list[float], patience: Patience, epochs: int = 10, done: int = 0, state: dict | None = None) -> int:
    """Run with one validation an epoch; gives the epoch of the end."""
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    evaluator.state.metrics, evaluator.state.key_metric_name = {}, "score"

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run([0])

    @evaluator.on(Events.STARTED)
    def name(engine):
        engine.state.key_metric_name = "score"

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure(engine):
        engine.state.metrics = {"score": scores[trainer.state.epoch - 1]}

    handler = StopEarly(patience, evaluator)
    handler.attach(trainer)
    if state is not None:
        patience.load_state_dict(state)
    if done:
        trainer.load_state_dict({"epoch": done, "max_epochs": epochs, "epoch_length": 1})
    trainer.run([0], max_epochs=epochs)
    return trainer.state.epoch


@pytest.mark.parametrize(
    ("scores", "settings", "end"),
    [
        ([1, 2, 3, 4, 5, 6], {"patience": 2}, 6),  # always better
        ([1, 2, 1, 1, 9, 9], {"patience": 2}, 4),
        ([1, 2, 1, 3, 1, 1], {"patience": 2}, 6),  # the third is waited for, and so is the sixth
        ([1, 1.05, 1.1, 1.15, 9, 9], {"patience": 2, "min_delta": 0.5}, 3),
    ],
)
def test_when_it_ends(scores, settings, end):
    assert train(scores, Patience(settings, 1), epochs=6) == end


def test_a_resumed_run_goes_on_waiting():
    scores, whole = [1, 2, 1, 1, 1, 1], Patience({"patience": 3}, 1)
    assert train(scores, whole, epochs=6) == 5
    first = Patience({"patience": 3}, 1)
    train(scores, first, epochs=3)
    second = Patience({"patience": 3}, 1)
    assert train(scores, second, epochs=6, done=3, state=first.state_dict()) == 5
    assert second.state_dict() == whole.state_dict()


def test_a_run_that_had_ended_stays_so():
    first = Patience({"patience": 1}, 1)
    assert train([2, 1, 3, 3], first, epochs=4) == 2
    again = Patience({"patience": 1}, 1)
    assert train([2, 1, 3, 3], again, epochs=4, done=2, state=first.state_dict()) == 2


@pytest.mark.parametrize(
    ("settings", "validated", "message"),
    [
        ({"patience": 0}, 1, "patience of early_stopping must be a whole number of at least 1; got 0"),
        ({"patience": 2, "min_delta": -1}, 1, "min_delta"),
        ({"patence": 2}, 1, "must be {patience: N}"),
        (5, 1, "must be {patience: N}"),
        ({"patience": 2}, 0, "needs validation patients: --validation 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, validated, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        Patience(settings, validated)


def test_nothing_is_told_of_a_run_that_ends_by_itself(caplog):
    train([1, 2, 3], Patience({"patience": 2}, 1), epochs=3)
    assert not caplog.records
