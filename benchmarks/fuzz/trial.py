# SPDX-License-Identifier: Apache-2.0
"""One input: run in a process of its own, with limits, and judged by what it printed and what it left."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BAD = ("traceback", "silent", "half", "changed", "slow", "unnamed", "lines", "refused")
"""Verdicts that are faults: an uncaught error or a signal; exit code 0 although something is wrong; files of a command
that failed; an input that was changed; too much time; a refusal that names neither file nor argument, or takes several
lines; something sound that was refused."""
WRONG = 3
"""Exit code of a trial that looked at what came out, and found it wrong."""
SECONDS = 60
"""CPU time of a trial."""
GIGABYTES = 6


@dataclass(frozen=True)
class Case:
    """An input and what is right.

    Attributes:
        name: in the list of faults.
        call: what is run; returns an exit code.
        right: "refuse", "accept", or "any" where both are right.
        words: one of them must stand in a refusal.
        out: file or folder that must not be there after a refusal.
        inputs: file or folder that must not change.
    """

    name: str
    call: Callable[[], int]
    right: str = "any"
    words: tuple[str, ...] = ()
    out: Path | None = None
    inputs: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a case: faults out of `BAD`, none where all is well, and the last line that it printed."""

    name: str
    faults: tuple[str, ...]
    text: str
    seconds: float = field(compare=False, default=0.0)


def command(*words: object) -> Callable[[], int]:
    """Give a call of `python -m wss_monai` with these words."""

    def call() -> int:
        from wss_monai.__main__ import main

        return main([str(word) for word in words])

    return call


def judge(case: Case, scratch: Path) -> Verdict:
    """Run a case in a fork, and say what is wrong with what came of it."""
    before = None if case.inputs is None else digest(case.inputs)
    there = set(os.listdir(case.out.parent)) if case.out is not None and case.out.parent.is_dir() else set()
    held = None if case.out is None else digest(case.out)
    started = time.perf_counter()
    code, out, err = _fork(case.call, scratch)
    seconds = time.perf_counter() - started
    faults = []
    crashed = "Traceback (most recent call last)" in out + err or (code < 0 and code != -signal.SIGXCPU)
    if code == -signal.SIGXCPU:
        faults.append("slow")
    elif crashed:
        faults.append("traceback")
    elif (code == 0 and case.right == "refuse") or code == WRONG:
        faults.append("silent")
    elif code != 0 and case.right == "accept":
        faults.append("refused")
    elif code not in (0, 1):
        lines = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
        if not lines or not re.search(r"(: error: |^Error: )", lines[-1]):
            faults.append("lines")
        if case.words and not any(word in err for word in case.words):
            faults.append("unnamed")
    if before is not None and digest(case.inputs) != before:
        faults.append("changed")
    if case.out is not None and code != 0:
        left = set(os.listdir(case.out.parent)) - there if case.out.parent.is_dir() else set()
        if left or digest(case.out) != held:
            faults.append("half")
    lines = [line for line in (err or out).splitlines() if line.strip()]
    return Verdict(case.name, tuple(faults), lines[-1][:300] if lines else "", seconds)


def digest(path: Path | None) -> str:
    """Give a text that is the same for the same names and contents alone."""
    found = hashlib.sha256()
    for file in sorted([path, *path.rglob("*")]) if path is not None and path.is_dir() else [path]:
        if file is not None and os.path.lexists(file):
            found.update(os.fsencode(file))
            if file.is_file():
                found.update(file.read_bytes())
    return found.hexdigest()


def _fork(call: Callable[[], int], scratch: Path) -> tuple[int, str, str]:
    """Run a call in a copy of this process; exit code (negative: a signal), standard output and error."""
    files = [scratch / "out.txt", scratch / "err.txt"]
    process = os.fork()
    if process == 0:
        code = 1
        try:
            for number, file in enumerate(files, start=1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.stderr.reconfigure(errors="backslashreplace")
            resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
            spent = int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + spent, SECONDS + spent + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = call()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1 if leave.code else 0
        except BaseException:  # what a command lets through is what is counted
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code & 0xFF)
    _, status = os.waitpid(process, 0)
    out, err = (file.read_text(errors="replace") for file in files)
    return os.waitstatus_to_exitcode(status), out, err
