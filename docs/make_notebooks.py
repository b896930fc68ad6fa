# SPDX-License-Identifier: Apache-2.0
"""Write docs/notebooks from the pages of docs/tutorials: `python docs/make_notebooks.py`.

Text stays text; a block of commands becomes a cell that runs them one after the other and stops at the first that
fails, and shows each picture that they write. The cells are plain Python, so that they run without Jupyter too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
NOTEBOOKS = DOCS / "notebooks"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n", re.M | re.S)
PICTURE = re.compile(r"--(?:out|preview) (\S+\.(?:png|gif))")
FIRST = '''\
import os
import shlex
import subprocess
import sys
from pathlib import Path

os.chdir(next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "bundles").is_dir()))


def run(command):
    """Run `python -m ...` with the Python of this notebook; an error stops the cell."""
    words = shlex.split(command)
    print("$", command, flush=True)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen([sys.executable, "-u", *words[1:]], **output) as process:
        for line in process.stdout:
            print(line, end="")
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}; its last lines say why")


def show(picture):
    """Show a picture that a command wrote."""
    from IPython.display import Image, display

    display(Image(filename=picture))'''
"""The first cell with code."""
INTRODUCTION = """\
Made from [{name}](../tutorials/{name}) by `python docs/make_notebooks.py`. Open it with the Python in which `wss_monai`
is installed; commands start in the folder that holds `bundles`, and write to `data` and `runs` there.
"""


def code_of(block: str) -> str:
    """The cell of a block of shell commands."""
    lines = []
    for command in block.replace("\\\n", " ").splitlines():
        if not command:
            continue
        lines.append(f"run({json.dumps(command)})" if '"' not in command else f"run(r'''{command}''')")
        lines += [f'show("{picture}")' for picture in PICTURE.findall(command)]
    return "\n".join(lines)


def cells_of(text: str, name: str) -> list[tuple[str, str]]:
    """Kind and source of each cell: "markdown" or "code"."""
    title, _, rest = text.partition("\n")
    cells = [("markdown", f"{title}\n\n{INTRODUCTION.format(name=name)}"), ("code", FIRST)]
    parts = BLOCK.split(rest)
    for i, part in enumerate(parts):
        if part.strip():
            cells.append(("code", code_of(part)) if i % 2 else ("markdown", part.strip()))
    return cells


def notebook(page: Path) -> dict[str, Any]:
    """Give the notebook of a page, in version 4.5 of the format."""
    made: list[dict[str, Any]] = []
    for i, (kind, source) in enumerate(cells_of(page.read_text(encoding="utf-8"), page.name)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"{page.stem}-{i}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append({**cell, "source": source.rstrip("\n").splitlines(keepends=True)})
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 5}


def text_of(page: Path) -> str:
    """Give the file of the notebook of a page."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def pages() -> list[Path]:
    """The pages that have a notebook."""
    return sorted((DOCS / "tutorials").glob("*.md"))


if __name__ == "__main__":
    NOTEBOOKS.mkdir(exist_ok=True)
    for page in pages():
        (NOTEBOOKS / f"{page.stem}.ipynb").write_text(text_of(page), encoding="utf-8")
        print(NOTEBOOKS / f"{page.stem}.ipynb")
