# SPDX-License-Identifier: Apache-2.0
"""log.txt: what the console says of a run, and how it ended."""

from __future__ import annotations

import logging
import sys

import pytest
from ignite.engine import Engine, Events

from wss_monai.handlers import RunLog


def run(folder, epochs: int = 2, length: int = 600, done: int = 0, fail: bool = False, **how) -> Engine:
    def step(engine, batch):
        if fail:
            raise ValueError("the disk\nis full")

    engine = Engine(step)

    @engine.on(Events.EPOCH_COMPLETED)
    def say(engine):
        print(f"epoch {engine.state.epoch}")
        logging.getLogger("somebody").warning("careful in %d", engine.state.epoch)

    RunLog(folder, **how).attach(engine)
    if done:
        engine.load_state_dict({"epoch": done, "max_epochs": epochs, "epoch_length": length})
    engine.run(range(length), max_epochs=epochs)
    return engine


def test_what_is_said_is_in_the_file_and_on_the_console(tmp_path, capsys):
    run(tmp_path)
    text, said = (tmp_path / "log.txt").read_text(), capsys.readouterr().out
    for line in ("2 epochs of 600 iterations, 1200 in all", "epoch 1", "epoch 2"):
        assert line in text.splitlines() and line in said.splitlines()
    assert "WARNING somebody: careful in 2" in text
    assert text.splitlines()[-1].startswith("== training done in ")
    print("later")
    assert "later" not in (tmp_path / "log.txt").read_text()


def test_a_quiet_run_says_nothing_but_writes_it(tmp_path, capsys):
    run(tmp_path, quiet=True)
    assert capsys.readouterr().out == ""
    assert "epoch 2" in (tmp_path / "log.txt").read_text()
    print("again")
    assert capsys.readouterr().out == "again\n"


def test_a_resumed_run_goes_on_in_the_file_and_a_new_one_begins_it_anew(tmp_path):
    run(tmp_path)
    run(tmp_path, epochs=3, done=2)
    text = (tmp_path / "log.txt").read_text()
    assert text.count("epoch 2\n") == 1 and "epoch 3" in text
    assert "3 epochs of 600 iterations, 1800 in all, the first 2 of them done" in text
    run(tmp_path, doing="evaluation")
    assert "epoch 3" in (tmp_path / "log.txt").read_text()
    run(tmp_path)
    assert "epoch 3" not in (tmp_path / "log.txt").read_text()


def test_the_command_is_as_one_types_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["wss-monai", "run", "--config_file", "['a.yaml','b.yaml']", "--device", "$x y"])
    run(tmp_path)
    first = (tmp_path / "log.txt").read_text().splitlines()[0]
    assert first.endswith("""training: wss-monai run --config_file "['a.yaml','b.yaml']" --device '$x y'""")


def test_an_error_is_the_last_line(tmp_path):
    before = sys.stdout, len(logging.getLogger().handlers)
    with pytest.raises(ValueError, match="is full"):
        run(tmp_path, fail=True)
    assert (tmp_path / "log.txt").read_text().splitlines()[-1] == "== Error: the disk is full"
    assert (sys.stdout, len(logging.getLogger().handlers)) == before


@pytest.mark.parametrize(("length", "warned"), [(499, True), (500, False)])
def test_a_short_training_is_warned_of_with_its_number(tmp_path, caplog, length, warned):
    run(tmp_path, length=length)
    assert ("998 iterations are a short training" in caplog.text) is warned
