# SPDX-License-Identifier: Apache-2.0
"""What a `dataset.json` says, and what it says of a case."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wss_monai.data.label_semantics import Meant, WeakMeaning, read_meaning
from wss_monai.functional.weak.kinds import WeakKind

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """What a `dataset.json` says, checked.

    Attributes:
        name: the data set's name.
        root: folder of the file; relative paths start there.
        labels: file value of a dense label -> class name. Several values may share a name (classes merged).
        class_names: background first, then by file value; names that only single cases have come last.
        slice_axis: spatial axis (0, 1 or 2) along which the slices were drawn and are tagged.
        segments: segment name of a dense label drawn in 3D Slicer -> class name, beside the classes' own names.
        weak: what weak labels mean where a case does not say otherwise; kind None where the file does not say.
        training: the raw cases, with `case` filled in and unknown keys kept.
        test: the same for the test cases; empty where the file has none.
        raw: the whole file.
        file_name: the file in the folder ``root``.
    """

    name: str
    root: Path
    labels: dict[int, str]
    class_names: list[str]
    slice_axis: int
    segments: dict[str, str]
    weak: WeakMeaning
    training: list[dict[str, Any]]
    test: list[dict[str, Any]]
    raw: dict[str, Any]
    file_name: str = "dataset.json"

    @property
    def digest(self) -> str:
        """The SHA-256 of what `dataset.json` says, whatever its order and layout."""
        return hashlib.sha256(json.dumps(self.raw, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The `dataset.json` itself, or the file of a list that was given in its place."""
        return self.root / self.file_name

    @property
    def weak_kind(self) -> str | None:
        """Kind of the data set's weak labels."""
        return self.weak.kind

    @property
    def weak_values(self) -> dict[int, Meant]:
        """File value of the data set's weak labels -> class name or "unlabelled"; of boxes also several names."""
        return self.weak.values

    @property
    def undrawn_means_absent(self) -> bool:
        """Whether the data set's weak labels show every class that is there."""
        return self.weak.undrawn_means_absent

    def weak_of(self, case: Mapping[str, Any]) -> WeakMeaning:
        """Give what the weak label of a case means, and which kind of case it is.

        The kind is the case's own, else the data set's where the case has a weak label; without one it is "dense" with
        a dense label, "tags" with tags, and "nothing" else. Values that stand for several classes are left out of
        what is no box.
        """
        own = case.get("weak_labels")
        found = read_meaning(own, f"case '{case.get('case')}'", "weak_labels", self.weak)
        if not found.traits.boxes:
            found = replace(found, values={v: meant for v, meant in found.values.items() if isinstance(meant, str)})
        if case.get("weak_label") is not None or "kind" in (own or {}):
            return found
        tagged = case.get("tags") is not None or case.get("slice_tags") is not None
        kind = WeakKind.DENSE if case.get("label") is not None else WeakKind.TAGS if tagged else WeakKind.NOTHING
        return replace(found, kind=kind.value)

    def segments_of(self, case: Mapping[str, Any]) -> dict[str, str]:
        """Give the names of segments in the dense label of a case: its own `segments`, else the data set's."""
        own = case.get("segments")
        return self.segments if own is None else dict(own)

    def labels_of(self, case: Mapping[str, Any]) -> dict[int, str]:
        """Give the file values of a case: its own `labels` where it has them, else the data set's."""
        own = case.get("labels")
        return self.labels if own is None else {int(value): name for value, name in own.items()}

    def file_of(self, case: Mapping[str, Any], key: str) -> str | list[str] | None:
        """Give the absolute path (for several modalities: the paths) under `key` of a case, None where it has none."""
        value = case.get(key)
        if value is None:
            return None
        return [self.path_of(item) for item in value] if isinstance(value, list) else self.path_of(value)

    def path_of(self, value: str) -> str:
        """Give the absolute path of what a case names."""
        return os.path.normpath(self.root / value)
