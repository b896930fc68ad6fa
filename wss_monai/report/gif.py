# SPDX-License-Identifier: Apache-2.0
"""A film of training: one case, the prediction of several runs side by side, epoch after epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wss_monai.io.atomic_files import replacing
from wss_monai.report.fonts import font, wrapped
from wss_monai.report.run_folder import Run, read_runs
from wss_monai.report.snapshot_sheets import Sheet, read_sheets

__all__ = ["Film", "default_captions", "write_gif"]

GAP = 12
LETTERS = 15
INK = (31, 41, 55)
SMALLEST = 200
"""Pictures narrower than this many pixels are shown at twice their size."""
SHOWN_BESIDE = ("image", "weak label", "reference")
"""Panels of the still picture, where they are."""


@dataclass(frozen=True)
class Film:
    """What a GIF shows.

    Attributes:
        path: the file.
        case: which case.
        epochs: one a frame.
        captions: one a run.
    """

    path: Path
    case: str
    epochs: list[int]
    captions: list[str]


def write_gif(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    case: str | None = None,
    panel: str = "prediction",
    beside: Sequence[str] = (),
    captions: Sequence[str] | None = None,
    seconds: float = 0.2,
    scale: int | None = None,
    still: Path | str | None = None,
) -> Film:
    """Write a GIF that loops over the epochs of which all runs have a snapshot.

    Args:
        runs: run folders, from left to right.
        out: the file to write, ``*.gif``; its folder is made where needed.
        case: the case to show; by default the first that all runs show.
        panel: the panel of each run: "prediction", or another one of the snapshots.
        beside: panels of the first run that stand before them: "image", "weak label", "reference".
        captions: one a run; by default what the run's loss consists of.
        seconds: how long a frame stays.
        scale: how many times larger than in the snapshots; by default 2 for pictures below 200 pixels, else 1.
        still: file for the last frame with image, weak label and reference beside it, as PNG.

    Raises:
        FileNotFoundError: if a run or its snapshots are missing.
        ValueError: if an argument does not fit, or the runs have no case, epoch or part of the case in common.
    """
    out = Path(out)
    if out.suffix.lower() != ".gif":
        raise ValueError(f"out must be a file that ends in .gif, got {out}.")
    if still is not None and Path(still).suffix.lower() != ".png":
        raise ValueError(f"still must be a file that ends in .png, got {still}.")
    if not 0.02 <= seconds <= 600:
        raise ValueError(f"seconds must lie between 0.02 and 600, got {seconds}.")
    if scale is not None and not 1 <= scale <= 8:
        raise ValueError(f"scale must lie between 1 and 8, got {scale}.")
    read = read_runs([Path(run) for run in runs], scores=False)
    if captions is not None and len(captions) != len(read):
        raise ValueError(f"captions must be one a run: {len(read)} runs and {len(captions)} captions.")
    texts = list(captions) if captions is not None else default_captions(read)
    sheets = [read_sheets(run.folder) for run in read]
    shown = _common_case(read, sheets, case)
    epochs = _common_epochs(read, sheets, shown)
    series = [[of_run[epoch] for epoch in epochs] for of_run in sheets]
    _check(read, series, shown, [panel, *beside])
    frames = _frames(series, shown, panel, beside, texts, scale)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        first, *others = _with_one_palette(frames)
        time = round(1000 * seconds)
        first.save(temporary, save_all=True, append_images=others, duration=time, loop=0, disposal=1, optimize=True)
    if still is not None:
        there = [title for title in SHOWN_BESIDE if title in series[0][-1].titles(shown) and title != panel]
        last = _frames([of_run[-1:] for of_run in series], shown, panel, there, texts, scale)[0]
        Path(still).parent.mkdir(parents=True, exist_ok=True)
        with replacing(still) as temporary:
            last.save(temporary, optimize=True)
    return Film(out, shown, epochs, texts)


def default_captions(runs: Sequence[Run]) -> list[str]:
    """Say what each run's loss consists of, such as "Partial CE + Sizeloss"; their names where that is the same."""
    texts = [_terms(run) or run.name for run in runs]
    return texts if len(set(texts)) == len(texts) else [run.name for run in runs]


def _terms(run: Run) -> str:
    """Read the terms of the loss off the columns of metrics.csv."""
    known = {"partial": "Partial CE", "dense": "Full supervision"}
    barrier = str(run.info.get("mode")) == "logbarrier"
    columns = dict.fromkeys(column for row in run.epochs for column in row if column.startswith("loss_"))
    words = []
    for term in [column.removeprefix("loss_") for column in columns]:
        named = f"{term} log-barrier" if barrier else "Sizeloss" if term == "size" else f"{term} loss"
        words.append(known.get(term, named))
    text = " + ".join(words)
    return text[:1].upper() + text[1:]


def _common_case(runs: Sequence[Run], sheets: Sequence[dict[int, Sheet]], case: str | None) -> str:
    found = [list(dict.fromkeys(name for sheet in of_run.values() for name in sheet.cases)) for of_run in sheets]
    shared = [name for name in found[0] if all(name in of_run for of_run in found)]
    lists = "; ".join(f"{run.folder}: {', '.join(names)}" for run, names in zip(runs, found, strict=True))
    if case is not None and case not in shared:
        raise ValueError(f"case {case!r} is not in the snapshots of all runs ({lists}).")
    if not shared:
        raise ValueError(
            f"the snapshots of the runs show different cases ({lists}): validate all runs on the same patients."
        )
    return case if case is not None else shared[0]


def _common_epochs(runs: Sequence[Run], sheets: Sequence[dict[int, Sheet]], case: str) -> list[int]:
    found = [[epoch for epoch, sheet in of_run.items() if case in sheet.cases] for of_run in sheets]
    shared = [epoch for epoch in found[0] if all(epoch in of_run for of_run in found)]
    if not shared:
        lists = "; ".join(f"{run.folder}: {_listed(epochs)}" for run, epochs in zip(runs, found, strict=True))
        raise ValueError(f"the runs have no epoch with a snapshot in common ({lists}): use the same --val_interval.")
    return shared


def _check(runs: Sequence[Run], series: Sequence[Sequence[Sheet]], case: str, titles: Sequence[str]) -> None:
    """Refuse panels that are not there and runs that show different parts of the case."""
    for run, of_run in zip(runs, series, strict=True):
        wanted = titles if of_run is series[0] else titles[:1]
        for sheet in of_run:
            if missing := [title for title in wanted if title not in sheet.titles(case)]:
                raise ValueError(f"{sheet.path} has no panel {missing[0]!r} of {case}, only {sheet.titles(case)}.")
        first, other = series[0][0], of_run[0]
        sizes = [sheet.picture(case, titles[0]).size for sheet in (first, other)]
        slices = [sheet.cases[case].get("slices") for sheet in (first, other)]
        if sizes[0] != sizes[1] or slices[0] != slices[1]:
            raise ValueError(
                f"the snapshots of {runs[0].folder} and {run.folder} show different parts of {case} (slices "
                f"{slices[0]} and {slices[1]}, {sizes[0]} and {sizes[1]} pixels): train both on the same data with "
                "the same pixdim and crop."
            )


def _frames(
    series: Sequence[Sequence[Sheet]],
    case: str,
    panel: str,
    beside: Sequence[str],
    captions: Sequence[str],
    scale: int | None,
) -> list[Image.Image]:
    width, height = series[0][0].picture(case, panel).size
    times = scale or (2 if width < SMALLEST else 1)
    size, letters = (times * width, times * height), font(LETTERS)
    titles = [wrapped(text, letters, size[0]) for text in [*(title.capitalize() for title in beside), *captions]]
    line, left = round(1.35 * LETTERS), [GAP + i * (size[0] + GAP) for i in range(len(titles))]
    top = GAP + line * max(len(lines) for lines in titles) + 4
    blank = Image.new("RGB", (GAP + len(titles) * (size[0] + GAP), top + size[1] + 2 * line), "white")
    draw = ImageDraw.Draw(blank)
    for place, lines in zip(left, titles, strict=True):
        first = top - 4 - line * len(lines)
        for number, words in enumerate(lines):
            draw.text((place + size[0] / 2, first + line * (number + 0.5)), words, INK, letters, "mm")
    for place, title in zip(left, beside, strict=False):
        picture = series[0][-1].picture(case, title)
        blank.paste(picture.resize(size, Image.Resampling.NEAREST), (place, top))
    frames = []
    for sheets in zip(*series, strict=True):
        frame = blank.copy()
        for place, sheet in zip(left[len(beside) :], sheets, strict=True):
            frame.paste(sheet.picture(case, panel).resize(size, Image.Resampling.NEAREST), (place, top))
        words = f"Epoch {sheets[0].epoch}"
        ImageDraw.Draw(frame).text((blank.width / 2, top + size[1] + line), words, INK, letters, "mm")
        frames.append(frame)
    return frames


def _with_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Give all frames in the same 255 colours at most; a colour becomes the same one in all frames."""
    packed = [np.asarray(frame).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32) for frame in frames]
    uniques = [np.unique(pixels, return_counts=True) for pixels in packed]
    colours, place = np.unique(np.concatenate([u for u, _ in uniques]), return_inverse=True)
    counts = np.bincount(place, weights=np.concatenate([n for _, n in uniques]))
    rgb = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], 1).astype(np.int32)
    kept = np.sort(np.argsort(-counts, kind="stable")[:255])
    nearest = np.array([np.abs(rgb[kept] - colour).sum(1).argmin() for colour in rgb], dtype=np.uint8)
    made = []
    for pixels in packed:
        frame = Image.fromarray(nearest[np.searchsorted(colours, pixels)])
        frame.putpalette(rgb[kept].astype(np.uint8).tobytes())
        made.append(frame)
    return made


def _listed(epochs: Sequence[int]) -> str:
    shown = ", ".join(map(str, epochs[:8]))
    return f"{shown} ... {epochs[-1]}" if len(epochs) > 8 else shown or "none"
