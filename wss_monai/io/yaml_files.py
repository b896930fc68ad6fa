# SPDX-License-Identifier: Apache-2.0
"""YAML that unfolds to far more than it is: told before it is loaded."""

from __future__ import annotations

import os

import yaml

from wss_monai.io.json_files import read_text

__all__ = ["LARGEST", "check_yaml", "check_yaml_file"]

LARGEST = 1_000_000
"""Values and lists that a text may stand for once its aliases are put in."""
DEEPEST = 200
"""Levels of lists and objects inside one another; Python's reader of YAML needs about four calls a level."""


def check_yaml(text: str, where: str) -> None:
    """Refuse YAML whose aliases multiply (a "billion laughs"), or that is nested too deeply. Nothing is built for that.

    Args:
        text: the YAML.
        where: what messages call it.

    Raises:
        ValueError: it is no YAML, too deep, or stands for more than `LARGEST` values.
    """
    sizes: dict[str, int] = {}
    total, opened = 0, list[tuple[str | None, int]]()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                total += sizes.get(event.anchor or "", 1)
            elif isinstance(event, yaml.ScalarEvent):
                total += 1
                if event.anchor:
                    sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, total))
                total += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = opened.pop()
                if anchor:
                    sizes[anchor] = total - before
            if total > LARGEST:
                raise ValueError(f"{where} is refused: its aliases stand for more than {LARGEST} values")
            if len(opened) > DEEPEST:
                raise ValueError(f"{where} is refused: it is nested more than {DEEPEST} levels deep")
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def check_yaml_file(path: str | os.PathLike[str]) -> None:
    """Check a file as `check_yaml` does.

    Raises:
        OSError: it cannot be read.
        ValueError: as there, or it is not UTF-8; names the file.
    """
    check_yaml(read_text(path), os.fspath(path))
