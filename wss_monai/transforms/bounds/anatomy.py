# SPDX-License-Identifier: Apache-2.0
"""Statements on anatomy: their names, and where the values of each come from, stated or estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wss_monai.functional.descriptors import Descriptor, PerimeterToArea, StrayShare, completed
from wss_monai.functional.relations import CentroidDistance, Contact, Enclosure, SizeRatio
from wss_monai.transforms.bounds.file import ANATOMY, OF_VOLUMES, read_bounds_file, refuse_seen

__all__ = ["MEASURES", "AnatomyValues"]

MEASURES = dict(
    zip(ANATOMY, (SizeRatio, CentroidDistance, Contact, Enclosure, StrayShare, PerimeterToArea), strict=True)
)
"""Statement -> descriptor."""


class AnatomyValues:
    """The values of each statement on anatomy, for ``ConstantBoundsd``, as stated or as a bounds file has them.

    Args:
        source: "constant": as stated; "estimated": from the file.
        stated: statement -> class name -> (lower, upper).
        file: of estimated bounds, fitted with ``--terms ratio:CLASS ...`` (of volumes ``volume_ratio:CLASS ...``).
        measures: statement -> its descriptor, which names the class that others are related to.
        chosen: the statements that are made.
        class_names: names of all K classes, background first.
        volumes: they are made of whole volumes, not of slices.
        unseen: patients whom the file must not be fitted on.

    Attributes:
        origin: for records and reports.

    Raises:
        FileNotFoundError, ValueError: another source; a file that is missing or no file of bounds, fitted on an unseen
            patient, or that lacks a statement or relates it to another class.
    """

    def __init__(
        self,
        source: str,
        stated: Mapping[str, Mapping[str, Any]],
        file: str | None = None,
        measures: Mapping[str, Descriptor] | None = None,
        chosen: Sequence[str] = (),
        class_names: Sequence[str] = (),
        volumes: bool = False,
        unseen: Sequence[str] = (),
    ) -> None:
        if source not in ("constant", "estimated"):
            raise ValueError(f"anatomy_from must be 'constant' or 'estimated', got {source!r}.")
        self.origin = "constant"
        self.values = {term: stated[term] for term in chosen if term in stated}
        if source == "constant" or not chosen:
            return
        content = read_bounds_file(file)
        refuse_seen(content, unseen, file)
        self.origin = f"estimated (k={content['dense']})"
        for term in chosen:
            name = OF_VOLUMES + term if volumes else term
            others = completed((measures or {})[term]).others()
            other = class_names[others[0]] if others else None
            fitted = content["terms"].get(name, {})
            if not fitted or fitted.get("other") != other:
                held = [f"{key}:{of['other']}" if of.get("other") else key for key, of in content["terms"].items()]
                wanted = name + (f":{other}" if other else "")
                raise ValueError(
                    f"bounds_file: '{file}' holds {held}, not '{wanted}'; fit it with --terms {wanted}, or leave "
                    f"'{term}' out of anatomy."
                )
            self.values[term] = {key: of["interval"] for key, of in fitted["classes"].items()}

    def __getitem__(self, term: str) -> Mapping[str, Any]:
        """The values of a statement, class name -> (lower, upper); none of one that is not made."""
        return self.values.get(term, {})
