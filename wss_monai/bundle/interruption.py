# SPDX-License-Identifier: Apache-2.0
"""What the command line says when a run is stopped from outside: one line, with the way on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["interrupted", "leave_as_before", "tell_when_stopped"]

TERMINATED = 128 + 15
"""Exit code of a process that was asked to end (SIGTERM), as shells give it."""
_tell: list[Callable[[], str]] = []
_former: list[Any] = []


def tell_when_stopped(tell: Callable[[], str]) -> None:
    """From now on say ``tell()`` when Ctrl-C or SIGTERM ends the process.

    SIGTERM then ends it as an error does, with the exit code 143, so that nothing is left half written.
    """
    leave_as_before()
    _tell.append(tell)
    if threading.current_thread() is threading.main_thread():
        _former.append(signal.signal(signal.SIGTERM, _terminate))


def leave_as_before() -> None:
    """Undo `tell_when_stopped`."""
    _tell.clear()
    while _former:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _former[-1])
        _former.pop()


def interrupted() -> str:
    """What to say to who pressed Ctrl-C."""
    return f"Interrupted: {_tell[-1]() if _tell else 'start the same command again.'}"


def _terminate(number: int, frame: Any) -> None:
    print(f"\nTerminated: {_tell[-1]() if _tell else ''}", file=sys.stderr, flush=True)
    sys.exit(TERMINATED)
