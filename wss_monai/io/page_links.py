# SPDX-License-Identifier: Apache-2.0
"""Markdown pages that are read away from the repository: links that would lead nowhere become words.

Of the standard library alone: setup.py reads it before anything is installed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["absolute_links", "outside_links"]

LINK = re.compile(
    r"```.*?```|`[^`]*`|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^)\s]+)\)", re.DOTALL
)
"""Code, which stays as it is, or a link or image."""
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def absolute_links(text: str, address: str = "", raw: str = "") -> str:
    """Give a page of the repository's root as a package index shows it.

    Args:
        text: the page, whose relative links start at the root of the repository.
        address: what goes before the path of a page, such as ``https://host/owner/name/blob/v0.1.0``; "": links become
            their words.
        raw: the same for images, which an index shows only where they are files, not pages; "": images are left out,
            with the caption in italics that follows.

    Returns:
        The page without relative links. Links within the page and absolute ones stay.
    """

    def changed(found: re.Match[str]) -> str:
        target = found["target"]
        if target is None or ABSOLUTE.match(target) or target.startswith("#"):
            return found[0]
        if found["image"]:
            return f"![{found['text']}]({raw}/{target})" if raw else "\0"
        return f"[{found['text']}]({address}/{target})" if address else found["text"]

    shown = LINK.sub(changed, text)
    shown = re.sub(r"\0\n+(\*[^*]+?\*\n+)?", "", shown)
    return shown.replace("\0", "")


def outside_links(text: str, page: Path, root: Path) -> str:
    """Give a page with its links out of a folder as words.

    Args:
        text: the page.
        page: where it lies, in or below ``root``.
        root: the folder that is read alone.
    """
    folder = os.path.relpath(page.parent, root)

    def changed(found: re.Match[str]) -> str:
        target = found["target"]
        if target is None or ABSOLUTE.match(target) or target.startswith("#"):
            return found[0]
        inside = os.path.normpath(os.path.join(folder, target.partition("#")[0]))
        return found["text"] if inside.split(os.sep)[0] == os.pardir else found[0]

    return LINK.sub(changed, text)
