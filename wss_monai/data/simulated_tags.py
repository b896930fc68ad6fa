# SPDX-License-Identifier: Apache-2.0
"""What the readers of multi-modal releases share: image tags read off dense labels, classes merged, files named."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from wss_monai.data.label_semantics import BACKGROUND, UNLABELLED_NAME, class_names_of
from wss_monai.functional.weak.generators import present_classes
from wss_monai.functional.weak.kinds import WeakKind

__all__ = ["TAGGED", "TAGS_TEXT", "checked_class_name", "file_word", "merged_labels", "slice_tags"]

TAGGED = {"kind": WeakKind.TAGS.value}
"""`weak_labels` of a case whose dense label is a reference only: no weak loss reads it, see docs/reference."""
TAGS_TEXT = (
    "slice_tags say which classes each slice shows; they are read off the dense labels and simulate the tags that a "
    "reader would give"
)
"""For the description of a data set."""


def slice_tags(label: np.ndarray, labels: Mapping[str, str], slice_axis: int = 2) -> list[list[int]]:
    """Tag the classes of each slice of a dense label.

    Args:
        label: file values (X, Y, Z), uint8.
        labels: file value -> class name, as in dataset.json; values may share a name.
        slice_axis: axis of the slices.

    Returns:
        For each slice a row with 1 (present) or 0 (absent) for each class: background, then by file value.

    Raises:
        ValueError: the label holds a value without a name.
    """
    named = {int(value): name for value, name in labels.items()}
    names = class_names_of(named)
    if strange := sorted(set(np.unique(label).tolist()) - set(named)):
        raise ValueError(f"the label holds the values {strange[:5]}, which are no class; known are {sorted(named)}")
    index = np.zeros(256, np.uint8)
    for value, name in named.items():
        index[value] = names.index(name)
    return [[int(tag) for tag in row] for row in present_classes(index[label], len(names), slice_axis)]


def merged_labels(labels: Mapping[str, str], name: str) -> dict[str, str]:
    """Give all values but 0, and what else is background, one class name."""
    return {value: BACKGROUND if meant == BACKGROUND else name for value, meant in labels.items()}


def checked_class_name(name: str, argument: str) -> str:
    """Refuse names that no class of the foreground can have.

    Raises:
        ValueError: it is empty, or a word with a meaning of its own.
    """
    if not name.strip() or name in (BACKGROUND, UNLABELLED_NAME):
        raise ValueError(f"{argument} must name a class of the foreground, got {name!r}")
    return name


def file_word(name: str) -> str:
    """Turn the name of a modality into a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "image"
