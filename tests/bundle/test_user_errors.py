# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

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


def not_raised_but_failed():
    exec("int('seven')", {"__name__": "wss_monai.somewhere"})


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


def test_failure_inside_the_package_is_no_users_error(shown):
    assert shown(caught(not_raised_but_failed))[1] == 1


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
        "import time\n"
        "from multiprocessing.pool import ThreadPool\n"
        "from wss_monai.bundle.user_errors import show_user_errors\n"
        "show_user_errors()\n"
        "pool = ThreadPool(2)\n"
        "pool.apply_async(lambda: (time.sleep(0.5), print('case done', flush=True)))\n"
        "time.sleep(0.1)\n"
        "pool.terminate()\n"
        "raise ValueError('x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and done.stdout == "case done\n"
