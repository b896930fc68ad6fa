# SPDX-License-Identifier: Apache-2.0
"""The rules for a `dataset.json`, asked one after the other: every fault, and what can be used beside them.

`wss_monai.data.schema.parse_dataset` raises the first fault, `python -m wss_monai check` lists all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wss_monai.data.case_entry import WEAK_KEYS, Entry, check_segments, examine_entry
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

    def ask(rule: Callable[..., Any], *args: Any) -> Any:
        """Give what the rule makes of it; None where it refuses."""
        try:
            return rule(*args)
        except Fault as fault:
            faults.append(fault)
            return None

    for key in REQUIRED:
        if key not in raw:
            faults.append(FormatFault(file, f"'{key}' is missing"))
    name = ask(_expect, raw, "name", "unnamed", is_name, "a text", file)
    labels = ask(label_map, raw["labels"], str(file)) if "labels" in raw else None
    slice_axis = ask(_expect, raw, "slice_axis", 2, _is_axis, "0, 1 or 2 (an axis of the stored volume)", file)
    outside = ask(_expect, raw, "files_outside", False, lambda value: isinstance(value, bool), "true or false", file)
    own_names = class_names_of(labels or {0: BACKGROUND})
    names = list(dict.fromkeys([*own_names, *_names_of_cases(raw)]))
    weak = ask(_weak, raw.get("weak_label"), str(file), names)
    dataset = Dataset(
        name=name or "unnamed",
        root=file.parent.resolve(),
        labels=labels or {0: BACKGROUND},
        class_names=names,
        slice_axis=2 if slice_axis is None else slice_axis,
        segments=ask(check_segments, raw.get("segments"), str(file), names) or {},
        weak=weak or WeakMeaning(None, {}, {}, False),
        training=[],
        test=[],
        raw=raw,
    )
    meaningless = {*(() if labels else ("tags", "slice_tags")), *(() if weak else WEAK_KEYS)}
    entries, seen = list[Entry](), dict[str, str]()
    for part in PARTS:
        cases = raw.get(part, [])
        if not isinstance(cases, list):
            what = f"'{part}' must be a list of cases, got {type(cases).__name__}"
            faults.append(FormatFault(file, what, f"list the cases under '{part}'"))
            continue
        for i, case in enumerate(cases):
            if isinstance(case, dict):
                case = {key: value for key, value in case.items() if key not in meaningless}
            entry, found = examine_entry(case, (part, i), file, dataset, bool(outside), seen)
            entries += [] if entry is None else [entry]
            faults += found
    training, test = ([entry.case for entry in entries if entry.part == part] for part in PARTS)
    return Examination(
        replace(dataset, training=training, test=test), entries, faults, labels is not None, weak is not None
    )


def _expect(
    raw: Mapping[str, Any], key: str, default: Any, fits: Callable[[Any], bool], must_be: str, where: object
) -> Any:
    """Give what stands under a key, if it is what it must be."""
    value = raw.get(key, default)
    if not fits(value):
        raise FormatFault(where, f"'{key}' must be {must_be}, got {value!r}")
    return value


def _is_axis(value: Any) -> bool:
    return type(value) is int and value in (0, 1, 2)


def _weak(section: Any, where: str, names: list[str]) -> WeakMeaning:
    weak = read_meaning(section, where, "weak_label")
    weak.refuse_strangers(names, where, "weak_label")
    return weak


def _names_of_cases(raw: Mapping[str, Any]) -> Iterator[str]:
    """List the classes that single cases add by `labels` of their own; what is wrong with those is said later."""
    for part in PARTS:
        for case in raw[part] if isinstance(raw.get(part), list) else []:
            if isinstance(case, dict) and case.get("labels") is not None:
                with suppress(FormatFault):
                    yield from class_names_of(label_map(case["labels"], ""))
