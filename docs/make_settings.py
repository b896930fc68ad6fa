# SPDX-License-Identifier: Apache-2.0
"""Write the tables of settings in docs/reference/configuration.md: `python docs/make_settings.py`.

They are the comments of acdc_logbarrier's train.yaml, which come from bundles/frame and from its bundle.yaml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "bundles"))
from commented_yaml import Item, read, write  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "configuration.md"
FILE = ROOT / "bundles" / "acdc_logbarrier" / "configs" / "train.yaml"
TITLE = "# ---- what a user sets: "


def rows(items: dict[str, Item], prefix: str = "") -> Iterator[str]:
    """Lines of a table: id, default, meaning. A component has a line for each of its arguments."""
    for name, item in items.items():
        if not isinstance(item.value, str) and "_target_" in item.value:
            yield from rows(item.value, f"{prefix}{name}#")
            continue
        default = item.value
        if not isinstance(default, str):
            data = yaml.safe_load("\n".join(write(default)))
            default = yaml.safe_dump(data, default_flow_style=True, sort_keys=False, width=1000).strip()
        lines = [line for line in item.above if line and not line.startswith("# --")] + [item.behind]
        meaning = " ".join(line.lstrip("# ") for line in lines if line).replace("|", r"\|")
        meaning = re.sub(r"docs/([\w/-]+)\.md", r"[\1](../\1.md)", meaning)
        yield f"| `{prefix}{name}` | `{default}` | {meaning} |"


def tables() -> dict[str, str]:
    """The tables by the titles of the file."""
    parts: dict[str, dict[str, Item]] = {}
    title = ""
    for name, item in read(FILE.read_text(encoding="utf-8")).items():
        title = next((line for line in item.above if line.startswith("# --")), title)
        if title.startswith(TITLE):
            parts.setdefault(title.removeprefix(TITLE).partition(";")[0], {})[name] = item
    head = "| id | default | meaning |\n|---|---|---|\n"
    return {title: head + "\n".join(rows(items)) + "\n" for title, items in parts.items()}


def page() -> str:
    """Give the text of the page, with new tables."""
    text = PAGE.read_text(encoding="utf-8")
    for title, table in tables().items():
        marks = f"<!-- settings: {title} -->\n", "<!-- end -->"
        before, _, rest = text.partition(marks[0])
        text = before + marks[0] + table + marks[1] + rest.partition(marks[1])[2]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
