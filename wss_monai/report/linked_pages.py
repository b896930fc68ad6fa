# SPDX-License-Identifier: Apache-2.0
"""How report.html and browse.html find each other: each says which runs it shows."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

__all__ = ["beside", "relative", "runs_mark"]

HEAD = 4000
"""Letters of a page in which it says so."""


def runs_mark(folders: Iterable[Path]) -> str:
    """Give a mark of each run folder, for a page's head: digests, since a path says more than a page should."""
    return " ".join(hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12] for folder in folders)


def relative(page: Path | str, out: Path) -> str:
    """Give the address of a page as another one names it."""
    return quote(os.path.relpath(page, out.parent).replace(os.sep, "/"))


def beside(page: Path, name: str, folders: Sequence[Path]) -> str:
    """Give the address of the other page beside a page, where it is there and shows any of the runs; else ""."""
    other = page.with_name(name)
    if other == page or not other.is_file():
        return ""
    with other.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
    found = re.search(r'<meta name="wss-monai-runs" content="([^"]*)"', head)
    marks = set(found[1].split()) if found else set()
    return quote(name) if marks & set(runs_mark(folders).split()) else ""
