# SPDX-License-Identifier: Apache-2.0
"""One problem of a data set, as `python -m wss_monai check` reports it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Problem", "Problems"]

Severity = Literal["error", "warning"]
MEND = "mend the file, or export or copy it again"
"""What to do about a file whose reader says no more than what is wrong."""


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        severity: "error": a run would refuse the data, or its scores would be wrong; "warning": look at it.
        kind: a short word for the sort of problem, stable over releases.
        case: the case id, empty where the whole data set is meant.
        file: the file, relative to the data set's folder where it lies in it; empty where none is meant.
        problem: what is wrong.
        todo: what to do.
    """

    severity: Severity
    kind: str
    case: str
    file: str
    problem: str
    todo: str

    def as_dict(self) -> dict[str, str]:
        """Give the problem as a JSON object."""
        return asdict(self)


class Problems(list[Problem]):
    """A list of problems of one case (or of the data set) that grows by `error` and `warning`."""

    def __init__(self, case: str = "") -> None:
        super().__init__()
        self.case = case

    def error(self, kind: str, problem: str, todo: str, file: str = "", case: str | None = None) -> None:
        """Add an error."""
        self.append(Problem("error", kind, self.case if case is None else case, file, problem, todo))

    def warning(self, kind: str, problem: str, todo: str, file: str = "", case: str | None = None) -> None:
        """Add a warning."""
        self.append(Problem("warning", kind, self.case if case is None else case, file, problem, todo))
