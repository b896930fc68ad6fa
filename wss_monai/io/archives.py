# SPDX-License-Identifier: Apache-2.0
"""Unpacking archives that come from elsewhere: every name is checked before anything is written."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["unpack"]


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str], wanted: Callable[[str], bool]) -> None:
    """Unpack the wanted files of a zip or tar archive.

    Args:
        archive: a zip file, or a tar file with any compression.
        folder: where to; made where missing.
        wanted: tells by its name whether a file is unpacked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such archive, is damaged or encrypted, or holds an unsafe member: an absolute path, a
            path with `..`, a link or a device. Nothing has been unpacked in the last case.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise FileNotFoundError(f"no archive '{archive}'")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                _unpack_zip(file, archive, Path(folder), wanted)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                _unpack_tar(file, archive, Path(folder), wanted)
        else:
            raise ValueError(f"'{archive}' is neither a zip nor a tar archive, or its download was cut short")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"archive '{archive}' is refused: a name is a file and a folder at once ({error})") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"archive '{archive}' cannot be unpacked: {error}; download it again") from error


def _unpack_zip(file: zipfile.ZipFile, archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    for info in file.infolist():
        _check_name(info.filename, archive)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"archive '{archive}' is refused: '{info.filename}' is a link or a device")
    for info in file.infolist():
        if not info.is_dir() and wanted(info.filename):
            with file.open(info) as source:
                _write(source, folder / info.filename)


def _unpack_tar(file: tarfile.TarFile, archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    members = file.getmembers()
    for member in members:
        _check_name(member.name, archive)
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"archive '{archive}' is refused: '{member.name}' is a link or a device")
    for member in members:
        source = file.extractfile(member) if member.isfile() and wanted(member.name) else None
        if source is not None:
            with source:
                _write(source, folder / member.name)


def _check_name(name: str, archive: Path) -> None:
    unsafe = name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    if unsafe or ".." in PurePosixPath(name).parts:
        raise ValueError(f"archive '{archive}' is refused: the path '{name}' leads out of the folder it is unpacked to")


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        shutil.copyfileobj(source, stream)
