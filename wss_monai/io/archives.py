# SPDX-License-Identifier: Apache-2.0
"""Unpacking archives that come from elsewhere: every name is checked before anything is written."""

from __future__ import annotations

import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

__all__ = ["LARGEST_ALL", "LARGEST_MEMBER", "unpack"]

LARGEST_MEMBER = 8 * 2**30
"""Bytes that one file of an archive may take; a volume of a public release takes less than 1 GiB."""
LARGEST_ALL = 256 * 2**30
"""Bytes that all wanted files of an archive may take."""
CHUNK = 2**20


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str], wanted: Callable[[str], bool]) -> None:
    """Unpack the wanted files of a zip or tar archive.

    Args:
        archive: a zip file, or a tar file with any compression.
        folder: where to; made where missing.
        wanted: tells by its name whether a file is unpacked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such archive, is damaged or encrypted, or holds an unsafe member: an absolute path, a
            path with `..`, a link or a device. Nothing has been unpacked in the last case. Or a file is larger than
            `LARGEST_MEMBER`, or all that are wanted larger than `LARGEST_ALL`, by what the archive says or by what
            comes out of it.
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
    except _DAMAGED as error:
        raise ValueError(f"archive '{archive}' cannot be unpacked: {error}; download it again") from error
    except OSError as error:
        if error.errno is not None:  # of the disk; the decoder of bzip2 gives none
            raise
        raise ValueError(f"archive '{archive}' cannot be unpacked: {error}; download it again") from error


_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


def _unpack_zip(file: zipfile.ZipFile, archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    for info in file.infolist():
        _check_name(info.filename, archive)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"archive '{archive}' is refused: '{info.filename}' is a link or a device")
    chosen = [info for info in file.infolist() if not info.is_dir() and wanted(info.filename)]
    _check_sizes({info.filename: info.file_size for info in chosen}, archive)
    for info in chosen:
        with file.open(info) as source:
            _write(source, folder / info.filename, archive)


def _unpack_tar(file: tarfile.TarFile, archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    members = file.getmembers()
    for member in members:
        _check_name(member.name, archive)
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"archive '{archive}' is refused: '{member.name}' is a link or a device")
    chosen = [member for member in members if member.isfile() and wanted(member.name)]
    _check_sizes({member.name: member.size for member in chosen}, archive)
    for member in chosen:
        source = file.extractfile(member)
        if source is not None:
            with source:
                _write(source, folder / member.name, archive)
    _read_to_the_end(file.fileobj)


def _read_to_the_end(stream: Any) -> None:
    """Read what is behind the last file: the checksum of the compression is at the very end."""
    while stream is not None and stream.read(CHUNK):
        pass


def _check_name(name: str, archive: Path) -> None:
    unsafe = name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    if unsafe or ".." in PurePosixPath(name).parts:
        raise ValueError(f"archive '{archive}' is refused: the path '{name}' leads out of the folder it is unpacked to")


def _check_sizes(sizes: Mapping[str, int], archive: Path) -> None:
    """Refuse by what an archive says of its files, before anything is written."""
    for name, size in sizes.items():
        if size > LARGEST_MEMBER:
            raise ValueError(_too_large(archive, f"'{name}' would take {size / 2**30:.1f} GiB", LARGEST_MEMBER))
    total = sum(sizes.values())
    if total > LARGEST_ALL:
        raise ValueError(_too_large(archive, f"its files would take {total / 2**30:.1f} GiB", LARGEST_ALL))


def _too_large(archive: Path, what: str, limit: int) -> str:
    return (
        f"archive '{archive}' is refused: {what}, more than {limit / 2**30:g} GiB; if that is right, unpack it "
        "yourself and give the folder"
    )


def _write(source: IO[bytes], target: Path, archive: Path) -> None:
    """Write a file; what comes out of a damaged or hostile archive may be more than it says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as stream:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > LARGEST_MEMBER:
                raise ValueError(_too_large(archive, f"'{target.name}' does not end", LARGEST_MEMBER))
            stream.write(chunk)
