# SPDX-License-Identifier: Apache-2.0
"""What SimpleITK does not check of MetaImage and NRRD files before it reads them: headers that end the process, files
that a header leads to, and compressed voxels that are not whole."""

from __future__ import annotations

import bz2
import os
import re
import zlib
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Protocol

__all__ = ["check_header", "check_voxels"]

DIMENSIONS = ("2", "3", "4")
LONGEST = 1 << 16
"""Bytes that are searched for the end of a header."""
FIELD = 1000
"""Characters of a field of an NRRD header; ITK 5.4 ends the process on a wrong one of 1500."""
CHUNK = 1 << 22
META, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def check_header(path: str | PathLike[str]) -> None:
    """Refuse a header that makes ITK end the whole process, or that leads to a file outside of its own folder.

    Other formats pass.

    Raises:
        ValueError: not 2 to 4 dimensions; voxels in a file that is neither beside the header nor in a folder there.
    """
    fields, _ = _read(Path(path))
    if fields is None:
        return
    meta = fspath(path).lower().endswith(META)
    endless = (
        []
        if meta
        else [key for key, value in fields.items() if len(value) > FIELD and key not in ("content", "listed")]
    )
    if endless:
        raise ValueError(f"its header's '{endless[0][:40]}' is longer than {FIELD} characters")
    name = "NDims" if meta else "dimension"
    if fields.get(name.lower()) not in DIMENSIONS:
        raise ValueError(f"its header has no {name} of 2 to 4")
    for file in _detached(path, fields):
        if not _is_beside(file, Path(path).parent):
            raise ValueError(
                f"its header leads to '{file}', which is not in its folder; move the voxels beside the header, and "
                "write their name into it"
            )


def check_voxels(path: str | PathLike[str]) -> None:
    """Refuse compressed voxels that end early or are corrupt: ITK gives what it has, or memory that nobody wrote.

    Files that are not compressed pass, and those whose header `check_header` refuses. Everything is unpacked once, a
    few megabytes at a time.

    Raises:
        ValueError: corrupt, or cut.
        FileNotFoundError: a file of voxels that the header names.
    """
    fields, start = _read(Path(path))
    if fields is None:
        return
    meta = fspath(path).lower().endswith(META)
    if meta and fields.get("compresseddata", "").lower() != "true":
        return
    encoding = "zlib" if meta else fields.get("encoding", "").lower()
    if encoding not in ("zlib", "gzip", "gz", "bzip2", "bz2"):
        return
    files = _detached(path, fields)
    for file in [Path(path).parent / name for name in files] or [Path(path)]:
        with file.open("rb") as stream:
            stream.seek(0 if files else start)
            _drain(stream, encoding)


def _drain(stream: BinaryIO, encoding: str) -> None:
    """Unpack a stream to its end, where its checksum is."""
    first = stream.read(CHUNK)
    unpack: _Decompressor = zlib.decompressobj(wbits=47)  # zlib or gzip, as the stream says
    if encoding in ("bzip2", "bz2"):
        unpack = bz2.BZ2Decompressor()
    elif encoding != "zlib" and not first.startswith(b"\x1f\x8b"):
        return  # not packed at all, which ITK reads as it is
    try:
        while first and not unpack.eof:
            unpack.decompress(first)
            first = stream.read(CHUNK)
    except (zlib.error, OSError, EOFError) as error:
        raise ValueError(f"its compressed voxels are corrupt ({error})") from error
    if not unpack.eof:
        raise ValueError("its compressed voxels end early")


def _read(path: Path) -> tuple[dict[str, str] | None, int]:
    """Fields of a header, by name in lower case, and where the voxels start; None of other files."""
    lower = path.name.lower()
    if not lower.endswith((*META, *NRRD)) or not path.is_file():
        return None, 0
    with path.open("rb") as stream:
        head = stream.read(LONGEST)
    if lower.endswith(META):
        end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)(\r?\n|\Z)", head, re.M)
        start = end.end() if end else len(head)
        listed = head[start:] if end and end[1].strip().upper().startswith(b"LIST") else b""
        separator = "="
    else:
        end = re.search(rb"\r?\n\r?\n", head)
        start = end.end() if end else len(head)
        listed, separator = head[:start], ":"
    fields: dict[str, str] = {}
    for line in head[:start].decode("latin-1").splitlines():
        name, found, value = line.partition(separator)
        if found and not line.startswith("#") and not value.startswith("="):  # "key:=value" says nothing of voxels
            fields.setdefault(name.strip().lower(), value.strip())
    if listed:
        fields["listed"] = listed.decode("latin-1")
    return fields, start


def _detached(path: str | PathLike[str], fields: dict[str, str]) -> list[str]:
    """Names of the files with the voxels, as a header has them; none where they are in the file itself."""
    if fspath(path).lower().endswith(META):
        named = fields.get("elementdatafile", "LOCAL")
        if named.upper().startswith("LIST"):
            return [line.strip() for line in fields.get("listed", "").splitlines() if line.strip()]
    else:
        named = fields.get("data file", fields.get("datafile", ""))
        if named.upper().startswith("LIST"):
            lines = fields.get("listed", "").splitlines()
            place = next(n for n, line in enumerate(lines) if line.lower().startswith(("data file", "datafile")))
            return [line.strip() for line in lines[place + 1 :] if line.strip()]
    if named.upper() == "LOCAL" or not named:
        return []
    return list(_expanded(named))


def _expanded(named: str) -> Iterator[str]:
    """Files of a pattern such as ``slice%03d.raw 1 10 1``; a plain name is itself."""
    pattern = re.fullmatch(r"(.*%0?\d*d.*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?", named)
    if not pattern:
        yield named
        return
    first, last, step = (int(part) for part in pattern.groups()[1:])
    if step == 0 or abs(last - first) // abs(step) > LONGEST:
        raise ValueError(f"its header names the files '{named}', which is no range of numbers")
    for number in range(first, last + (1 if step > 0 else -1), step):
        yield re.sub(r"%0?\d*d", lambda part: part[0] % number, pattern[1], count=1)  # noqa: B023 - used at once


def _is_beside(name: str, folder: Path) -> bool:
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(folder / name)]) == root and not os.path.isabs(name)
