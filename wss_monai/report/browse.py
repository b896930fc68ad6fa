# SPDX-License-Identifier: Apache-2.0
"""Build ``browse.html``: one page to look through cases, the predictions of several runs side by side."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.datalist import list_cases
from wss_monai.data.schema import read_dataset
from wss_monai.io.atomic_files import replacing
from wss_monai.report.browse_case import pack_case
from wss_monai.report.linked_pages import beside, relative, runs_mark
from wss_monai.report.palette import DRAWN_BACKGROUND, as_hex, class_colour
from wss_monai.report.ranking import case_ranks
from wss_monai.report.run_folder import Run, find_file, read_runs
from wss_monai.report.template import fill
from wss_monai.transforms.load_case import MAPS

__all__ = ["SHOWN", "write_browser"]

SHOWN = {"weak_label": "weak label", "label": "reference"}
"""What can stand beside the image and the predictions: keys of a case and titles in the page."""
WORDS = {
    "dice": "Dice",
    "strokes_right": "strokes right",
    "box_iou": "IoU of boxes",
    "tags_right": "tags right",
    "violation": "violation",
}
"""By what cases are ranked, in the page."""
MEGABYTE = 1_000_000


def write_browser(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    data: Path | str | None = None,
    cases: int = 20,
    seed: int = 0,
    pattern: str | None = None,
    show: Sequence[str] = tuple(SHOWN),
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    slices: int = 24,
    crop: float | None = None,
    opacity: float = 0.5,
    contours: bool = True,
    limit_mb: float = 50.0,
    report: Path | str | None = None,
) -> Path:
    """Write a page that shows random cases, one at a time, with the predictions of all runs, without outside parts.

    The same arguments and files give the same page.

    Args:
        runs: run folders, evaluated on the same cases. Weak labels and references are those of the first.
        out: the file to write; its folder is made where needed.
        data: the data set of the runs (folder or dataset.json), where its files are no longer where cases.json says.
        cases: how many cases to draw, in random order; all where there are fewer.
        seed: of the draw.
        pattern: regular expression; only cases whose id it matches somewhere are drawn from.
        show: which of "weak_label" and "label" (the dense reference) stand beside the predictions, where cases have
            them.
        names: what to call the runs, in their order; by default mode, seed or folder, whatever tells them apart.
        classes: names or indices of the foreground classes that are coloured at first; by default all.
        slices: how many slices of a case at most; evenly spread over those that show something and one on each side.
        crop: leave out what lies more than this many mm from the square around the reference (without one: around
            the weak label, else the predictions); by default whole slices.
        opacity: of the class colours at first, 0 to 1.
        contours: whether contours are drawn at first.
        limit_mb: size of the page in MB (10^6 bytes) above which nothing is written.
        report: the page of ``write_report`` to link to; by default report.html beside ``out``, where it shows any of
            these runs.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: if a run folder, its evaluation or a file of a case is missing.
        ValueError: if an argument is out of range, the runs cannot stand side by side, ``data`` is not their data set,
            or the page would be larger than ``limit_mb``.
    """
    out = Path(out)
    if out.is_dir():
        raise ValueError(f"out is the folder {out}: name a file such as {out / 'browse.html'}.")
    _check(cases=cases, slices=slices, crop=crop, opacity=opacity, limit_mb=limit_mb, show=show)
    read = _named(_evaluated(read_runs([Path(run) for run in runs])), names)
    shown_at_first = _class_indices(classes, read[0].class_names)
    entries = [{str(entry["case"]): entry for entry in run.files} for run in read]
    if data is not None:
        entries = _from_data(entries, Path(data), read)
    ids = _draw(sorted(entries[0]), pattern, cases, seed, read[0])

    packed: list[dict[str, Any]] = []
    size = 0
    for case in ids:
        of_case = [{**by_id[case], **{key: None for key in SHOWN if key not in show}} for by_id in entries]
        found = _pack(read, of_case, slices, crop, data is None)
        size += found.pop("bytes")
        packed.append(found)
        _refuse_large(size, limit_mb, len(packed), len(ids))
    titles = [title for key, title in SHOWN.items() if key in show and any(title in c["titles"] for c in packed)]
    folders = [run.folder for run in read]
    address = beside(out, "report.html", folders) if report is None else relative(report, out)
    content = _content(read, titles, packed, shown_at_first, opacity, contours)
    page = fill("browse.html", {**content, "runs_mark": runs_mark(folders), "report": address})
    _refuse_large(len(page.encode("utf-8")), limit_mb, len(packed), len(ids))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _check(cases: int, slices: int, crop: float | None, opacity: float, limit_mb: float, show: Sequence[str]) -> None:
    for name, number in (("cases", cases), ("slices", slices)):
        if number < 1:
            raise ValueError(f"{name} must be 1 or more, got {number}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}.")
    if crop is not None and not 0 <= crop < np.inf:
        raise ValueError(f"crop must be a margin in mm, 0 or more, got {crop}.")
    if not limit_mb > 0:
        raise ValueError(f"limit_mb must be more than 0, got {limit_mb}.")
    if strange := [key for key in show if key not in SHOWN]:
        raise ValueError(f"show names {strange}; it may name {list(SHOWN)}.")


def _refuse_large(size: int, limit_mb: float, done: int, cases: int) -> None:
    if size > limit_mb * MEGABYTE:
        raise ValueError(
            f"the page would be larger than {limit_mb:g} MB, as it was after {done} of {cases} cases: ask for fewer "
            f"cases (--cases {max(1, done - 1)}) or slices (--slices 8), leave out the surroundings (--crop 20), or "
            "raise --limit-mb."
        )


def _evaluated(runs: list[Run]) -> list[Run]:
    for run in runs:
        if run.summary is None:
            bundle = run.info.get("bundle") or "BUNDLE"
            raise FileNotFoundError(
                f"{run.folder} has no evaluation/: it was trained but not evaluated. Give evaluation the files and "
                "overrides of the training and evaluate.yaml last: python -m monai.bundle run evaluating --config_file "
                f"\"['bundles/{bundle}/configs/train.yaml','bundles/{bundle}/configs/evaluate.yaml']\" "
                f"--output_dir {run.folder}"
            )
    return runs


def _named(runs: list[Run], names: Sequence[str] | None) -> list[Run]:
    given = [run.name for run in runs] if names is None else list(names)
    if len(given) != len(runs):
        raise ValueError(f"names holds {len(given)} names for {len(runs)} runs: give one for each, in their order.")
    taken = {"image", *SHOWN.values()}
    if len(set(given)) < len(given) or taken & set(given):
        raise ValueError(f"names must differ from one another and from {sorted(taken)}, got {given}.")
    return [Run(**{**vars(run), "name": name}) for run, name in zip(runs, given, strict=True)]


def _class_indices(classes: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    if classes is None:
        return list(range(1, len(names)))
    table = {str(index): index for index in range(1, len(names))} | {n: i for i, n in enumerate(names) if i}
    if strange := [word for word in classes if str(word) not in table]:
        raise ValueError(f"classes names {strange}; the foreground classes are {list(names[1:])}.")
    return sorted({table[str(word)] for word in classes})


def _from_data(
    entries: list[dict[str, dict[str, Any]]], data: Path, runs: Sequence[Run]
) -> list[dict[str, dict[str, Any]]]:
    """Take the paths of images and labels, and what their values mean, from a data set."""
    dataset = read_dataset(data)
    names, advice = runs[0].class_names, "pass the data set that the runs were scored on"
    if set(dataset.class_names) != set(names):
        raise ValueError(
            f"data: {dataset.path} has the classes {dataset.class_names} and {runs[0].folder} has {names}: {advice}."
        )
    found = {str(case["case"]): case for case in list_cases(dataset, names)}
    if missing := [case for case in sorted(entries[0]) if case not in found]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"data: {dataset.path} does not hold the cases {', '.join(missing[:5])}{more} of "
            f"{runs[0].folder}: {advice}."
        )
    keys = ("image", "slice_axis", *MAPS, *(key for keys in MAPS.values() for key in keys[:2]))
    return [{case: {**of[case], **{key: found[case][key] for key in keys}} for case in of} for of in entries]


def _draw(ids: Sequence[str], pattern: str | None, number: int, seed: int, run: Run) -> list[str]:
    """Draw case ids in random order."""
    if pattern is not None:
        try:
            kept = [case for case in ids if re.search(pattern, case)]
        except re.error as error:
            raise ValueError(f"pattern {pattern!r} is no regular expression: {error}.") from error
        if not kept:
            raise ValueError(
                f"pattern {pattern!r} matches no case of {run.folder}; its ids are {', '.join(ids[:5])}"
                f"{' ...' if len(ids) > 5 else ''}."
            )
        ids = kept
    order = np.random.RandomState(seed).permutation(len(ids))
    return [ids[i] for i in order[:number]]


def _pack(
    runs: Sequence[Run], entries: Sequence[dict[str, Any]], slices: int, crop: float | None, advise: bool
) -> dict[str, Any]:
    try:
        _same_image(runs, entries)
        return pack_case(runs, entries, slices, crop)
    except FileNotFoundError as error:
        if not advise:
            raise
        raise FileNotFoundError(f"{error} If the data were moved, name their folder: --data DIR.") from error


def _same_image(runs: Sequence[Run], entries: Sequence[dict[str, Any]]) -> None:
    """Refuse runs of different data whose cases happen to have the same ids."""
    first = find_file(runs[0], entries[0].get("image"))
    for run, entry in zip(runs[1:], entries[1:], strict=True):
        other = find_file(run, entry.get("image"))
        if first.is_file() and not first.samefile(other) and not filecmp.cmp(first, other, shallow=False):
            raise ValueError(
                f"the case {entry['case']} of {runs[0].folder} and of {run.folder} has different images, {first} and "
                f"{other}: the runs were scored on different data; make one page for each."
            )


def _content(
    runs: Sequence[Run],
    titles: Sequence[str],
    cases: Sequence[dict[str, Any]],
    shown: Sequence[int],
    opacity: float,
    contours: bool,
) -> dict[str, Any]:
    names = runs[0].class_names
    by, scores = case_ranks(runs)
    dataset = next((str(run.info["dataset"]) for run in runs if run.info.get("dataset")), "")
    return {
        "title": f"{dataset}: cases" if dataset else "Cases",
        "content": {
            "panels": ["image", *titles, *(run.name for run in runs)],
            "runs": [run.name for run in runs],
            "classes": [
                {"index": k, "name": names[k], "colour": as_hex(class_colour(k)), "shown": k in shown}
                for k in range(1, len(names))
            ],
            "drawn_background": as_hex(DRAWN_BACKGROUND),
            "opacity": opacity,
            "contours": contours,
            "ranked": {"by": WORDS.get(by, ""), "worst_is_high": by == "violation"},
            "cases": [{**case, "score": scores.get(case["id"])} for case in cases],
        },
    }
