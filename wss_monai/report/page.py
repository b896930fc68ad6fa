# SPDX-License-Identifier: Apache-2.0
"""Build ``report.html``: one file that holds all it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wss_monai.io.atomic_files import replacing
from wss_monai.report import case_table, figures, tables
from wss_monai.report.agreement import agreement_figure, agreements
from wss_monai.report.curve_panels import curve_groups
from wss_monai.report.facts import facts, notices, trained_on
from wss_monai.report.linked_pages import beside, relative, runs_mark
from wss_monai.report.palette import DRAWN_BACKGROUND, STATE_STYLES, as_hex, class_colour, run_colour
from wss_monai.report.provenance import configuration_table, provenance
from wss_monai.report.ranking import chosen_cases
from wss_monai.report.run_folder import Run, read_runs
from wss_monai.report.run_panels import run_panel
from wss_monai.report.template import as_png_address, fill

__all__ = ["write_report"]

WORST = 15
SCORES = [("dice", "Dice"), ("hd95_mm", "HD95 (mm)")]
WITHOUT_MASKS = [("stroke_recall", "Strokes right"), ("box_iou", "IoU of boxes"), ("tags_right", "Tags right")]
RANKED = {
    "dice": "mean Dice over classes and runs",
    "strokes_right": "the share of drawn voxels that are predicted right, mean over runs",
    "box_iou": "the overlap with their boxes, mean over classes and runs",
    "tags_right": "the share of tags that predictions agree with, mean over classes and runs",
    "violation": "the mean relative violation of their constraints",
}


def write_report(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    title: str | None = None,
    cases: int = 3,
    browser: Path | str | None = None,
) -> Path:
    """Write a report of one run, or of several side by side, as a single HTML file without outside parts.

    Args:
        runs: run folders. Those that have been evaluated must have been scored on the same cases.
        out: the file to write; its folder is made where needed.
        title: heading of the page; by default the data set and the modes.
        cases: how many cases to show, spread evenly from the best to the worst.
        browser: the page of ``write_browser`` to link to; by default browse.html beside ``out``, where it shows any of
            these runs.

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
    pages = beside(out, "browse.html", [run.folder for run in read]) if browser is None else relative(browser, out)
    page = fill("report.html", _content(read, title, cases, pages))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _content(runs: list[Run], title: str | None, number: int, browser: str) -> dict[str, Any]:
    evaluated = [run for run in runs if run.summary is not None]
    dense = any(run.has_dense_labels for run in evaluated)
    by, shown = chosen_cases(evaluated, number) if evaluated else ("", [])
    names = runs[0].class_names
    anchors = {case: f"#case-{place + 1}" for place, (_, case, _) in enumerate(shown)}
    links = (
        {case: f"{browser}#case={quote(case, safe='')}" for run in evaluated for case in run.case_ids}
        if browser
        else {}
    )
    there = {key for run in evaluated for row in run.cases for key in row}
    plotted = SCORES if dense else [pair for pair in WITHOUT_MASKS if pair[0] in there]
    return {
        "title": title or _title(runs),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "runs_mark": runs_mark(run.folder for run in runs),
        "browser": browser,
        "facts": facts(runs),
        "notices": notices(runs),
        "runs": [{"name": run.name, "colour": run_colour(i), "run": run} for i, run in enumerate(runs)],
        "colours": {run.name: run_colour(i) for i, run in enumerate(runs)},
        "evaluated": [run.name for run in evaluated],
        "evaluated_blocks": tables.blocks(len(evaluated)),
        "dense": dense,
        "weak": "strokes_right" in there,
        "unseen": not any(trained_on(run) for run in evaluated),
        "results": tables.results(runs),
        "scores": figures.scores(evaluated, plotted) if plotted else "",
        "score_names": [heading for _, heading in plotted],
        "case_columns": case_table.case_columns(evaluated),
        "case_rows": case_table.case_rows(evaluated, {**links, **anchors}) if evaluated else [],
        "agreement": agreement_figure(evaluated),
        "agreements": agreements(evaluated),
        "number": tables.number,
        "curves": curve_groups(runs),
        "ranked_by": RANKED.get(by, ""),
        "cases": [_case(evaluated, place, *found, links) for place, found in enumerate(shown, start=1)],
        "classes": [(names[k], as_hex(class_colour(k))) for k in range(1, len(names))],
        "drawn_background": as_hex(DRAWN_BACKGROUND),
        "satisfaction": figures.satisfaction(runs),
        "satisfaction_table": tables.satisfaction_table(evaluated),
        "violations": tables.violation_table(evaluated, WORST),
        "n_violations": sum(row["state"] == "violated" for run in evaluated for row in run.constraints),
        "states": {state: colour for state, (colour, _) in STATE_STYLES.items()},
        "provenance": provenance(runs),
        "provenance_blocks": tables.blocks(len(runs), 3),
        "configuration": configuration_table(runs),
    }


def _title(runs: Sequence[Run]) -> str:
    data = next((str(run.info["dataset"]) for run in runs if run.info.get("dataset")), "")
    names = ", ".join(run.name for run in runs) if len(runs) <= 4 else f"{len(runs)} runs"
    return f"{data}: {names}" if data else names


def _case(
    runs: Sequence[Run], place: int, rank: str, case: str, score: float | None, links: Mapping[str, str]
) -> dict[str, Any]:
    entries = [next(entry for entry in run.files if str(entry["case"]) == case) for run in runs]
    rows = [[row for row in run.cases if row["case"] == case] for run in runs]
    about = [str(rows[0][0][key]) for key in ("group", "phase") if rows[0] and rows[0][0].get(key)]
    content = {
        "anchor": f"case-{place}",
        "rank": rank,
        "name": case,
        "about": ", ".join(about),
        "score": "" if score is None else f"{score:.3f}",
        "link": links.get(case, ""),
        "scores": [{"run": run.name, "texts": [_said(row) for row in of]} for run, of in zip(runs, rows, strict=True)],
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


def _said(row: Mapping[str, Any]) -> str:
    """A class of a case in a few words: its volume, and what is known of how good it is."""
    said = [f"{tables.number(row['volume_ml'])} ml"] if "volume_ml" in row else []
    if "reference_ml" in row and said:
        said[0] += f" (reference {tables.number(row['reference_ml'])})"
    if "dice" in row:
        said.append(f"Dice {row['dice']:.3f}")
    elif "stroke_recall" in row:
        said.append(f"{_share(row['stroke_recall'])} of strokes right")
    return f"{row['class']} {', '.join(said)}"


def _share(value: float) -> str:
    """Write a share so that only all of it is 100 %."""
    return "100 %" if value == 1 else f"{min(100 * value, 99.9):.1f} %"
