# SPDX-License-Identifier: Apache-2.0
"""The rules for a `dataset.json`, asked one after the other: every fault, and what can be used beside them.

`wss_monai.data.schema.parse_dataset` raises the first fault, `python -m wss_monai check` lists all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wss_monai.data.case_entry import Entry, check_segments, examine_entry
from wss_monai.data.dataset import Dataset
from wss_monai.data.label_semantics import BACKGROUND, WeakMeaning, class_names_of, is_name, label_map, read_meaning
from wss_monai.io.faults import Fault, FormatFault

__all__ = ["REQUIRED", "Examination", "examine"]

REQUIRED = ("name", "labels", "training")
PARTS = ("training", "test")


@dataclass(frozen=True)
class Examination:
    """What an examination found.

    Attributes:
        dataset: what can be used; a part that was refused is empty.
        entries: its cases.
        faults: in the order of the file: of the data set, then of its cases.
        labels_known: False where the data set's `labels` are broken, so that no value can be checked.
        weak_known: the same for the data set's `weak_label`.
    """

    dataset: Dataset
    entries: list[Entry]
    faults: list[Fault]
    labels_known: bool
    weak_known: bool


def examine(raw: dict[str, Any], file: Path) -> Examination:
    """Ask all rules about the content of a `dataset.json` that lies, or will lie, at ``file``."""
    faults: list[Fault] = []
    where = str(file)

    def ask(rule: Callable[..., Any], *args: Any) -> Any:
        """Give what the rule makes of it; None where it refuses."""
        try:
            return rule(*args)
        except Fault as fault:
            faults.append(fault)
            return None

    for key in REQUIRED:
        if key not in raw:
            faults.append(FormatFault(f"'{key}' is missing", where=f"{where}:"))
    name = ask(_name, raw.get("name", "unnamed"), where)
    labels = ask(label_map, raw["labels"], where) if "labels" in raw else None
    slice_axis = ask(_slice_axis, raw.get("slice_axis", 2), where)
    outside = ask(_files_outside, raw.get("files_outside", False), where)
    names = class_names_of(labels or {0: BACKGROUND})
    names = list(dict.fromkeys([*names, *_names_of_cases(raw)]))
    weak = ask(_weak, raw.get("weak_label"), where, names)
    dataset = Dataset(
        name=name or "unnamed",
        root=file.parent.resolve(),
        labels=labels or {0: BACKGROUND},
        class_names=names,
        slice_axis=2 if slice_axis is None else slice_axis,
        segments=ask(check_segments, raw.get("segments"), where, names) or {},
        weak=weak or WeakMeaning(None, {}, {}, False),
        training=[],
        test=[],
        raw=raw,
    )
    meaningless: tuple[str, ...] = ("tags", "slice_tags") if labels is None else ()
    meaningless += ("weak_label", "weak_labels") if weak is None else ()
    entries, seen = list[Entry](), dict[str, str]()
    for part in PARTS:
        for i, case in enumerate(ask(_cases, raw.get(part, []), part, where) or []):
            if isinstance(case, dict):
                case = {key: value for key, value in case.items() if key not in meaningless}
            entry, found = examine_entry(case, (part, i), file, dataset, bool(outside), seen)
            entries += [] if entry is None else [entry]
            faults += found
    training, test = ([entry.case for entry in entries if entry.part == part] for part in PARTS)
    return Examination(
        replace(dataset, training=training, test=test), entries, faults, labels is not None, weak is not None
    )


def _name(name: Any, where: str) -> str:
    if not is_name(name):
        raise FormatFault(f"'name' must be a text, got {name!r}", where=f"{where}:")
    return str(name)


def _slice_axis(axis: Any, where: str) -> int:
    if axis not in (0, 1, 2) or isinstance(axis, bool):
        what = f"'slice_axis' must be 0, 1 or 2 (an axis of the stored volume), got {axis!r}"
        raise FormatFault(what, where=f"{where}:")
    return int(axis)


def _files_outside(outside: Any, where: str) -> bool:
    if not isinstance(outside, bool):
        raise FormatFault(f"'files_outside' must be true or false, got {outside!r}", where=f"{where}:")
    return outside


def _weak(section: Any, where: str, names: list[str]) -> WeakMeaning:
    weak = read_meaning(section, where, "weak_label")
    weak.refuse_strangers(names, where, "weak_label")
    return weak


def _cases(cases: Any, part: str, where: str) -> list[Any]:
    if not isinstance(cases, list):
        what = f"'{part}' must be a list of cases, got {type(cases).__name__}"
        raise FormatFault(what, f"list the cases under '{part}'", f"{where}:")
    return cases


def _names_of_cases(raw: Mapping[str, Any]) -> Iterator[str]:
    """List the classes that single cases add by `labels` of their own; what is wrong with those is said later."""
    for part in PARTS:
        for case in raw[part] if isinstance(raw.get(part), list) else []:
            if isinstance(case, dict) and case.get("labels") is not None:
                try:
                    yield from class_names_of(label_map(case["labels"], ""))
                except FormatFault:
                    continue
