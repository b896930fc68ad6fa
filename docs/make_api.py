# SPDX-License-Identifier: Apache-2.0
"""Write docs/reference/api.md from the package's docstrings: `python docs/make_api.py`."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).resolve().parent / "reference" / "api.md"
HEAD = """# Python API

Public classes and functions, room by room: name, arguments, and the first paragraph of the docstring. Shapes, units,
errors and sources are in the docstrings: `help(wss_monai.losses.ConstraintLoss)`. `python docs/make_api.py` makes this
page; do not edit it.

[Architecture](../development/architecture.md) says what the rooms are for and which may import which. K
counts the classes with background, class 0; 255 marks unlabelled voxels of index maps. Transforms whose name ends in d
work on dictionaries.
"""
ROOMS: dict[str, list[str]] = {
    "functional": ["descriptors", "relations", "weak.generators", "weak.scribbles", "warps"],
    "io": ["grids", "labels", "volumes"],
    "data": ["", "json_schema", "releases.acdc", "phantoms.cardiac"],
    "transforms": [""],
    "losses": [""],
    "networks": [""],
    "metrics": ["", "measure"],
    "inferers": [""],
    "optimizers": [""],
    "engines": [""],
    "bundle": [""],
    "handlers": [""],
    "evaluation": [""],
    "estimation": [""],
    "planning": [""],
    "pseudo_labels": [""],
    "report": [""],
    "nnunet": ["", "export"],
    "prediction": [""],
}
"""Room -> modules whose public names are listed; "" is the room itself."""


def public_names(module: ModuleType) -> list[str]:
    """Names in `__all__`, or what the module itself defines; aliases and constants left out."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = [name for name in getattr(module, "__all__", own) if not name.startswith("_")]
    return [name for name in names if getattr(getattr(module, name), "__name__", "") == name]


def arguments(value: Any) -> str:
    """Names and defaults of the arguments, without annotations."""
    inherited = inspect.isclass(value) and not getattr(value.__init__, "__module__", "").startswith("wss_monai")
    if inherited and not is_dataclass(value):
        return "()"  # what torch.nn.Module takes says nothing
    bare = []
    for parameter in inspect.signature(value).parameters.values():
        named = callable(parameter.default) and parameter.default is not inspect.Parameter.empty
        default = _Word(parameter.default.__name__) if named else parameter.default
        bare.append(parameter.replace(annotation=inspect.Parameter.empty, default=default))
    return str(inspect.Signature(bare)).replace("<factory>", "()")


class _Word(str):
    """A default that is shown by its name."""

    def __repr__(self) -> str:
        return str(self)


def summary(value: Any) -> str:
    """First paragraph of the docstring, as Markdown."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()).replace("``", "`")
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text)


def listing(module: ModuleType) -> str:
    """Markdown list of a module's names."""
    values = [getattr(module, name) for name in public_names(module)]
    return "\n".join(
        f"- `{value.__name__}{'' if getattr(value, '_is_protocol', False) else arguments(value)}`: {summary(value)}"
        for value in values
    )


def page() -> str:
    """Give the text of the page."""
    parts = [HEAD]
    for room, modules in ROOMS.items():
        parts.append(f"## wss_monai.{room}\n\n{summary(importlib.import_module(f'wss_monai.{room}'))}\n")
        for name in modules:
            path = ".".join(["wss_monai", room, *([name] if name else [])])
            module = importlib.import_module(path)
            if name:
                parts.append(f"### {path}\n\n{summary(module)}\n")
            parts.append(listing(module) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
