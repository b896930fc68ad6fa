# SPDX-License-Identifier: Apache-2.0
"""What the command line says when a run fails: the user's error alone, not MONAI's wrappers around it."""

from __future__ import annotations

import errno
import linecache
import os
import sys
import threading
import traceback
from multiprocessing.dummy import DummyProcess
from typing import Any

from wss_monai.bundle.interruption import interrupted
from wss_monai.io.faults import one_line

__all__ = ["find_user_error", "is_user_error", "refused_setting", "show_user_errors"]

PACKAGE = __name__.partition(".")[0]
TRACEBACK = "WSS_MONAI_TRACEBACK"
"""Environment variable; where it is set, user errors are shown with their traceback."""
OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG)
"""What the system says of a file, whoever opened it."""
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
    while not is_user_error(cause) and cause.__cause__ is not None:
        cause = cause.__cause__
    return cause


def show_user_errors() -> None:
    """Let an uncaught error end the output with its message as the last line.

    The traceback of a user's error (see ``find_user_error``), and of an error of MONAI or torch while they make what a
    setting describes, is left out unless ``WSS_MONAI_TRACEBACK`` is set; that of any other error is shown, with its
    first cause repeated below. Ctrl-C ends it with the line that says how to go on.
    """
    if getattr(sys.excepthook, "shows_user_errors", False):
        return
    former = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt) and not os.environ.get(TRACEBACK):
            print(f"\n{interrupted()}", file=sys.stderr)
            return
        cause = find_user_error(error)
        setting = "" if is_user_error(cause) else refused_setting(error)
        told = bool(setting) or is_user_error(cause)
        if not told or os.environ.get(TRACEBACK):
            former(kind, error, trace)
        if setting:
            reason = _reason(error)
            print(f"\nError: setting '{setting}': {reason} ({TRACEBACK}=1 shows where)", file=sys.stderr)
        elif told or cause is not error:
            print(f"\nError: {one_line(cause)}", file=sys.stderr)
        _wait_for_pools()

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def refused_setting(error: BaseException) -> str:
    """Id of the setting that could not be made into what it describes: a component, a value, a reference.

    Args:
        error: what was caught.

    Returns:
        The innermost id that MONAI was resolving; empty where a run had begun (an id of a list of commands, such as
        ``run#0``), where MONAI resolved nothing, and where the first cause lies in this package, unless that is a
        ``TypeError``: an argument of another type than a component takes.
    """
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    last = list(traceback.walk_tb(cause.__traceback__))
    if last and _package(last[-1][0]) == PACKAGE and not isinstance(cause, TypeError):
        return ""
    resolving = [
        (frame, str(frame.f_locals.get("id", "")))
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "_resolve_one_item"
    ]
    if not resolving:
        return ""
    frame, name = resolving[-1]
    parent = name.replace("::", "#").rpartition("#")[0]
    items = getattr(frame.f_locals.get("self"), "items", {})
    siblings = getattr(items.get(parent), "config", None) if parent and "#" not in parent else None
    commands = isinstance(siblings, list) and all(isinstance(item, str) for item in siblings)
    return "" if commands else name.replace("::", "#")


def _reason(error: BaseException) -> str:
    """The line of a chain of causes that says most: the first cause, or which reference is missing."""
    cause = error
    while cause.__cause__ is not None and "referring item" not in str(cause):
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__


def _package(frame: Any) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _wait_for_pools() -> None:
    """Let the threads of a cache that is being filled finish their case.

    A thread that is still inside of torch when Python ends would abort the whole process ("terminate called without an
    active exception").
    """
    for thread in threading.enumerate():
        if isinstance(thread, DummyProcess):
            thread.join(PATIENCE)


def is_user_error(error: BaseException) -> bool:
    """Whether it is a user's error: a ``ValueError`` or ``OSError`` whose traceback ends in a ``raise`` of ours.

    So is what the system says of a file or folder by its name (no permission, a name too long, a full disk).

    The type alone does not tell: an accident in our code (``int("seven")``, a wrong unpacking) is a ``ValueError`` as
    well, and so is much of what MONAI and torch raise when our code calls them. Both must keep their traceback. So the
    last line of the traceback decides, which a reader would look at too: what is checked on purpose is raised there by
    a ``raise`` statement in a module of ours, whatever the class of the error is called. Where the source cannot be
    read the traceback is shown.
    """
    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM and error.filename is not None:
        return True
    steps = list(traceback.walk_tb(error.__traceback__))
    if not steps or not isinstance(error, (ValueError, OSError)):
        return False
    frame, line = steps[-1]
    source = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    return _package(frame) == PACKAGE and source.split()[:1] == ["raise"]
