# SPDX-License-Identifier: Apache-2.0
"""What was run, with what, and what a reader must know before believing the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from wss_monai.report.run_folder import Run, not_finite
from wss_monai.report.scored_weights import scored_others
from wss_monai.report.tables import duration

__all__ = ["facts", "hardware", "notices", "trained_on"]


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Give the (name, text) pairs of the page's head."""
    rows = [
        ("Data set", _shared(runs, lambda run: str(run.info.get("dataset") or ""))),
        ("Patients", _shared(runs, _patients)),
        ("Compared", ", ".join(run.name for run in runs) if len(runs) > 1 else ""),
        ("Budget", _shared(runs, _budget)),
        ("Training time", _times(runs)),
        ("Hardware", _shared(runs, hardware)),
    ]
    return [(name, text) for name, text in rows if text]


def notices(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Give the (kind, text) pairs that a reader must see first; kinds are "warning" and "note"."""
    found: list[tuple[str, str]] = []
    evaluated = [run for run in runs if run.summary is not None]
    for run in evaluated:
        if seen := trained_on(run):
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
                f"is {_what_stays(evaluated)}. Look at the pictures: none of these numbers proves a good mask.",
            )
        )
    missing = [run.name for run in runs if run.summary is None]
    if missing:
        found.append(("note", f"Evaluation has not run for {_listed(missing)}: only the training is shown."))
    for what, of in (("budgets", _budget), ("training patients", lambda run: repr(sorted(_part(run, "training"))))):
        if len({of(run) for run in runs}) > 1:
            found.append(("note", f"The runs had different {what}; compare them with care."))
    return found


def hardware(run: Run) -> str:
    """Name the device of a run, with its threads as one says them."""
    device = str(run.info.get("device") or "")
    return re.sub(r"\b(\d+) thread\(s\)", lambda found: f"{found[1]} thread{'s' * (found[1] != '1')}", device)


def _shared(runs: Sequence[Run], of: Callable[[Run], str]) -> str:
    """Write what all runs share once, and what differs run by run."""
    texts = [of(run) for run in runs]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{run.name}: {text or 'not recorded'}" for run, text in zip(runs, texts, strict=True))


def trained_on(run: Run) -> set[str]:
    """Give the patients that a run was trained on and scored on."""
    return set(map(str, _part(run, "training"))) & {str(entry.get("patient")) for entry in run.files}


def _part(run: Run, part: str) -> list[str]:
    return (run.info.get("patients") or {}).get(part) or []


def _patients(run: Run) -> str:
    parts = [f"{len(ids)} {part}" for part, ids in (run.info.get("patients") or {}).items() if ids]
    scored, part = len(run.case_ids), (run.summary or {}).get("evaluated_on")
    of = f" {part}" if part else ""
    patients = f"{', '.join(parts)} patient{'s' * (parts != ['1 training'])}" if parts else ""
    volumes = f"{scored}{of} volume{'s' * (scored != 1)} scored" if scored else ""
    return "; ".join(text for text in (patients, volumes) if text)


def _budget(run: Run) -> str:
    epochs, iterations = run.info.get("max_epochs"), run.last("iteration")
    parts = [f"{epochs} epochs"] if epochs is not None else []
    return ", ".join(parts + ([f"{iterations:,.0f} iterations".replace(",", " ")] if iterations else []))


def _times(runs: Sequence[Run]) -> str:
    seconds = [s for run in runs if (s := run.last("seconds")) is not None]
    ends = list(dict.fromkeys(duration(s) for s in (min(seconds), max(seconds)))) if seconds else []
    return " to ".join(ends) + (" a run" if len(runs) > 1 and ends else "")


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:6]) + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def _what_stays(runs: Sequence[Run]) -> str:
    """What can be said of cases without a dense reference."""
    there = {key for run in runs for row in run.cases for key in row}
    words = {
        "strokes_right": "which share of the drawn voxels is predicted right",
        "box_iou": "how far predictions fill their boxes",
        "tags_right": "whether predictions agree with the tags",
    }
    said = [text for key, text in words.items() if key in there]
    return _listed([*said, "the predicted volumes", "whether these keep their bounds"])
