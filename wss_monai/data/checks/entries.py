# SPDX-License-Identifier: Apache-2.0
"""Reading a `dataset.json` with faults: what is broken is reported and left out, the rest is kept.

The rules are those of `parse_dataset`, which stops at the first problem. So it is asked about one entry at a time, and
where an entry is refused, about one key of it at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wss_monai.data.checks.problem import Problems
from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.schema import Dataset, parse_dataset
from wss_monai.io.volumes import without_suffix

__all__ = ["Entries", "Entry", "read_entries"]

PARTS = ("training", "test")
_MEND = "mend dataset.json as docs/reference/dataset-json.md describes it"
_GROUPS = (
    *((key,) for key in ("case", "patient", "labels", "image", "label", "tags", "slice_tags")),
    ("weak_label", "weak_labels"),
)
"""Keys of a case in an order in which none leans on a later one; those in one group lean on each other."""


@dataclass(frozen=True)
class Entry:
    """One case as far as it can be used.

    Attributes:
        part: "training" or "test".
        name: the case id.
        patient: the person; None where the case does not say.
        case: the entry without the keys that were refused.
        refused: these keys; they have been reported.
        dataset: the data set reduced to this case, which knows its paths and value maps.
    """

    part: str
    name: str
    patient: str | None
    case: dict[str, Any]
    refused: frozenset[str]
    dataset: Dataset


@dataclass(frozen=True)
class Entries:
    """All cases of a data set.

    Attributes:
        root: the data set's folder.
        raw: the whole file; empty where it cannot be read.
        entries: the cases.
        labels_known: False where the data set's `labels` are broken, so that no value can be checked.
        weak_known: the same for the data set's `weak_label`.
        problems: what was found.
    """

    root: Path
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
    root = file.parent.resolve()
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        problems.error("json", f"is not a JSON file: {error}", "mend the file at the place named", file.name)
        return Entries(root, {}, [], False, False, problems)
    if not isinstance(raw, dict):
        problems.error("json", f"must hold a JSON object, got {type(raw).__name__}", _MEND, file.name)
        return Entries(root, {}, [], False, False, problems)
    reader = _Reader(file, raw, problems)
    return Entries(root, raw, reader.entries(), reader.labels_known, reader.weak_known, problems)


class _Reader:
    """Asks `parse_dataset` about parts of a description."""

    def __init__(self, file: Path, raw: dict[str, Any], problems: Problems) -> None:
        self.file, self.raw, self.problems = file, raw, problems
        self.header: dict[str, Any] = {"name": "unnamed", "labels": {"0": BACKGROUND}, "training": []}
        self.labels_known = self._keep("labels")
        self.header["test"] = self._only_labels()
        self._keep("name")
        self.weak_known = self._keep("weak_label") if "weak_label" in raw else True
        for key in raw:
            if key not in (*PARTS, "name", "labels", "weak_label"):
                self._keep(key)

    def entries(self) -> list[Entry]:
        """Read the cases; ids that come twice are reported."""
        found: list[Entry] = []
        seen: dict[str, str] = {}
        for part in PARTS:
            cases = self.raw.get(part, [] if part == "test" else None)
            if not isinstance(cases, list):
                self._refuse(part, cases)
                continue
            for i, case in enumerate(cases):
                where = f"{part}[{i}]"
                entry = self._entry(case, part, where)
                if entry is None:
                    continue
                if entry.name in seen:
                    self.problems.error(
                        "case",
                        f"{where} has the same case id as {seen[entry.name]}",
                        "give each case its own 'case'",
                        self.file.name,
                        entry.name,
                    )
                else:
                    seen[entry.name] = where
                found.append(entry)
        if not found and not self.problems:
            self.problems.error("case", "'training' lists no case", "list the cases under 'training'", self.file.name)
        return found

    def _refuse(self, part: str, cases: Any) -> None:
        what = "is missing" if part not in self.raw else f"must be a list of cases, got {type(cases).__name__}"
        self.problems.error("format", f"'{part}' {what}", f"list the cases under '{part}'", self.file.name)

    def _keep(self, key: str) -> bool:
        """Take a key over into the header where it is accepted."""
        if key not in self.raw:
            self.problems.error("format", f"'{key}' is missing", _MEND, self.file.name)
            return False
        said = self._ask({**self.header, key: self.raw[key]})
        if isinstance(said, str):
            self._report(said, "")
            return False
        self.header[key] = self.raw[key]
        return True

    def _only_labels(self) -> list[dict[str, Any]]:
        """Make cases that carry but the classes that single cases add, which the data set's weak label may name."""
        cases: list[Any] = [case for part in PARTS for case in _as_list(self.raw.get(part))]
        maps = {
            json.dumps(case["labels"]): case["labels"] for case in cases if isinstance(case, dict) and "labels" in case
        }
        bare = [{"case": f"labels {i}", "patient": "none", "labels": value} for i, value in enumerate(maps.values())]
        return [case for case in bare if isinstance(self._ask({**self.header, "training": [case]}), Dataset)]

    def _entry(self, case: Any, part: str, where: str) -> Entry | None:
        if not isinstance(case, dict):
            self._report(str(self._ask({**self.header, "training": [case]})), where)
            return None
        if not self.labels_known:  # tags and values mean nothing then
            case = {key: value for key, value in case.items() if key not in ("tags", "slice_tags")}
        if not self.weak_known:
            case = {key: value for key, value in case.items() if key not in ("weak_label", "weak_labels")}
        said = self._ask({**self.header, "training": [case]})
        if isinstance(said, Dataset):
            case = said.training[0]
            return Entry(part, case["case"], case["patient"], case, frozenset(), said)
        return self._piecewise(case, part, where, said)

    def _piecewise(self, case: dict[str, Any], part: str, where: str, refusal: str) -> Entry | None:
        """Look at one key after the other and keep those that are accepted."""
        kept: dict[str, Any] = {"case": where, "patient": "unknown"}
        name, reported = _name(case, where), len(self.problems)
        patient, refused = None, set[str]()
        if "case" not in case and ("image" in case or "label" in case):
            kept["case"] = name
        for keys in [*_GROUPS, *((key,) for key in case if all(key not in group for group in _GROUPS))]:
            new = {key: case[key] for key in keys if key in case}
            if not new:
                continue
            said = self._ask({**self.header, "training": [{**kept, **new}]})
            if isinstance(said, Dataset):
                kept |= new
                patient = new.get("patient", patient)
                continue
            refused |= set(new)
            if isinstance(new.get("image"), list) and len(new["image"]) > 1:
                self._each_image(new["image"], kept, name)
            else:
                self._report(said, name)
        if "patient" not in case:
            self._report(str(self._ask({**self.header, "training": [{**kept, "patient": None}]})), name)
        if len(self.problems) == reported:  # without a name, or keys that are right alone and wrong together
            self._report(refusal, name)
        said = self._ask({**self.header, "training": [kept]})
        if not isinstance(said, Dataset):
            return None
        return Entry(part, said.training[0]["case"], patient, said.training[0], frozenset(refused), said)

    def _each_image(self, images: list[Any], kept: dict[str, Any], name: str) -> None:
        """Report each of several images that is refused, and keep the others."""
        good = []
        for item in images:
            said = self._ask({**self.header, "training": [{**kept, "image": [item]}]})
            if isinstance(said, Dataset):
                good.append(item)
            else:
                self._report(said, name)
        if good:
            kept["image"] = good

    def _ask(self, content: Mapping[str, Any]) -> Dataset | str:
        """Give the data set, or what `parse_dataset` says against it."""
        try:
            return parse_dataset(content, self.file)
        except (ValueError, OSError) as error:
            return str(error)

    def _report(self, said: str, case: str) -> None:
        """Turn a message of `parse_dataset` into a problem: its first half is what is wrong, its second what to do."""
        text = said.removeprefix(f"{self.file}: ")
        text = re.sub(r"^(case '[^']*'( \((training|test)\[\d+\]\))?|(training|test)\[\d+\]):? ", "", text)
        what, _, todo = text.partition("; ")
        missing = re.search(r"names a missing file '(.*?)'", what)
        kind = "missing" if missing else "format"
        file = missing.group(1) if missing else self.file.name
        self.problems.error(kind, what, todo or _MEND, file, case)


def _name(case: Mapping[str, Any], where: str) -> str:
    """Name a case for messages, however broken it is."""
    if isinstance(case.get("case"), str):
        return str(case["case"])
    image = case.get("image") or case.get("label")
    first = image[0] if isinstance(image, list) and image else image
    return without_suffix(Path(first).name) if isinstance(first, str) and first.strip() else where


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
