# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest
from monai.bundle import ConfigWorkflow
from tiny import CONFIGS

from wss_monai.bundle.user_errors import find_user_error, show_user_errors
from wss_monai.losses import WeightedSumLoss


def caught(deed):
    with pytest.raises(Exception) as info:
        deed()
    return info.value


def wrapped(deed):
    """A failure as MONAI hands it on."""
    try:
        deed()
    except Exception as error:
        raise RuntimeError("Failed to instantiate component 'X'") from error


def ours():
    WeightedSumLoss({})


def others():
    int("seven")


@pytest.fixture
def shown(monkeypatch, capsys):
    """What stands on the error output, and whether the traceback was shown."""

    def show(error):
        tracebacks = []
        monkeypatch.setattr(sys, "excepthook", lambda *_: tracebacks.append(1))
        show_user_errors()
        show_user_errors()
        sys.excepthook(type(error), error, error.__traceback__)
        return capsys.readouterr().err, len(tracebacks)

    monkeypatch.delenv("WSS_MONAI_TRACEBACK", raising=False)
    return show


def test_users_error_stands_alone(shown, monkeypatch):
    for error in (caught(ours), caught(lambda: wrapped(ours))):
        assert shown(error) == (f"\nError: {caught(ours)}\n", 0)
        monkeypatch.setenv("WSS_MONAI_TRACEBACK", "1")
        assert shown(error) == (f"\nError: {caught(ours)}\n", 1)
        monkeypatch.delenv("WSS_MONAI_TRACEBACK")


def test_other_errors_keep_their_traceback_and_end_with_the_first_cause(shown):
    assert shown(caught(lambda: wrapped(others)))[1] == 1
    text, tracebacks = shown(caught(lambda: wrapped(others)))
    assert text.strip() == "Error: invalid literal for int() with base 10: 'seven'" and tracebacks == 1
    assert shown(caught(others)) == ("", 1)


ACCIDENTS = {
    "wrong text": "int('seven')",
    "wrong unpacking": "a, b = [1]",
    "not in a list": "[].remove(1)",
    "missing file": "open('/nowhere/at/all')",
    "missing key": "{}['a']",
    "division": "1 / 0",
    "type": "len(3)",
    "raised as another class": "raise KeyError('a')",
    "raised by MONAI": "import monai.losses\nmonai.losses.DiceLoss(sigmoid=True, softmax=True)",
    "raised by torch": "import torch\ntorch.utils.data.DataLoader([1], num_workers=-1)",
    "without a source": None,
}


def in_package(source, folder, name="wss_monai.somewhere"):
    """Run what stands in a file of a module of the package."""
    file = folder / "somewhere.py"
    if source is not None:
        file.write_text(source)
    return lambda: exec(compile(source or "raise ValueError('a')", str(file), "exec"), {"__name__": name})


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_an_accident_inside_the_package_keeps_its_traceback(shown, tmp_path, accident):
    assert shown(caught(in_package(ACCIDENTS[accident], tmp_path))) == ("", 1)


@pytest.mark.parametrize(
    "source",
    [
        "raise ValueError('mend it')",
        "raise FileNotFoundError('mend it')",
        "raise ValueError(\n    'mend '\n    + str(\n        'it'\n    )\n)",
        "try:\n    int('seven')\nexcept ValueError as error:\n    raise ValueError('mend it') from error",
        "class Own(ValueError):\n    pass\nraise Own('mend it')",
    ],
)
def test_what_the_package_raises_is_the_users(shown, tmp_path, source):
    assert shown(caught(in_package(source, tmp_path))) == ("\nError: mend it\n", 0)
    assert shown(caught(in_package(source, tmp_path, "other.somewhere")))[1] == 1


def test_outermost_message_of_the_package_counts(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    from wss_monai.data import read_dataset

    error = caught(lambda: wrapped(lambda: read_dataset(tmp_path)))
    found = find_user_error(error)
    assert found is error.__cause__ and "not a JSON file" in str(found)
    assert find_user_error(caught(lambda: wrapped(others))).args == ("invalid literal for int() with base 10: 'seven'",)


def test_threads_that_still_work_are_waited_for():
    """A cache that fails leaves threads inside of torch; ending then would abort the process."""
    code = (
        "import threading, time\n"
        "from multiprocessing.pool import ThreadPool\n"
        "from wss_monai.bundle.user_errors import show_user_errors\n"
        "show_user_errors()\n"
        "pool, begun = ThreadPool(2), threading.Event()\n"
        "pool.apply_async(lambda: (begun.set(), time.sleep(0.5), print('case done', flush=True)))\n"
        "begun.wait()\n"
        "pool.terminate()\n"
        "raise ValueError('x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and done.stdout == "case done\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer#_target_": "torch.optim.Nope"}, "setting 'optimizer': Cannot locate class"),
        ({"network_def#features": []}, "setting 'network_def': Sequence must have length 6"),
        ({"learning_rate": "$1 / 0"}, "setting 'learning_rate': division by zero"),
        ({"network": "@nobody"}, "setting 'network': the referring item `@nobody` is not defined"),
    ],
    ids=str,
)
def test_what_a_setting_cannot_become_is_told_by_its_id_alone(shown, settings, words):
    flow = ConfigWorkflow(str(CONFIGS / "train.yaml"), logging_file=False, workflow_type="train", **settings)
    error = caught(lambda: flow.parser.get_parsed_content("optimizer"))
    said, tracebacks = shown(error)
    assert words in said
    assert (said.strip().count("\n"), tracebacks) == (0, 0)


def test_what_fails_in_a_run_keeps_its_traceback(shown):
    flow = ConfigWorkflow(str(CONFIGS / "train.yaml"), logging_file=False, workflow_type="train", run=["$1 / 0"])
    error = caught(lambda: flow.parser.get_parsed_content("run#0"))
    assert shown(error)[1] == 1
