# SPDX-License-Identifier: Apache-2.0
"""Figures as SVG inside a page, with a title on each mark that a reader may point at."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.figure import Figure

__all__ = ["inline_svg"]

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
KEPT = re.compile(r'<(path|clipPath|image|marker|linearGradient)\b[^>]*?\sid="([^"]+)"')
USE = re.compile(r"<use\b([^>]*?)/>")


def inline_svg(figure: Figure, words: str, tips: Mapping[str, Sequence[str]] | None = None) -> str:
    """Give a figure as an ``<svg>`` element that is as wide as its place, at most as wide as it was drawn.

    Args:
        figure: drawn under a ``text.parse_math`` of False where names are not ours.
        words: what it shows, for readers who do not see it.
        tips: gid of an artist whose marks are points -> a title for each of its points, in their order.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"'DejaVu Sans', [^;\"]*?sans-serif", FONTS, buffer.getvalue())
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.S)
    for gid, titles in (tips or {}).items():
        text = _with_titles(text, gid, titles)
    needed = {name for _, name in KEPT.findall(text)}
    text = re.sub(r'\sid="([^"]+)"', lambda found: found[0] if found[1] in needed else "", text)
    width = float(re.search(r'<svg[^>]*?width="([\d.]+)pt"', text)[1])  # type: ignore[index]
    text = re.sub(r'(<svg[^>]*?)\swidth="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[\d.]+pt"', r"\1", text, count=1)
    style = f'class="figure" style="max-width:{width * 4 / 3:.0f}px" role="img" aria-label="{escape(words)}"'
    return text.replace("<svg", f"<svg {style}", 1).strip()


def _with_titles(text: str, gid: str, titles: Sequence[str]) -> str:
    """Put a title into each mark of a group; where marks and titles do not match, leave the group as it is."""
    start = text.find(f'<g id="{gid}">')
    if start < 0:
        return text
    end, depth = start, 0
    for found in re.finditer(r"<g\b|</g>", text[start:]):
        depth += 1 if found[0] != "</g>" else -1
        if depth == 0:
            end = start + found.end()
            break
    group = text[start:end]
    if len(USE.findall(group)) != len(titles):
        return text
    left = iter(titles)
    marked = USE.sub(lambda found: f"<use{found[1]}><title>{escape(next(left))}</title></use>", group)
    return text[:start] + marked + text[end:]
