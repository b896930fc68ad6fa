# SPDX-License-Identifier: Apache-2.0
"""One process at a time: who holds a folder is named, and a dead process holds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wss_monai.io.folder_lock import LOCK, owner_is_gone, release, take, taken

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from wss_monai.io.folder_lock import take
take(sys.argv[1], "training")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline().strip() == b"held"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_named_until_it_is_killed(holder, tmp_path):
    with pytest.raises(ValueError, match=rf"process {holder.pid} on host {os.uname().nodename} .*\(training\)"):
        take(tmp_path, "evaluation")
    holder.send_signal(signal.SIGKILL)
    while not owner_is_gone(tmp_path / LOCK):  # it is gone, though nobody has waited for it yet
        pass
    with taken(tmp_path, "evaluation"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_process_takes_what_it_holds_again(tmp_path):
    take(tmp_path, "training")
    with taken(tmp_path / "..", "other"), taken(tmp_path, "evaluation"):
        assert (tmp_path / LOCK).is_file()
    assert (tmp_path / LOCK).is_file()
    release(tmp_path)
    release(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_it_is_released_where_the_process_ends_well(tmp_path):
    code = HOLD.replace("time.sleep(60)", "")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize(
    ("owner", "gone"),
    [
        ({"host": os.uname().nodename, "pid": os.getpid()}, False),
        ({"host": os.uname().nodename, "pid": os.getpid(), "started": "another time"}, True),
        ({"host": os.uname().nodename, "pid": 2**22 + 1}, True),
        ({"host": os.uname().nodename, "pid": 10**30}, True),
        ({"host": "another", "pid": 2**22 + 1}, False),
        ({"host": os.uname().nodename, "pid": "x"}, False),
        ({}, True),
    ],
)
def test_who_is_gone(tmp_path, owner, gone):
    (tmp_path / LOCK).write_text(json.dumps(owner))
    assert owner_is_gone(tmp_path / LOCK) == gone
    if gone:
        with taken(tmp_path, "training"):
            pass
    else:
        with pytest.raises(ValueError, match="is in use"):
            take(tmp_path, "training")


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_was_cut_off_holds_nobody(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with taken(tmp_path, "training"):
        assert json.loads((tmp_path / LOCK).read_text())["doing"] == "training"
