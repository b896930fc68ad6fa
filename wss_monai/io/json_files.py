# SPDX-License-Identifier: Apache-2.0
"""JSON from elsewhere: whatever it holds, it is read or refused in one line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wss_monai.io.faults import FormatFault

__all__ = ["parse_json", "read_json", "read_text"]

TODO = "mend the file at the place named"


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        FormatFault: it is not UTF-8; names the file and the byte.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: {error.reason} at byte {error.start}"
        raise FormatFault(path, problem, "save it as UTF-8", kind="json") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        FormatFault: it is not JSON, or nested so deeply or with a number so long that Python gives up.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise FormatFault(path, f"not a JSON file: {error}", TODO, kind="json") from error


def parse_json(text: str) -> Any:
    """Decode JSON, as `json.loads`, but that every failure is a ValueError.

    Raises:
        ValueError: it is not JSON, or nested so deeply or with a number so long that Python gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
