# SPDX-License-Identifier: Apache-2.0
"""How a run takes its output folder, and what a resumed run has to share."""

from __future__ import annotations

import signal

import pytest
from ignite.engine import Engine

from wss_monai.bundle.configuration import as_ids, read_by_training
from wss_monai.bundle.interruption import interrupted, leave_as_before, tell_when_stopped
from wss_monai.handlers.run_settings import differences
from wss_monai.handlers.run_start import Hold, digest_of_file, remove_evaluation
from wss_monai.io.folder_lock import LOCK


def engine_that(*errors):
    left = list(errors)

    def step(engine, batch):
        if left:
            raise left.pop(0)

    return Engine(step)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(143)])
def test_the_folder_is_let_go_and_the_error_goes_on(tmp_path, error, caplog):
    engine, hold = engine_that(error), Hold(tmp_path / "run", "training")
    hold.attach(engine)
    hold.begin()
    assert (tmp_path / "run" / LOCK).is_file()
    with pytest.raises(type(error)) as caught:
        engine.run([1])
    assert caught.value is error and not (tmp_path / "run" / LOCK).exists()
    assert "terminating" not in caplog.text  # it is shown once, by who started the run
    engine = engine_that()
    hold.attach(engine)
    hold.begin()
    engine.run([1])
    assert not (tmp_path / "run" / LOCK).exists()


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / ".part-model.pt").write_text("half")
    (tmp_path / "evaluation" / ".part-x.nii.gz").write_text("half")
    (tmp_path / "model.pt").write_text("whole")
    hold = Hold(tmp_path, "training")
    hold.begin()
    assert {path.name for path in tmp_path.rglob("*")} == {"evaluation", "model.pt", LOCK}
    hold.end(engine_that())


def test_the_folder_of_a_data_set_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match=r"folder of a data set: choose another --output_dir"):
        Hold(tmp_path, "training").begin()
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def test_an_evaluation_goes_and_what_else_is_there_stays(tmp_path):
    ours = [
        "metrics_summary.json",
        "evaluation/cases.csv",
        "evaluation/predictions/a.nii.gz",
        "evaluation/maps/a.nii.gz",
    ]
    others = ["model.pt", "evaluation/mine.txt", "threshold.json"]
    for name in (*ours, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_evaluation(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(others)
    (tmp_path / "evaluation" / "mine.txt").unlink()
    remove_evaluation(tmp_path)
    assert not (tmp_path / "evaluation").exists()


def test_digest_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180
    assert digest_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sigterm_says_how_to_go_on_and_is_as_before_in_the_end(capsys):
    before = signal.getsignal(signal.SIGTERM)
    tell_when_stopped(lambda: "the way on")
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert capsys.readouterr().err == "\nTerminated: the way on\n"
    assert interrupted() == "Interrupted: the way on"
    leave_as_before()
    assert signal.getsignal(signal.SIGTERM) is before
    assert interrupted() == "Interrupted: start the same command again."


CONFIG = {
    "imports": ["$import os"],
    "output_dir": "a",
    "device": "cpu",
    "resume": False,
    "batch_size": 4,
    "empty": [],
    "network": {"_target_": "DistributedDataParallel"},
    "train": {
        "trainer": {"max_epochs": 3, "amp": None, "train_handlers": "@train#handlers"},
        "dataset": {"progress": True, "num_workers": 0},
        "handlers": [{"_target_": "X", "t0": 5}, {"_target_": "ignite.handlers.ProgressBar", "desc": "x"}],
    },
}


def test_a_configuration_is_compared_by_ids_but_for_places_length_and_the_screen():
    assert as_ids(CONFIG) == {
        "batch_size": 4,
        "empty": [],
        "train#trainer#amp": None,
        "train#dataset#num_workers": 0,
        "train#handlers#0#_target_": "X",
        "train#handlers#0#t0": 5,
    }
    assert as_ids({"object": object()}) == {"object": "<object object>"}  # no address


def test_what_training_does_not_read_is_not_compared():
    config = {
        "train": {"a": "@b#c"},
        "b": {"c": "$@d + 1"},
        "d": 1,
        "cues_dir": "out",
        "same_when_resumed": "$@cues_dir",
    }
    assert set(read_by_training(config)) == {"train", "b", "d"}
    config["d"] = "@same_when_resumed"
    assert set(read_by_training(config)) == {"train", "b", "d"}


def test_differences_have_both_values_and_each_setting_is_named_once():
    here = {"mode": "full", "configuration": {"mode": "full", "a#0": 1, "new": 2}}
    there = {"mode": "partial", "configuration": {"mode": "partial", "a#0": 3, "old": None}}
    assert differences(there, here) == [
        "mode is 'partial' there and 'full' here",
        "a#0 is 3 there and 1 here",
        "new is not set there and 2 here",
        "old is None there and not set here",
    ]
    assert differences(here, here) == []
    many = {"configuration": {str(i): i for i in range(9)}}
    assert differences({"configuration": {"x": 1}}, many)[-1] == "and 5 more"


def test_checkpoints_of_releases_before_are_compared_by_what_they_have():
    here = {"mode": "full", "sha256_of_dataset_json": "ab", "configuration": {"mode": "full"}}
    assert differences({"mode": "full"}, here) == []
    assert differences({"mode": "partial"}, here) == ["mode is 'partial' there and 'full' here"]
