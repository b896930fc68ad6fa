# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PART = ".part-"
"""How the names of files begin that are being written."""


@contextmanager
def replacing(path: str | os.PathLike[str], wait: bool = True) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, which takes ``path``'s place when the block ends well.

    A process that is killed and a disk that fills leave the former file as it was. The temporary name starts with
    ``.part-`` and ends as ``path`` does, so that writers that go by the ending find theirs.

    Args:
        path: the file.
        wait: until it is on the disk, so that a machine that stops leaves a whole file too; a log need not.

    Raises:
        OSError: nothing could be written; names ``path``.
    """
    path = Path(path)
    temporary = path.with_name(f"{PART}{path.name}")
    try:
        yield temporary
        if wait:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise _cannot_write(error, path, "; the former file is whole" if path.is_file() else "") from error
    except BaseException:
        _remove(temporary)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text, whole or not at all, into a folder that is made where it is missing.

    Raises:
        OSError: as ``replacing``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes left half written in a folder and those in it; only where nobody writes to it."""
    for part in Path(folder).rglob(f"{PART}*"):
        if part.is_file() and not part.is_symlink():
            _remove(part)


def check_replaceable(
    path: str | os.PathLike[str] | None, option: str, begins: Sequence[bytes] = (b"",), holds: Sequence[bytes] = ()
) -> None:
    """Refuse to write over a file that is none of those that a command writes.

    Args:
        path: where the command would write; None, and a path where there is no file, are right.
        option: which names it, for the message.
        begins: how such a file may begin.
        holds: what its first 64 kB hold, each of them.

    Raises:
        ValueError: there is another file; it stays as it is.
    """
    if path is None or not Path(path).is_file():
        return
    with Path(path).open("rb") as file:
        head = file.read(65536)
    if head and not (head.startswith(tuple(begins)) and all(words in head for words in holds)):
        raise ValueError(
            f"{option}: '{path}' is there already and was not written by this command; choose another file, or remove "
            "it first"
        )


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name ``path`` in an error of a writer that does not (TensorBoard's).

    Raises:
        OSError: nothing could be written.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(error, Path(path)) from error


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make sure that files can be written to an output folder, or to the nearest one above it that is there.

    Raises:
        ValueError: they cannot.
    """
    folder = Path(folder)
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        what = "" if there == folder else f": {there}"
        raise ValueError(
            f"cannot write to the output folder {folder} ({error.strerror}{what}): choose another --output_dir."
        ) from error


def _cannot_write(error: OSError, path: Path, more: str = "") -> OSError:
    reason = error.strerror or error
    return OSError(error.errno, f"cannot write ({reason}{more}): make room, or choose another folder", str(path))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder itself is gone or no folder: the first error says more
        return
