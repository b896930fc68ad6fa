# SPDX-License-Identifier: Apache-2.0
"""Whether a class has the same volume in two cases of a patient, as rows of the table of constraints."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wss_monai.metrics.constraints import constraint_rows

__all__ = ["PairVolume", "pair_rows"]


@dataclass(frozen=True)
class PairVolume:
    """The volume of a class in one case, which is to be that of the other cases of the patient.

    Attributes:
        case, patient: whose.
        term: name of the constraint.
        origin: where it comes from.
        class_name: of the class.
        ml: the predicted volume.
        room: this case's part of the tolerance: two cases may differ by the factor that is the product of both.
    """

    case: str
    patient: str
    term: str
    origin: str
    class_name: str
    ml: float
    room: float


def pair_rows(volumes: Sequence[PairVolume]) -> list[dict[str, Any]]:
    """Set the volume in each case against that in each earlier case of the patient.

    Args:
        volumes: of all cases, in the order of the cases.

    Returns:
        A row of ``constraint_rows`` for each two cases of a patient and class: that of the later case, in ml, with
        bounds that the volume in the earlier one (column ``other``) and the tolerance give. A patient with one case
        has none.
    """
    members: dict[tuple[str, ...], list[PairVolume]] = defaultdict(list)
    for each in volumes:
        members[each.term, each.patient or each.case, each.class_name].append(each)
    rows = []
    for of_patient in members.values():
        for first, second in itertools.combinations(of_patient, 2):
            factor = first.room * second.room
            (row,) = constraint_rows(
                np.array([[[second.ml]]]),
                np.array([[[[first.ml / factor, first.ml * factor]]]]),
                units=[""],
                term=second.term,
                origin=second.origin,
                unit="ml",
                class_names=[second.class_name],
                case=second.case,
                patient=second.patient,
            )
            rows.append({**row, "other": first.case})
    return rows
