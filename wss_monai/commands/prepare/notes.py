# SPDX-License-Identifier: Apache-2.0
"""What the readers of releases share on the command line: their notes, and lists of patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ["print_notes", "read_patients"]


def print_notes(notes: Sequence[tuple[str, str]]) -> None:
    """Print a table of who was skipped or changed, and why."""
    width = max((len(who) for who, _ in notes), default=0)
    for who, what in notes:
        print(f"{who:<{width}}  {what}")


def read_patients(path: str) -> list[str]:
    """Read a list of patients, plain or under the key `patients` (as in benchmarks/splits).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or holds no list of names.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--patients: no file '{path}'")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--patients: '{path}' is not a JSON file: {error}") from error
    patients = content.get("patients") if isinstance(content, dict) else content
    if not isinstance(patients, list) or not patients or not all(isinstance(item, str) for item in patients):
        raise ValueError(
            f"--patients: '{path}' must hold a list of patient names, or an object with such a list as 'patients'"
        )
    return patients
