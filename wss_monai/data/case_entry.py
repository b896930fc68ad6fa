# SPDX-License-Identifier: Apache-2.0
"""One case in a `dataset.json`: the rules for its entry, and for the files that it names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wss_monai.data.dataset import Dataset
from wss_monai.data.label_semantics import class_names_of, is_name, label_map, read_meaning, segment_map
from wss_monai.io.faults import Fault, FormatFault, MissingFile
from wss_monai.io.names import odd_in, odd_in_stem
from wss_monai.io.volumes import without_suffix

__all__ = ["Entry", "check_segments", "examine_entry"]

PATH_KEYS = ("image", "label", "weak_label")
WEAK_KEYS = ("weak_label", "weak_labels")
"""They lean on each other, so that both are refused where one is."""


@dataclass(frozen=True)
class Entry:
    """One case as far as it can be used.

    Attributes:
        part: "training" or "test".
        name: the case id.
        patient: the person; None where the case does not say.
        case: the entry, with `case` filled in, without the keys that were refused.
        refused: these keys.
        dataset: what the data set says of all cases.
    """

    part: str
    name: str
    patient: str | None
    case: dict[str, Any]
    refused: frozenset[str]
    dataset: Dataset


def examine_entry(
    case: Any, place: tuple[str, int], file: Path, dataset: Dataset, outside: bool, seen: dict[str, str]
) -> tuple[Entry | None, list[Fault]]:
    """Ask all rules about one case.

    Args:
        case: the entry of `dataset.json`.
        place: its part, "training" or "test", and its number there.
        file: the `dataset.json`.
        dataset: what that says of all cases.
        outside: allow paths that lead out of the data set's folder; symbolic links are not followed.
        seen: the case ids so far and where they are; grows.

    Returns:
        The case, None where it is none, and its faults.
    """
    part, at = place[0], f"{place[0]}[{place[1]}]"
    if not isinstance(case, dict):
        stranger = FormatFault(f"{file}: {at}", f"must be an object, got {type(case).__name__}")
        stranger.case = at
        return None, [stranger]
    faults: list[Fault] = []
    refused: set[str] = set()

    def ask(keys: Sequence[str], rule: Callable[..., Any], *args: Any) -> Any:
        """Give what the rule makes of the case; None where it refuses, and with it the keys."""
        try:
            return rule(*args)
        except Fault as fault:
            faults.append(fault)
            refused.update(key for key in keys if key in case)
            return None

    name = ask(["case"], _case_id, case, f"{file}: {at}")
    where = f"{file}: {at}" if name is None else f"{file}: case '{name}' ({at})"
    name = name or at
    ask([], _refuse_repeated, name, at, f"{file}: case '{name}'", seen)
    patient = ask(["patient"], _patient, case, where)
    for key in ("group", "phase"):
        ask([key], _check_text, key, case, where)
    own = None if case.get("labels") is None else ask(["labels"], label_map, case["labels"], where)
    ask(WEAK_KEYS, _check_weak, case, where, dataset)
    rule = _tag_rule(class_names_of(own or dataset.labels))
    ask(["tags"], _check_tags, case.get("tags"), where, *rule)
    ask(["slice_tags"], _check_slice_tags, case.get("slice_tags"), where, *rule)
    ask(["segments"], check_segments, case.get("segments"), where, dataset.class_names)
    images = case["image"] if isinstance(case.get("image"), list) else []
    there = [item for item in images if ask(["image"], _check_file, "image", item, file, where, dataset, outside)]
    for key in PATH_KEYS[bool(images) :]:
        keys = WEAK_KEYS if key == "weak_label" else [key]
        if case.get(key) is not None:
            ask(keys, _check_file, key, case[key], file, where, dataset, outside)
    kept = {key: value for key, value in case.items() if key not in refused} | {"case": name}
    if there:
        kept["image"] = there
    for fault in faults:
        fault.case = name
    return Entry(part, name, patient, kept, frozenset(refused), dataset), faults


def _case_id(case: Mapping[str, Any], where: str) -> str:
    """Give the case id: its own, else the file name of the image (the first of several), else of the label."""
    name = case.get("case")
    if name is not None and not (is_name(name) and re.fullmatch(r"[^/\\.][^/\\]*", name)):
        raise FormatFault(
            where,
            "'case' must be a text without slashes and without a leading dot, because results are named after it; "
            f"got {name!r}",
        )
    if name is not None:
        return _stem(str(name), where, "'case'")
    for key in ("image", "label"):
        value = case.get(key)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str) and first.strip() and is_name(without_suffix(Path(first).name)):
            return _stem(without_suffix(Path(first).name), where, f"the case is named after its '{key}', which")
    raise FormatFault(where, "has no 'image', 'label' or 'case', so that it has no name", "add an 'image'")


def _stem(name: str, where: str, what: str) -> str:
    """Refuse a case id after which no file can be named."""
    if odd := odd_in_stem(name):
        raise FormatFault(
            where, f"{what} {odd}: {name[:60]!r}", "give the case a short, plain 'case'; results are named after it"
        )
    return name


def _refuse_repeated(name: str, at: str, where: str, seen: dict[str, str]) -> None:
    """Refuse a case id that another case has."""
    if name in seen:
        raise FormatFault(
            where, f"{at} has the same case id as {seen[name]}", "give each case its own 'case'", kind="case"
        )
    seen[name] = at


def _patient(case: Mapping[str, Any], where: str) -> str:
    if not is_name(case.get("patient")):
        near = difflib.get_close_matches("patient", [str(key) for key in case if key != "patient"], n=1)
        raise FormatFault(
            where,
            f"has no 'patient' (got {case.get('patient')!r}{f'; did you misspell it as {near[0]!r}?' if near else ''})",
            "name the person, because data are split by patient: two volumes of one person must carry the same "
            "'patient'",
        )
    _check_text("patient", case, where)
    return str(case["patient"])


def _check_text(key: str, case: Mapping[str, Any], where: str) -> None:
    if case.get(key) is not None and not is_name(case[key]):
        raise FormatFault(where, f"'{key}' must be a text, got {case[key]!r}")
    if case.get(key) is not None and (odd := odd_in(case[key])):
        raise FormatFault(where, f"'{key}' {odd}: {case[key][:60]!r}", "write it in plain letters")


def _check_weak(case: Mapping[str, Any], where: str, dataset: Dataset) -> None:
    """Check what a weak label means, and that a case has what its kind needs."""
    own = read_meaning(case.get("weak_labels"), where, "weak_labels", dataset.weak)
    own.refuse_strangers(dataset.class_names, where, "weak_labels")
    drawn = case.get("weak_label") is not None
    if drawn and own.kind is None:
        raise FormatFault(
            where,
            "has a 'weak_label', but the file does not say what its values mean",
            'add "weak_label": {"kind": "scribble", "values": {"0": "background", ..., "255": "unlabelled"}}',
        )
    if "kind" not in (case.get("weak_labels") or {}):
        return
    traits, declared = own.traits, f"'weak_labels.kind' is '{own.kind}', but the case has"
    lacking = traits.needs and all(case.get(key) is None for key in traits.needs)
    if lacking and not (drawn and traits.drawn):
        need = " or ".join(f"'{key}'" for key in traits.needs)
        raise FormatFault(where, f"{declared} no {need}", "add it")
    if drawn and not traits.drawn:
        raise FormatFault(where, f"{declared} a 'weak_label'", "take one away")


def check_segments(segments: Any, where: str, names: Sequence[str]) -> dict[str, str]:
    """Check a map from segments of dense labels to classes.

    Raises:
        FormatFault: it is none, or names what is no class.
    """
    table = {} if segments is None else segment_map(segments, "segments", where)
    if strange := sorted({name for name in table.values() if name not in names}):
        raise FormatFault(
            where, f"'segments' names {strange}, which are no class of 'labels' {list(names)}", "use those names"
        )
    return table


def _check_file(key: str, item: Any, file: Path, where: str, dataset: Dataset, outside: bool) -> bool:
    """Check that a file is there, in the data set's folder unless ``outside`` ones are allowed."""
    if not is_name(item):
        raise FormatFault(where, f"'{key}' must be a path, got {item!r}")
    path, root = Path(dataset.path_of(item)), dataset.root
    if not (outside or path.is_relative_to(root) or path.is_relative_to(os.path.abspath(file.parent))):
        raise FormatFault(
            where,
            f"'{key}' names '{item}', which lies outside of the data set's folder",
            'copy or move it into the folder, or write "files_outside": true at the top of the file',
        )
    try:
        there = path.is_file() or (path.is_dir() and key == "image" and path != root)
    except OSError as error:
        raise FormatFault(
            where, f"'{key}' names {item[:60]!r} ...: {error.strerror}", "give a path of a file"
        ) from error
    if not there:
        raise MissingFile(
            where,
            f"'{key}' names a missing file '{item}' (looked for {path})",
            "paths start at the folder of dataset.json",
            file=item,
        )
    return True


def _tag_rule(names: list[str]) -> tuple[str, int]:
    """Say what a row of tags must be, and how long it is."""
    return f"{len(names)} values out of 1 (present), 0 (absent), -1 (unknown), in the order {names}", len(names)


def _check_tags(tags: Any, where: str, rule: str, length: int) -> None:
    if tags is not None and not _is_tag_row(tags, length):
        raise FormatFault(where, f"'tags' must be {rule}; got {tags!r}")


def _check_slice_tags(rows: Any, where: str, rule: str, length: int) -> None:
    if rows is None:
        return
    if not isinstance(rows, list) or not rows:
        raise FormatFault(where, f"'slice_tags' must be a list with one row a slice, each {rule}; got {rows!r}")
    for i, row in enumerate(rows):
        if not _is_tag_row(row, length):
            raise FormatFault(where, f"'slice_tags' row {i} must be {rule}; got {row!r}")


def _is_tag_row(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(type(v) is int and v in (1, 0, -1) for v in row)
