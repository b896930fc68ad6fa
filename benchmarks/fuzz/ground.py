# SPDX-License-Identifier: Apache-2.0
"""What inputs are made of: a small data set, a run on it, and values that stand where they should not."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.0, 5, 255, 256, 1e-9, -1e9, 1e300, float("nan"), float("inf"), 10**30, "",
    " ", "x", "0", "1", "-1", "nan", "../x", "/dev/zero", "a\nb", "a\0b", "a\x1b[2Jb", "\ud800", "x" * 300, "=1+1",
    "$x", "@x", "#", [], [5], [None], ["x"], [[]], {}, {"x": 5}, {"1": "x"}, {"01": "x", "1": "y"},
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"null", b"5", b"[]", b"{}", b"x", b"{", b'{"a": 1,}', b"\xff\xfe\x00\x01", b"[" * 100_000, b'{"a":' * 50_000,
    b"[" + b"9" * 6000 + b"]", b'"\\ud800"', b"\xef\xbb\xbf",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """Where trials take place.

    Attributes:
        folder: an empty folder for everything.
        data: the data set, which no trial changes.
    """

    folder: Path
    data: Path

    def fresh(self, name: str = "trial") -> Path:
        """Give an empty folder."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def dataset(self, content: Any, files: Mapping[str, bytes] | None = None) -> Path:
        """Give a folder with this `dataset.json` (an object or bytes) and the files of the data set, but for some."""
        place = self.fresh("data")
        for kind in ("images", "labels", "scribbles"):
            (place / kind).mkdir()
            for file in (self.data / kind).iterdir():
                (place / kind / file.name).symlink_to(file)
        for name, changed in (files or {}).items():
            (place / name).unlink(missing_ok=True)
            (place / name).write_bytes(changed)
        write(place / "dataset.json", content)
        return place


def write(path: Path, content: Any) -> Path:
    """Write bytes as they are, and anything else as JSON."""
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List every place in decoded JSON, as the keys that lead there."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*at, key)
        yield from places(value, (*at, key))


def mutated(content: Any, draw: random.Random) -> tuple[str, Any]:
    """Change one place of decoded JSON: another value there, or gone, or under another key; say what was done."""
    changed = copy.deepcopy(content)
    place = draw.choice(list(places(content)))
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    where, key = ".".join(map(str, place)), place[-1]
    kind = draw.random()
    if kind < 0.1:
        del holder[key]
        return f"{where} is gone", changed
    if kind < 0.2 and isinstance(holder, dict):
        name = draw.choice([value for value in VALUES if isinstance(value, str)])
        holder[name] = holder.pop(key)
        return f"{where} is called {name!r}", changed
    value = draw.choice(VALUES)
    holder[key] = copy.deepcopy(value)
    return f"{where} = {value!r}", changed


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Change bytes at a random place, cut the end off, or put something in."""
    at, length = draw.randrange(len(content)), draw.randint(1, 60)
    kind = draw.choice(("flip", "cut", "insert", "zeros"))
    middle = {
        "flip": bytes(byte ^ draw.randint(1, 255) for byte in content[at : at + length]),
        "cut": None,
        "insert": draw.randbytes(length) + content[at : at + length],
        "zeros": bytes(len(content[at : at + length])),
    }[kind]
    rest = b"" if middle is None else middle + content[at + length :]
    return f"{kind} {length} bytes at {at} of {len(content)}", content[:at] + rest
