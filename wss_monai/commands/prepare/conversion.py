# SPDX-License-Identifier: Apache-2.0
"""What the readers of releases share on the command line: a list of patients, and the report of what came of it."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wss_monai.commands.kinds import option, told_failures
from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json

__all__ = ["PATIENTS", "Converted", "conversion", "print_notes", "read_patients"]

PATIENTS = option("--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones')
Converted = tuple[Any, str]
"""A `Preparation`, and in words what it holds."""


def conversion(convert: Callable[[argparse.Namespace], Converted]) -> Callable[[argparse.Namespace], int]:
    """Make the `run` of a release: read the file of --patients, convert, print notes and the summary in words.

    Cases that could not be converted are named at the end, and make the exit code 1.
    """

    @functools.wraps(convert)
    def run(args: argparse.Namespace) -> int:
        if getattr(args, "patients", None) is not None:
            args.patients = read_patients(args.patients)
        done, summary = convert(args)
        print_notes(done.notes)
        print(f"{done.path}: {summary}; {len(done.notes)} notes")
        return told_failures({name: done.skipped[name] for name in done.failed}, f"left out of {done.path}")

    return run


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
        content = read_json(path)
    except FormatFault as fault:
        raise ValueError(f"--patients: '{path}' is {fault.problem}") from fault
    patients = content.get("patients") if isinstance(content, dict) else content
    if not isinstance(patients, list) or not patients or not all(isinstance(item, str) for item in patients):
        raise ValueError(
            f"--patients: '{path}' must hold a list of patient names, or an object with such a list as 'patients'"
        )
    return patients
