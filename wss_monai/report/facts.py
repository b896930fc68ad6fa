# SPDX-License-Identifier: Apache-2.0
"""What was run, with what, and what a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wss_monai.report.run_folder import Run, not_finite
from wss_monai.report.scored_weights import scored_others
from wss_monai.report.tables import duration

__all__ = ["facts", "notices", "provenance"]


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Give the (name, text) pairs of the page's head."""
    rows = [
        ("Data set", _shared(runs, lambda run: str(run.info.get("dataset") or ""))),
        ("Patients", _shared(runs, _patients)),
        ("Compared", ", ".join(run.name for run in runs) if len(runs) > 1 else ""),
        ("Budget", _shared(runs, _budget)),
        ("Training time", _times(runs)),
        ("Hardware", _shared(runs, lambda run: str(run.info.get("device") or ""))),
    ]
    return [(name, text) for name, text in rows if text]


def notices(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Give the (kind, text) pairs that a reader must see first; kinds are "warning" and "note"."""
    found: list[tuple[str, str]] = []
    evaluated = [run for run in runs if run.summary is not None]
    for run in evaluated:
        seen = set(map(str, _part(run, "training"))) & {str(entry.get("patient")) for entry in run.files}
        if seen:
            found.append(("warning", f"{run.name} was scored on patients it was trained on: {_listed(sorted(seen))}."))
    for run in runs:
        if not_finite(run):
            found.append(("warning", f"{run.name}: the loss was not finite in {not_finite(run)} epochs."))
    for run in evaluated:
        if other := scored_others(run):
            found.append(("warning", f"{run.name}: {other}"))
        if failed := (run.summary or {}).get("failed"):
            names = _listed(list(map(str, failed)))
            found.append(("warning", f"{run.name}: {len(failed)} cases failed and have no scores: {names}."))
    oracle = [run.name for run in runs if run.is_oracle]
    if oracle:
        found.append(
            (
                "warning",
                f"Oracle bounds: {_listed(oracle)} took bounds off the dense labels themselves. These runs show what "
                "ideal bounds could bring, not what a user without dense labels will get.",
            )
        )
    if evaluated and not any(run.has_dense_labels for run in evaluated):
        found.append(
            (
                "note",
                "No case has a dense reference, so Dice, surface distances and volume errors are left out. What stays "
                "is whether predictions keep their bounds, the predicted volumes, and the validation on weak labels.",
            )
        )
    missing = [run.name for run in runs if run.summary is None]
    if missing:
        found.append(("note", f"Evaluation has not run for {_listed(missing)}: only the training is shown."))
    for what, of in (("budgets", _budget), ("training patients", lambda run: repr(sorted(_part(run, "training"))))):
        if len({of(run) for run in runs}) > 1:
            found.append(("note", f"The runs had different {what}; compare them with care."))
    return found


def provenance(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Give (name, one text a run) of all that identifies the runs."""
    versions = list(dict.fromkeys(name for run in runs for name in run.info.get("versions") or {}))
    rows: list[tuple[str, Callable[[Run], Any]]] = [
        ("Folder", lambda run: run.folder),
        ("Bundle", lambda run: run.info.get("bundle")),
        ("Mode", lambda run: run.info.get("mode")),
        ("Seed", lambda run: run.info.get("seed")),
        ("Bounds", lambda run: run.bounds_origin),
        ("Network weights", lambda run: _parameters(run.info.get("parameters"))),
        ("Device", lambda run: run.info.get("device")),
        ("Commit", lambda run: run.info.get("commit")),
    ]
    table = [(name, ["" if of(run) is None else str(of(run)) for run in runs]) for name, of in rows]
    table += [(name, [str((run.info.get("versions") or {}).get(name, "")) for run in runs]) for name in versions]
    return [(name, cells) for name, cells in table if any(cells)]


def _shared(runs: Sequence[Run], of: Callable[[Run], str]) -> str:
    """Write what all runs share once, and what differs run by run."""
    texts = [of(run) for run in runs]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{run.name}: {text or 'not recorded'}" for run, text in zip(runs, texts, strict=True))


def _part(run: Run, part: str) -> list[str]:
    return (run.info.get("patients") or {}).get(part) or []


def _patients(run: Run) -> str:
    parts = [f"{len(ids)} {part}" for part, ids in (run.info.get("patients") or {}).items() if ids]
    scored, part = len(run.case_ids), (run.summary or {}).get("evaluated_on")
    of = f" {part}" if part else ""
    return ", ".join(parts) + (f"; {scored}{of} volumes scored" if scored else "")


def _budget(run: Run) -> str:
    epochs, iterations = run.info.get("max_epochs"), run.last("iteration")
    parts = [f"{epochs} epochs"] if epochs is not None else []
    return ", ".join(parts + ([f"{iterations:,.0f} iterations".replace(",", " ")] if iterations else []))


def _times(runs: Sequence[Run]) -> str:
    seconds = [s for run in runs if (s := run.last("seconds")) is not None]
    ends = list(dict.fromkeys(duration(s) for s in (min(seconds), max(seconds)))) if seconds else []
    return " to ".join(ends) + (" a run" if len(runs) > 1 and ends else "")


def _parameters(value: Any) -> str | None:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else None if value is None else str(value)


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:6]) + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]
