# SPDX-License-Identifier: Apache-2.0
"""Some of the modalities of a data set, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wss_monai.data.schema import Dataset

__all__ = ["with_modalities"]


def with_modalities(case: Mapping[str, Any], wanted: Sequence[str], dataset: Dataset) -> dict[str, Any]:
    """Give a copy of a case with the images of some modalities, in the order asked for.

    Args:
        case: its `image` is one file, or a list in the order of the data set's modalities.
        wanted: names of dataset.json's `modality`.
        dataset: where the case is from.

    Raises:
        ValueError: a modality that the data set does not name, one twice, none at all, or a case with another number of
            images.
    """
    named = dataset.raw.get("modality") or {}
    names = [str(named[key]) for key in sorted(named, key=int)]
    if isinstance(wanted, str) or not wanted:
        raise ValueError(f"modalities must be a list of names out of {names}, got {wanted!r}")
    if strange := [name for name in wanted if name not in names]:
        raise ValueError(
            f"modalities names {strange}, but 'modality' of {dataset.path} names {names}: override modalities with "
            "some of these, or name the images of a case there in their order"
        )
    if twice := sorted({name for name in wanted if list(wanted).count(name) > 1}):
        raise ValueError(f"modalities names {twice} more than once, got {list(wanted)}: each has one network")
    files = case["image"] if isinstance(case["image"], list) else [case["image"]]
    if len(files) != len(names):
        raise ValueError(
            f"case '{case['case']}' in {dataset.path} has {len(files)} images, but 'modality' names {names}: list one "
            "file a modality, in this order"
        )
    chosen = [files[names.index(name)] for name in wanted]
    return {**case, "image": chosen if len(chosen) > 1 else chosen[0]}
