# SPDX-License-Identifier: Apache-2.0
"""Words of the command line that several verbs read alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wss_monai.io.json_files import parse_json, read_json

__all__ = ["class_names", "json_or_file", "parse_options"]

WORD = re.compile("[A-Za-z_]+")


def json_or_file(text: str) -> Any:
    """Decode JSON, or what a file holds whose name ends in .json: shells differ in how quotes are written.

    Raises:
        OSError: there is no such file.
        ValueError: it is not JSON.
    """
    return read_json(Path(text)) if text.strip().lower().endswith(".json") else parse_json(text)


def class_names(words: str | None) -> list[str] | None:
    """Read --class-names, a JSON list of names; None: not given.

    Raises:
        ValueError: it is none.
    """
    if words is None:
        return None
    try:
        names = parse_json(words)
    except ValueError as error:
        raise ValueError(f"--class-names must be a JSON list of names, got {words!r}: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"--class-names must be a JSON list of names, got {words!r}")
    return names


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` words; values are JSON (2, 0.5, true, [1, 2]), or a single word without quotes.

    Raises:
        ValueError: there is no `=`, or the value is neither.
    """
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            options[key.strip()] = parse_json(value)
        except ValueError as error:
            if WORD.fullmatch(value.strip()):
                options[key.strip()] = value.strip()
                continue
            raise ValueError(
                f"--option must be KEY=VALUE with a value such as 2, 0.5, true, points or [1,2]; got '{word}'"
            ) from (error if equals else None)
    return options
