# SPDX-License-Identifier: Apache-2.0
"""A share of `make fuzz`: malformed inputs are read right, or refused in one line that names them."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import SimpleITK
from fuzz.trial import Case, judge
from robustness import verdicts

import wss_monai.commands.check
import wss_monai.data.checks.dataset
import wss_monai.estimation
import wss_monai.transforms

LOADED = (
    wss_monai.data.checks.dataset,
    wss_monai.estimation,
    wss_monai.transforms,
    wss_monai.commands.check,
    SimpleITK,
)
"""Imported once, so that no trial has to."""
SHARES = {
    "nifti": 30,
    "itk": 30,
    "yaml": 5,
    "settings": 3,
    "newest": 3,
    "json": 24,
    "split": 22,
    "bounds": 30,
    "archive": 20,
    "pickle": 20,
    "arguments": 15,
}


@pytest.mark.parametrize("part", SHARES)
def test_a_share_of_each_part(part, tmp_path):
    """As many inputs as take a second; `report`, which needs a trained run, has tests of its own."""
    seen = list(verdicts(part, tmp_path / "trials", SHARES[part], seed=int(os.environ.get("FUZZ_SEED", "7"))))
    assert len(seen) == SHARES[part]
    assert [(verdict.name, verdict.faults, verdict.text) for verdict in seen if verdict.faults] == []


def refuse(text):
    def call():
        print(text, file=sys.stderr)
        return 2

    return call


@pytest.mark.parametrize(
    ("call", "right", "fault"),
    [
        (lambda: 1 // 0, "any", "traceback"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "any", "traceback"),
        (lambda: 0, "refuse", "silent"),
        (lambda: 3, "any", "silent"),
        (refuse("wss_monai x: error: no"), "accept", "refused"),
        (refuse("wss_monai x: error: it is wrong"), "refuse", "unnamed"),
        (refuse("wss_monai x: error: b.json is\nwrong"), "refuse", "lines"),
        (refuse("wss_monai x: error: b.json is wrong"), "refuse", None),
        (lambda: 0, "accept", None),
    ],
)
def test_what_is_a_fault(tmp_path, call, right, fault):
    assert judge(Case("x", call, right, ("b.json",)), tmp_path).faults == (() if fault is None else (fault,))


def test_what_is_left_and_what_is_changed(tmp_path):
    place, given = tmp_path / "place", tmp_path / "given"
    place.mkdir()
    given.write_text("1")

    def call():
        (place / ".part-o").write_text("half")
        given.write_text("2")
        return 1

    assert judge(Case("x", call, out=place / "o", inputs=given), tmp_path).faults == ("changed", "half")
