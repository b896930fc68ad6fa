# SPDX-License-Identifier: Apache-2.0
"""The documentation site: every page is in it, as GitHub shows it, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import PAGES
from tiny import ROOT

SITE = runpy.run_path(str(ROOT / "docs" / "make_site.py"))


@pytest.fixture(scope="module")
def gathered(tmp_path_factory) -> Path:
    """The folder that mkdocs builds from."""
    out = tmp_path_factory.mktemp("site")
    assert SITE["make"](out) == out / "mkdocs.yml"
    return out


def listed(entry: Any) -> list[str]:
    """Pages of a part of the contents."""
    if isinstance(entry, str):
        return [entry]
    return [page for item in (entry.values() if isinstance(entry, dict) else entry) for page in listed(item)]


def test_the_contents_list_every_page_once(gathered):
    config = yaml.unsafe_load(re.sub(r"!!python/object/\S+", "", (gathered / "mkdocs.yml").read_text()))
    found = listed(config["nav"])
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES} - {"docs/results.md"}
    assert len(found) == len(set(found))
    assert {page for page in pages if not page.startswith(".github")} <= set(found)
    assert all((gathered / "pages" / page).is_file() for page in found)
    assert (
        "::: wss_monai.losses.constraint.ConstraintLoss"
        in (gathered / "pages" / "docs" / "reference" / "api" / "losses.md").read_text().splitlines()
    )
    assert found.index("docs/tutorials/toy-discs.md") < found.index("docs/tutorials/two-circles.md")


def test_files_that_a_browser_would_download_are_shown(gathered):
    home = (gathered / "pages" / "README.md").read_text()
    for name in ("LICENSE", "CITATION.cff", "bundles/make.py"):
        assert f"({name}.txt)" in home
        assert (gathered / "pages" / f"{name}.txt").read_bytes() == (ROOT / name).read_bytes()
    for name in ("docs/images/demo.png", "docs/notebooks/toy-discs.ipynb", "wss_monai/data/dataset.schema.json"):
        assert (gathered / "pages" / name).is_file()


def test_lists_and_blocks_are_written_as_mkdocs_reads_them(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "Text:\n- one\n  goes on\n- two\n\n  ```sh\n  a \\\n    b\n  ```\n\n1. first:\n   - within\n\n"
        "```\n- code\n```\n"
    )
    assert SITE["text_of"](page) == (
        "Text:\n\n- one\n  goes on\n- two\n\n    ```sh\n    a \\\n      b\n    ```\n\n1. first:\n    - within\n\n"
        "```\n- code\n```\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocstrings") is None, reason="mkdocs and mkdocstrings are not installed"
)
def test_the_site_is_built_and_a_wrong_link_stops_it(gathered):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(gathered / "mkdocs.yml")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    html = {file.relative_to(gathered / "html").as_posix(): file for file in (gathered / "html").rglob("*.html")}
    losses = html["docs/reference/api/losses.html"].read_text(encoding="utf-8")
    assert 'id="wss_monai.losses.constraint.ConstraintLoss"' in losses and "reduction" in losses
    for file in html.values():
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', file.read_text(encoding="utf-8"))
        assert not [address for address in loaded if "://" in address], "a page is fetched from elsewhere"
    page = gathered / "pages" / "docs" / "tutorials" / "toy-discs.md"
    page.write_text(page.read_text().replace("two-circles.md", "two-circles.md#nothing", 1))
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1 and "nothing" in done.stderr
