# SPDX-License-Identifier: Apache-2.0
"""Archives and pickles: what is damaged is refused, or gives what the sound one gives; no code runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.ground import TEXTS, Ground, damaged
from fuzz.trial import WRONG, Case, command

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "zip": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
TARS = ("", "gz", "bz2", "xz")
INFO = b"ED: 1\nES: 2\nGroup: NOR\nHeight: 180\nWeight: 70\nNbFrame: 30\n"


def release(ground: Ground) -> dict[str, bytes]:
    """Give the files of a release like ACDC with one patient."""
    files = {"training/patient001/Info.cfg": INFO}
    for number in (1, 2):
        name = f"training/patient001/patient001_frame{number:02d}"
        files[f"{name}.nii.gz"] = (ground.data / f"images/p{number}_ED.nii.gz").read_bytes()
        files[f"{name}_gt.nii.gz"] = (ground.data / f"labels/p{number}_ED.nii.gz").read_bytes()
    return files


def zipped(files: dict[str, bytes], method: int) -> bytes:
    """Pack files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], kind: str, odd: tarfile.TarInfo | None = None) -> bytes:
    """Pack files as a tar, with a member more where one is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        if odd is not None:
            file.addfile(odd)
    return buffer.getvalue()


def cases(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Names that lead outside, links and devices, then damage at random places of each kind of archive."""
    files = release(ground)
    sound = {name: zipped(files, method) for name, method in METHODS.items()}
    sound |= {f"tar.{kind}": tarred(files, kind) for kind in TARS}
    for name, content in sound.items():
        yield _prepare(ground, f"sound {name}", content, "accept")
    for name in (
        "../Info.cfg",
        "/Info.cfg",
        "..\\Info.cfg",
        "C:/Info.cfg",
        "training/patient001/Info.cfg/Info.cfg",
    ):
        yield _prepare(ground, f"zip with {name}", zipped({**files, name: b"x"}, zipfile.ZIP_DEFLATED), "refuse")
        yield _prepare(ground, f"tar with {name}", tarred({**files, name: b"x"}, "gz"), "refuse")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        odd = tarfile.TarInfo("training/x/Info.cfg")
        odd.type, odd.linkname = kind, "/etc/passwd"
        yield _prepare(ground, f"tar with a member of type {kind!r}", tarred(files, "gz", odd), "refuse")
    for text in TEXTS:
        yield _prepare(ground, f"{text[:20]!r}", text, "refuse")
    reference = _result(ground, sound["zip"])
    while True:
        name = draw.choice(list(sound))
        told, content = damaged(sound[name], draw)
        if name == "tar.":  # it has no checksum at all: what changed is not known to anybody
            yield _prepare(ground, f"{name}: {told}", content, "any")
        else:
            yield _compared(ground, f"{name}: {told}", content, reference)


def _prepare(ground: Ground, name: str, content: bytes, right: str) -> Case:
    place = ground.fresh()
    source = place / "a.archive"
    source.write_bytes(content)
    call = command("prepare", "acdc", "--source", source, "--out", place / "o")
    return Case(f"prepare acdc: {name}", call, right, ("a.archive", "patient001"), place / "o", source)


def _result(ground: Ground, content: bytes) -> str:
    """Convert a sound archive, and give a digest of what came of it."""
    place = ground.fresh("reference")
    (place / "a.archive").write_bytes(content)
    command("prepare", "acdc", "--source", place / "a.archive", "--out", place / "o")()
    return _content(place / "o")


def _content(folder: Path) -> str:
    """Give what a folder holds, whatever it is called."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return repr([(str(path.relative_to(folder)), path.read_bytes()) for path in files])


def _compared(ground: Ground, name: str, content: bytes, reference: str) -> Case:
    """A damaged archive: 3, silent, where what comes out differs from what was packed and no note says so."""
    base = _prepare(ground, name, content, "any")
    out = base.out

    def call() -> int:
        code = base.call()
        if code == 0 and out is not None and _content(out) != reference:
            print("it was converted to something else")
            return WRONG
        return code

    return Case(base.name, call, "any", base.words, None, base.inputs)


class _Runs:
    """A pickle that calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def pickles(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Pickles that call functions, then damage at random places."""
    mark = ground.folder / "a-pickle-ran"
    sound = {"0_labels": np.array([1, 2]), "0_cues": np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6]])}
    hostile: list[Any] = [_Runs(os.mkdir, str(mark)), _Runs(eval, f"__import__('os').mkdir({str(mark)!r})"), [1], 5, {}]
    hostile += [{**sound, "0_labels": value} for value in (np.array([1.5]), np.array(["a"]), np.array([99]), [10**30])]
    hostile += [{"0_labels": _Runs(os.mkdir, str(mark))}, {"x": np.array([1])}, {"../../x_labels": np.array([1])}]
    for number, content in enumerate(hostile):
        for protocol in (0, 2, 5):
            yield _cues(
                ground, f"hostile {number}, protocol {protocol}", pickle.dumps(content, protocol), mark, "refuse"
            )
    for text in (b"(" * 10**6 + b".", b"]q\x00h\x00a.", b"}r\xff\xff\xff\x7f.", b"I" + b"9" * 10**6 + b"\n.", *TEXTS):
        yield _cues(ground, f"{text[:20]!r}", text, mark, "refuse")
    while True:
        told, content = damaged(pickle.dumps(sound, draw.randint(0, 5)), draw)
        yield _cues(ground, told, content, mark, "any")


def _cues(ground: Ground, name: str, content: bytes, mark: Path, right: str) -> Case:
    place = ground.fresh()
    source = place / "c.pickle"
    source.write_bytes(content)
    convert = command("prepare", "localization-cues", "--source", source, "--out", place / "o")

    def call() -> int:
        code = convert()
        if mark.exists():
            print("a pickle ran code")
            return WRONG
        if code == 0:
            json.loads((place / "o" / "cues.json").read_text())
        return code

    return Case(f"prepare localization-cues: {name}", call, right, ("c.pickle",), place / "o", source)
