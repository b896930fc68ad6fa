# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes to an output folder."""

from __future__ import annotations

import atexit
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "hold", "owner_is_gone", "release", "take", "taken", "write_owner"]

LOCK = ".lock.json"
"""File of a folder that a process writes to."""
_held: dict[Path, int] = {}
"""Folders that this process holds, and how often it took each."""


def take(folder: str | os.PathLike[str], doing: str) -> None:
    """Hold a folder until `release`, or until this process ends; one that this process holds may be taken again.

    The file `LOCK` in the folder says who holds it: host, process and what it does. Where the process is gone that
    wrote it, on this host, the folder is taken over. Of a process on another host nothing can be told.

    Args:
        folder: made where it is missing.
        doing: a word for the message: "training", "evaluation".

    Raises:
        ValueError: another process holds it; names host and process.
        OSError: the folder cannot be written.
    """
    folder = Path(folder).resolve()
    if folder in _held:
        _held[folder] += 1
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with _alone(path) as file:
        text = file.read()
        if text.strip() and not owner_is_gone(owner := _read(text)):
            raise ValueError(
                f"{folder} is in use: process {owner.get('pid')} on host {owner.get('host')} writes to it "
                f"({owner.get('doing')}). Wait for it, or choose another folder; if it is gone, remove {path}."
            )
        file.seek(0)
        file.truncate()
        file.write(json.dumps(_own(doing)) + "\n")
    _held[folder] = 1


def release(folder: str | os.PathLike[str]) -> None:
    """Undo one `take`; without one nothing happens."""
    folder = Path(folder).resolve()
    if folder not in _held:
        return
    _held[folder] -= 1
    if _held[folder] <= 0:
        del _held[folder]
        _remove(folder)


@contextmanager
def taken(folder: str | os.PathLike[str], doing: str) -> Iterator[None]:
    """Hold a folder for a block."""
    take(folder, doing)
    try:
        yield
    finally:
        release(folder)


def write_owner(path: Path, doing: str) -> None:
    """Note this process in a file, for `owner_is_gone`."""
    path.write_text(json.dumps(_own(doing)) + "\n", encoding="utf-8")


def owner_is_gone(owner: Path | dict[str, Any]) -> bool:
    """Whether a process of this host that noted itself has ended; False where that cannot be told."""
    if isinstance(owner, Path):
        try:
            owner = _read(owner.read_text(encoding="utf-8"))
        except OSError:
            return False
    if not owner:  # cut off, or somebody else's: no process of ours writes such a file
        return True
    if owner.get("host") != platform.node() or not isinstance(owner.get("pid"), int):
        return False
    pid: int = owner["pid"]
    if not _alive(pid):
        return True
    started = _started(pid)  # another process may have got the number meanwhile
    return None not in (started, owner.get("started")) and started != owner["started"]


@contextmanager
def _alone(path: Path) -> Iterator[Any]:
    """Open the lock's file while no other process looks at it."""
    while True:
        with path.open("a+", encoding="utf-8") as file:
            hold(file)
            try:
                there = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                there = False
            if there:
                file.seek(0)
                yield file
                return


def hold(file: Any) -> bool:
    """Wait for the lock of an open file, held until it is closed; False: the system, or its file system, has none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _own(doing: str) -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid()), "doing": doing}


def _read(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _started(pid: int) -> str | None:
    """When a process started, in whatever unit; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] == "Z":
        return "ended"
    return f"{boot} {fields[19]}"


def _remove(folder: Path) -> None:
    try:
        (folder / LOCK).unlink(missing_ok=True)
    except OSError:  # the folder is gone
        return


def _release_all() -> None:
    while _held:
        _remove(_held.popitem()[0])


atexit.register(_release_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)  # they are the parent's
