# SPDX-License-Identifier: Apache-2.0
"""Gather the pages of the documentation site: `make docs`, or `python docs/make_site.py` and mkdocs by hand.

The pages are those of the repository, in its own tree, so that their links hold; the Python API is made of docstrings.
Written to build/site, or the folder given: `pages`, and `mkdocs.yml` with the settings of docs/mkdocs.yml and the table
of contents. `mkdocs build --config-file build/site/mkdocs.yml` makes build/site/html, and fails on a link that leads
nowhere.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "site"
SHOWN_AS_TEXT = ("", ".py", ".cff", ".yaml", ".txt")
"""Endings of linked files that a browser would download: they are copied with .txt at the end."""
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#\s])")


def sources() -> list[Path]:
    """Pages of the repository, relative to its root."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")]
    found += [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("bundles/*/docs/README.md"))]
    return [page.relative_to(ROOT) for page in found]


def text_of(page: Path) -> str:
    """A page as mkdocs reads it: lists as GitHub takes them are indented by 4 and begin after an empty line."""
    lines, fence, shift = [""], "", 0
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        inner = len(line) - len(line.lstrip())
        item = re.match(r"\s*([-*]|\d+\.) ", line)
        if fence:
            shifted = " " * shift + line
            fence = "" if line.strip() == fence else fence
        elif mark := re.match(r"\s*(`{3,})", line):
            fence, shift = mark[1], 4 - inner if 0 < inner < 4 else 0
            shifted = " " * shift + line
        else:
            if 0 < inner < 4 and (item or not lines[-1]):
                line = "    " + line.lstrip()
            if item and not inner and lines[-1] and not re.match(r"\s|[-*] |\d+\. ", lines[-1]):
                lines.append("")
            shifted = line
        lines.append(shifted)
    return "\n".join(lines[1:]) + "\n"


def copy_page(page: Path, pages: Path) -> None:
    """Copy a page to ``pages``, with the files that it links to; those that a browser would not show end in .txt."""

    def target(link: re.Match[str]) -> str:
        name = link[1]
        file = Path(os.path.normpath(ROOT / page.parent / name))
        if "://" in name or name.startswith("mailto:") or file.suffix == ".md" or not file.is_file():
            return name
        ending = ".txt" if file.suffix in SHOWN_AS_TEXT and file.suffix != ".txt" else ""
        copy = pages / f"{file.relative_to(ROOT)}{ending}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        return f"{name}{ending}"

    made = pages / page
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(LINK.sub(target, text_of(page)), encoding="utf-8")


def api_pages(pages: Path) -> list[dict[str, str]]:
    """Write a page a room, of the docstrings; its entries in the contents."""
    api = runpy.run_path(str(ROOT / "docs" / "make_api.py"))
    entries = []
    for room, modules in api["ROOMS"].items():
        parts = [f"# wss_monai.{room}\n\n{api['summary'](importlib.import_module(f'wss_monai.{room}'))}\n"]
        for name in modules:
            path = ".".join(["wss_monai", room, *([name] if name else [])])
            module = importlib.import_module(path)
            if name:
                parts.append(f"## {path}\n\n{api['summary'](module)}\n")
            for public in api["public_names"](module):
                value: Any = getattr(module, public)
                parts.append(f"::: {value.__module__}.{value.__qualname__}\n")
        page = Path("docs") / "reference" / "api" / f"{room}.md"
        (pages / page).parent.mkdir(parents=True, exist_ok=True)
        (pages / page).write_text("\n".join(parts), encoding="utf-8")
        entries.append({room: page.as_posix()})
    return entries


def contents(api: list[dict[str, str]]) -> list[Any]:
    """Give the table of contents: in each part the pages as README.md links to them, then the others by name."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = LINK.findall(readme.partition("## Documentation")[2] + readme)
    order = {name: i for i, name in reversed([*enumerate(linked)])}
    pages = [page.as_posix() for page in sources()]
    pages.sort(key=lambda page: (order.get(page, len(order) + 1), page))

    def part(pattern: str, *others: str) -> list[str]:
        return [*others, *(page for page in pages if re.fullmatch(pattern, page) and page not in others)]

    notes, names = part(r"docs/results/log/[^/]+\.md"), "docs/reference/api.md"
    reference = part(r"docs/reference/.*\.md", "docs/reference/dataset-json.md", "data/README.md")
    results = [page for page in part(r"docs/results/.*\.md", "docs/results/README.md") if page not in notes]
    return [
        {"Home": "README.md"},
        {"Tutorials": part(r"docs/tutorials/[^/]+\.md")},
        {"How to": part(r"docs/how-to/[^/]+\.md")},
        {"Bundles": [{page.split("/")[1]: page} for page in part(r"bundles/.*\.md")]},
        {"Reference": [*(page for page in reference if page != names), {"Python API": [{"all names": names}, *api]}]},
        {"Results": [results[0], {"Pages": results[1:]}, {"What was tried": notes}]},
        {"Development": ["CONTRIBUTING.md", "docs/development/architecture.md", "CHANGELOG.md"]},
    ]


class _Slugs:
    """Names of headings as GitHub makes them, for links to them; written as the YAML tag that mkdocs understands."""


def _slugs(dumper: yaml.SafeDumper, _: _Slugs) -> yaml.Node:
    return dumper.represent_mapping(
        "tag:yaml.org,2002:python/object/apply:pymdownx.slugs.slugify", {"kwds": {"case": "lower"}}
    )


yaml.SafeDumper.add_representer(_Slugs, _slugs)


def make(out: Path = OUT) -> Path:
    """Write pages and configuration to a folder; the latter's path."""
    pages = out / "pages"
    if pages.is_dir():
        shutil.rmtree(pages)
    for page in sources():
        copy_page(page, pages)
    shutil.copyfile(ROOT / "docs" / "site.css", pages / "site.css")
    base = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))
    handler = next(plugin["mkdocstrings"] for plugin in base["plugins"] if "mkdocstrings" in plugin)["handlers"]
    handler["python"]["paths"] = [str(ROOT)]
    base["markdown_extensions"].append({"toc": {"permalink": True, "slugify": _Slugs()}})
    own = {**base, "docs_dir": "pages", "site_dir": "html", "nav": contents(api_pages(pages))}
    config = out / "mkdocs.yml"
    config.write_text(yaml.safe_dump(own, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return config


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT))
