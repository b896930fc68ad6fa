# SPDX-License-Identifier: Apache-2.0
"""Folders that appear when all that is in them is written."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wss_monai.io.folder_lock import LOCK, owner_is_gone, write_owner

__all__ = ["refuse_taken", "whole_folder", "working_folder"]


def refuse_taken(out: Path) -> None:
    """Refuse a place for a new folder that holds something.

    Raises:
        FileExistsError: a file, or a folder that is not empty, is there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"'{out}' exists already; remove it, or choose another --out")


@contextmanager
def working_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new hidden folder beside ``out``, on the same disk, which is removed whatever happens.

    It notes the process that works in it. Those of processes that were killed meanwhile are removed first.

    Raises:
        OSError: the folder cannot be made.
    """
    out = Path(out).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    for former in out.parent.glob(f".{_literal(out.name)}.*"):
        if former.is_dir() and not former.is_symlink() and (former / LOCK).is_file() and owner_is_gone(former / LOCK):
            shutil.rmtree(former, ignore_errors=True)
    work = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    work.mkdir()
    try:
        write_owner(work / LOCK, f"writing {out.name}")
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def whole_folder(out: str | os.PathLike[str], last: str = "dataset.json") -> Iterator[Path]:
    """Give a hidden folder beside ``out`` to write to, which takes its place when the block ends well.

    Where ``out`` holds files already, those written are put beside and over them one by one, each whole, and ``last``
    comes last. A process that is killed before leaves ``out`` as it was.

    Raises:
        OSError: something cannot be written.
    """
    out = Path(out).resolve()
    with working_folder(out) as work:
        yield work
        (work / LOCK).unlink()
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            os.replace(work, out)
            return
        files = sorted((file for file in work.rglob("*") if file.is_file()), key=lambda file: (file.name == last, file))
        for file in files:
            target = out / file.relative_to(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
