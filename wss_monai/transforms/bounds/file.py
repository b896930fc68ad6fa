# SPDX-License-Identifier: Apache-2.0
"""The file that `python -m wss_monai bounds --fit` writes and that transforms read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json
from wss_monai.transforms.bounds.file_content import check_content, check_intervals

__all__ = [
    "ANATOMY",
    "FORMAT",
    "OF_VOLUMES",
    "RELATED",
    "TERMS",
    "classes_of",
    "read_bounds_file",
    "refuse_seen",
    "require_profiles",
]

FORMAT = "wss_monai estimated bounds 1"
TERMS = {"size": (Size, "slice"), "centroid": (Centroid, "slice"), "volume": (Size, "volume"),
         "volume_centroid": (Centroid, "volume"), "extent": (None, "slice")}  # fmt: skip
"""What can be estimated: term -> descriptor, and whether of slices or of volumes. The extent, how far a class reaches
beyond what is drawn of it, is no measure of a prediction but a place: see ``FarBackgroundd``."""
RELATED = ("ratio", "distance", "contact", "enclosure")
"""Statements on anatomy that relate classes to another one."""
ANATOMY = (*RELATED, "pieces", "border")
"""All statements on anatomy, of slices: see ``wss_monai.transforms.bounds.anatomy``."""
OF_VOLUMES = "volume_"
"""Stands before the name of one that is about whole volumes."""


def read_bounds_file(file: str | Path | None) -> dict[str, Any]:
    """Read a file of estimated bounds; None is what a run has that was not told of any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, no file of estimated bounds, or one in which something that is read has a wrong type
            or no sense.
    """
    if file is None:
        raise ValueError(
            "bounds_file is needed: make one with `python -m wss_monai bounds --fit DATA --dense k --out bounds.json`"
        )
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(
            f"bounds_file: no file '{path}'; make one with "
            f"`python -m wss_monai bounds --fit DATA --dense k --out {path}`"
        )
    try:
        content = read_json(path)
    except FormatFault as fault:
        raise ValueError(f"bounds_file: '{path}' is {fault.problem}") from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"bounds_file: '{path}' is no file of estimated bounds (its 'format' must be '{FORMAT}'); make one with "
            "`python -m wss_monai bounds --fit`"
        )
    try:
        check_content(content, {term: level for term, (_, level) in TERMS.items()})
        check_intervals(content, [*ANATOMY, *(OF_VOLUMES + term for term in ANATOMY)])
    except ValueError as error:
        raise ValueError(
            f"bounds_file: '{path}': {error}; undo the change, or fit it again with `python -m wss_monai bounds --fit`"
        ) from error
    return content


def refuse_seen(content: Mapping[str, Any], unseen: Sequence[str], file: Any) -> None:
    """Refuse a file that was fitted on patients whom the run is scored on, or whose labels it must not know."""
    if seen := sorted(set(unseen) & set(content["patients"])):
        raise ValueError(
            f"{file} was fitted on {seen}, whom this run is scored on or takes as unlabelled: fit it with the split, "
            "fold, validation and labelled patients of the run."
        )


def classes_of(content: Mapping[str, Any], measure: str, names: list[str], file: Any) -> dict[str, Any]:
    """The models of every class for one measure, out of a file's content.

    Raises:
        ValueError: the file lacks the measure or a class.
    """
    if measure not in content["terms"]:
        held = list(content["terms"])
        raise ValueError(f"bounds_file: '{file}' holds {held}, not '{measure}'; fit it with --terms {measure}.")
    classes: dict[str, Any] = content["terms"][measure]["classes"]
    if lacking := [name for name in names[1:] if name not in classes]:
        raise ValueError(f"bounds_file: '{file}' says nothing of {lacking}; it knows {list(classes)}.")
    return classes


def require_profiles(classes: Mapping[str, Any], names: list[str], file: Any) -> None:
    """Refuse a file that says nothing of slices without tags.

    Raises:
        ValueError: a class has no profile of its area over the stack.
    """
    if lacking := [name for name in names[1:] if "unknown" not in classes[name]]:
        raise ValueError(
            f"bounds_file: '{file}' does not say where {lacking} are sure to be present, which unknown='position' "
            "needs: an older version wrote it. Fit it again with `python -m wss_monai bounds --fit DATA ...`."
        )
