# SPDX-License-Identifier: Apache-2.0
"""What the command line says when a run fails: the user's error alone, not MONAI's wrappers around it."""

from __future__ import annotations

import linecache
import os
import sys
import threading
import traceback
from multiprocessing.dummy import DummyProcess
from typing import Any

from wss_monai.io.faults import one_line

__all__ = ["find_user_error", "show_user_errors"]

PACKAGE = __name__.partition(".")[0]
TRACEBACK = "WSS_MONAI_TRACEBACK"
"""Environment variable; where it is set, user errors are shown with their traceback."""
PATIENCE = 60.0
"""Seconds to wait for each thread that still reads a case when the program ends."""


def find_user_error(error: BaseException) -> BaseException:
    """Look through a chain of causes for the message that is meant for the user.

    Args:
        error: what was caught.

    Returns:
        The outermost ``ValueError`` or ``OSError`` that a ``raise`` of this package made; where there is none, the
        first cause of all.
    """
    cause = error
    while not _is_ours(cause) and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause


def show_user_errors() -> None:
    """Let an uncaught error end the output with its message as the last line.

    The traceback of a user's error (see ``find_user_error``) is left out unless ``WSS_MONAI_TRACEBACK`` is set; that of
    any other error is shown, with its first cause repeated below.
    """
    if getattr(sys.excepthook, "shows_user_errors", False):
        return
    former = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        cause = find_user_error(error)
        if not _is_ours(cause) or os.environ.get(TRACEBACK):
            former(kind, error, trace)
        if cause is not error or _is_ours(cause):
            print(f"\nError: {one_line(cause)}", file=sys.stderr)
        _wait_for_pools()

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _wait_for_pools() -> None:
    """Let the threads of a cache that is being filled finish their case.

    A thread that is still inside of torch when Python ends would abort the whole process ("terminate called without an
    active exception").
    """
    for thread in threading.enumerate():
        if isinstance(thread, DummyProcess):
            thread.join(PATIENCE)


def _is_ours(error: BaseException) -> bool:
    """Whether it is a user's error: a ``ValueError`` or ``OSError`` whose traceback ends in a ``raise`` of ours.

    The type alone does not tell: an accident in our code (``int("seven")``, a wrong unpacking) is a ``ValueError`` as
    well, and so is much of what MONAI and torch raise when our code calls them. Both must keep their traceback. So the
    last line of the traceback decides, which a reader would look at too: what is checked on purpose is raised there by
    a ``raise`` statement in a module of ours, whatever the class of the error is called. Where the source cannot be
    read the traceback is shown.
    """
    steps = list(traceback.walk_tb(error.__traceback__))
    if not steps or not isinstance(error, (ValueError, OSError)):
        return False
    frame, line = steps[-1]
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    source = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    return package == PACKAGE and source.split()[:1] == ["raise"]
