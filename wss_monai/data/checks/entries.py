# SPDX-License-Identifier: Apache-2.0
"""Reading a `dataset.json` with faults: what is broken is reported and left out, the rest is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wss_monai.data.case_entry import Entry
from wss_monai.data.checks.problem import Problems
from wss_monai.data.validation import examine
from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json

__all__ = ["Entries", "read_entries"]

_MEND = "mend dataset.json as docs/reference/dataset-json.md describes it"


@dataclass(frozen=True)
class Entries:
    """All cases of a data set.

    Attributes:
        raw: the whole file; empty where it cannot be read.
        entries: the cases.
        labels_known: False where the data set's `labels` are broken, so that no value can be checked.
        weak_known: the same for the data set's `weak_label`.
        problems: what was found.
    """

    raw: dict[str, Any]
    entries: list[Entry]
    labels_known: bool
    weak_known: bool
    problems: Problems


def read_entries(file: Path) -> Entries:
    """Read a `dataset.json` and report all that breaks the rules of the format; nothing is raised for that.

    Args:
        file: the `dataset.json`, which exists.

    Returns:
        The usable cases and the problems.
    """
    problems = Problems()
    try:
        raw = read_json(file)
    except FormatFault as error:
        problems.error(error.kind, f"is {error.problem}", error.todo, file.name)
        return Entries({}, [], False, False, problems)
    if not isinstance(raw, dict):
        problems.error("json", f"must hold a JSON object, got {type(raw).__name__}", _MEND, file.name)
        return Entries({}, [], False, False, problems)
    found = examine(raw, file)
    for fault in found.faults:
        problems.error(fault.kind, fault.problem, fault.todo or _MEND, fault.file or file.name, fault.case)
    if not found.entries and not problems:
        problems.error("case", "'training' lists no case", "list the cases under 'training'", file.name)
    return Entries(raw, found.entries, found.labels_known, found.weak_known, problems)
