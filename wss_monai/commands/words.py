# SPDX-License-Identifier: Apache-2.0
"""Words of the command line that several verbs read alike."""

from __future__ import annotations

from wss_monai.io.json_files import parse_json

__all__ = ["class_names"]


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
