# SPDX-License-Identifier: Apache-2.0
"""The rooms of the package: what may import what, read off the source, imports inside functions included."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "wss_monai"
FILES_AND_TENSORS = {"functional", "io"}
PARTS = {"data", "transforms", "losses", "networks", "metrics"}
MAY_IMPORT = {
    "functional": set(),
    "io": {"functional"},
    "bundle": {"io"},
    "optimizers": set(),
    "data": FILES_AND_TENSORS,
    "data.checks": FILES_AND_TENSORS | {"data"},
    "data.loading": FILES_AND_TENSORS | {"data"},
    "data.phantoms": FILES_AND_TENSORS | {"data"},
    "data.releases": FILES_AND_TENSORS | {"data"},
    "transforms": FILES_AND_TENSORS,
    "losses": {"functional"},
    "networks": {"functional"},
    "metrics": {"functional"},
    "inferers": {"functional", "losses"},
    "engines": FILES_AND_TENSORS | {"bundle", "transforms", "losses"},
    "evaluation": FILES_AND_TENSORS | {"transforms", "metrics"},
    "handlers": FILES_AND_TENSORS | {"bundle", "transforms", "losses", "metrics", "evaluation"},
    "estimation": FILES_AND_TENSORS | {"data", "transforms"},
    "pseudo_labels": FILES_AND_TENSORS | {"bundle", "data", "transforms", "networks"},
    "planning": FILES_AND_TENSORS | {"data", "transforms"},
    "report": FILES_AND_TENSORS | {"data", "transforms", "losses"},
    "prediction": FILES_AND_TENSORS | {"bundle", "transforms", "handlers", "report"},
    "nnunet": FILES_AND_TENSORS | {"data", "transforms", "losses", "handlers"},
    "label_app": FILES_AND_TENSORS | {"data"},
    "moved": set(),
}
MAY_IMPORT["commands"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = set(MAY_IMPORT)
MAY_IMPORT["__init__"] = {"moved"}
"""Room -> rooms that it may import. `data` has rooms of its own; the `__init__` of a room may import all in it, and
`moved`, which knows the places of an earlier release."""
MAX_LINES = 350
PAGE = PACKAGE.parent / "docs" / "development" / "architecture.md"
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return room_named([part.removesuffix(".py") for part in file.relative_to(PACKAGE).parts])


def room_named(parts: list[str]) -> str:
    """The room in which a module lies, given by its dotted name without `wss_monai`."""
    inner = ".".join(parts[:2])
    return inner if inner in MAY_IMPORT else parts[0]


def imported_rooms(source: str, package: str) -> set[str]:
    """Rooms that a module imports; `package` is the dotted package it lies in, for relative imports."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    ours = [name.split(".") for name in names]
    inner = [parts[1:] for parts in ours if parts[0] == "wss_monai" and len(parts) > 1]
    return {room_named(parts) for parts in inner} - {"__version__"}


def package_of(file: Path) -> str:
    return ".".join(["wss_monai", *file.relative_to(PACKAGE).parent.parts])


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import torch, wss_monai.losses.partial as p", {"losses"}),
        ("from wss_monai.functional import UNLABELLED", {"functional"}),
        ("from wss_monai import metrics, __version__", {"metrics"}),
        ("def f():\n    from wss_monai.report.html import page", {"report"}),
        ("from .schema import Dataset", {"data"}),
        ("from ..functional import x\nfrom .. import handlers", {"functional", "handlers"}),
        ("from wss_monai.data.checks.grid import Grid", {"data.checks"}),
        ("import wss_monai_other.data", set()),
    ],
)
def test_the_reader_of_imports(source, rooms):
    assert imported_rooms(source, "wss_monai.data") == rooms


def test_there_is_something_to_read():
    assert len(FILES) > 10
    assert {room_of(file) for file in FILES} <= set(MAY_IMPORT)


def test_no_room_reaches_into_a_room_above_or_beside_it():
    """Each room may import what MAY_IMPORT says, and no other."""
    offenders = []
    for file in FILES:
        room = room_of(file)
        allowed = MAY_IMPORT[room] | {room}
        if file.name == "__init__.py":
            allowed |= {"moved", *(other for other in MAY_IMPORT if other.startswith(f"{room}."))}
        reached = imported_rooms(file.read_text(encoding="utf-8"), package_of(file))
        offenders += [f"{file.relative_to(PACKAGE)} imports {name}" for name in sorted(reached - allowed)]
    assert offenders == []


def test_files_are_short_and_check_input_by_exceptions():
    """One concept a file; python -O strips assertions, so that a message has to be raised."""
    offenders = []
    for file in FILES:
        source, name = file.read_text(encoding="utf-8"), file.relative_to(PACKAGE)
        asserts = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
        offenders += [f"{name}:{line} asserts: raise ValueError with a message" for line in asserts]
        lines = source.count("\n")
        offenders += [f"{name} has {lines} lines: split it"] if lines > MAX_LINES else []
    assert offenders == []


def test_the_page_on_architecture_puts_every_room_on_its_floor():
    rows = re.findall(r"^\| `([\w.]+)` \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    floors = {room: int(floor) for room, floor in rows}
    assert set(floors) == set(MAY_IMPORT) - {"__init__", "__main__"}, "a room is missing in the table, or one too many"
    for room, floor in floors.items():
        assert MAY_IMPORT[room] <= {other for other in floors if floors[other] < floor}, room
