# SPDX-License-Identifier: Apache-2.0
"""Build ``report.html``: one file that holds all it shows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wss_monai.io.atomic_files import replacing
from wss_monai.report import figures, tables
from wss_monai.report.facts import facts, notices, provenance
from wss_monai.report.palette import DRAWN_BACKGROUND, STATE_STYLES, as_hex, class_colour, run_colour
from wss_monai.report.ranking import chosen_cases
from wss_monai.report.run_folder import Run, read_runs
from wss_monai.report.run_panels import run_panel
from wss_monai.report.template import as_png_address, fill

__all__ = ["write_report"]

WORST = 15
SCORES = [("dice", "Dice"), ("hd95_mm", "HD95 (mm)")]


def write_report(runs: Sequence[Path | str], out: Path | str, *, title: str | None = None, cases: int = 3) -> Path:
    """Write a report of one run, or of several side by side, as a single HTML file without outside parts.

    Args:
        runs: run folders. Those that have been evaluated must have been scored on the same cases.
        out: the file to write; its folder is made where needed.
        title: heading of the page; by default the data set and the modes.
        cases: how many cases to show, spread evenly from the best to the worst.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: if a run folder or a file in it is missing.
        ValueError: if a file cannot be read, or the runs cannot stand side by side.
    """
    out = Path(out)
    if out.is_dir():
        raise ValueError(f"out is the folder {out}: name a file such as {out / 'report.html'}.")
    if cases < 0:
        raise ValueError(f"cases must be 0 or more, got {cases}.")
    read = read_runs([Path(run) for run in runs])
    page = fill("report.html", _content(read, title, cases))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _content(runs: list[Run], title: str | None, number: int) -> dict[str, Any]:
    evaluated = [run for run in runs if run.summary is not None]
    dense = any(run.has_dense_labels for run in evaluated)
    by, shown = chosen_cases(evaluated, number) if evaluated else ("", [])
    names = runs[0].class_names
    return {
        "title": title or _title(runs),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "facts": facts(runs),
        "notices": notices(runs),
        "runs": [{"name": run.name, "colour": run_colour(i), "run": run} for i, run in enumerate(runs)],
        "colours": {run.name: run_colour(i) for i, run in enumerate(runs)},
        "evaluated": [run.name for run in evaluated],
        "dense": dense,
        "results": tables.results(runs),
        "scores": _as_image(figures.scores(runs, SCORES)) if dense else "",
        "case_table": tables.case_table(evaluated) if evaluated else [],
        "curves": [(heading, _as_image(svg)) for heading, svg in figures.curves(runs)],
        "ranked_by": by,
        "cases": [_case(evaluated, rank, case, score) for rank, case, score in shown],
        "classes": [(names[k], as_hex(class_colour(k))) for k in range(1, len(names))],
        "drawn_background": as_hex(DRAWN_BACKGROUND),
        "satisfaction": [(heading, _as_image(svg)) for heading, svg in figures.satisfaction(runs)],
        "satisfaction_table": tables.satisfaction_table(evaluated),
        "violations": tables.violation_table(evaluated, WORST),
        "n_violations": sum(row["state"] == "violated" for run in evaluated for row in run.constraints),
        "states": {state: colour for state, (colour, _) in STATE_STYLES.items()},
        "provenance": provenance(runs),
    }


def _title(runs: Sequence[Run]) -> str:
    data = next((str(run.info["dataset"]) for run in runs if run.info.get("dataset")), "")
    names = ", ".join(run.name for run in runs) if len(runs) <= 4 else f"{len(runs)} runs"
    return f"{data}: {names}" if data else names


def _case(runs: Sequence[Run], rank: str, case: str, score: float | None) -> dict[str, Any]:
    entries = [next(entry for entry in run.files if str(entry["case"]) == case) for run in runs]
    rows = [[row for row in run.cases if row["case"] == case] for run in runs]
    about = [str(rows[0][0][key]) for key in ("group", "phase") if rows[0] and rows[0][0].get(key)]
    content = {
        "rank": rank,
        "name": case,
        "about": ", ".join(about),
        "score": score,
        "scores": [
            {"run": run.name, "dice": [(row["class"], f"{row['dice']:.3f}") for row in found if "dice" in row]}
            for run, found in zip(runs, rows, strict=True)
        ],
        "panel": "",
        "width": 0,
        "missing": "",
    }
    try:
        panel = run_panel(runs, entries)
        content |= {"panel": as_png_address(panel), "width": round(panel.width / 1.5)}
    except FileNotFoundError as error:
        content["missing"] = str(error)
    return content


def _as_image(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")
