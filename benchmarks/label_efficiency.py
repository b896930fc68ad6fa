# SPDX-License-Identifier: Apache-2.0
"""Dice against minutes of drawing: `python benchmarks/run.py label-efficiency`; the arms are those of label_arms.py.

All arms of all drawings in one CSV file, a row a run: what was drawn (patients, slices, drawings: a class in a slice),
the minutes that this takes by the assumption of ``label_arms.SECONDS``, method, seed and scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from experiments import BOUNDS, NETWORK_FACTS
from grid import SUMMARY, add_grid_options, csv_rows, fold_settings, out_folder, run_bundle, run_grid, write_rows
from label_arms import ARMS, DRAWINGS, EPOCH, FIT, METHODS, PHOTOGRAPHS, SECONDS, Drawing, LabelArm
from scores import LARGEST, score

from wss_monai.data import draw_dense, load_cases
from wss_monai.data.splits import read_split_file
from wss_monai.functional.weak.generators import present_classes
from wss_monai.io.atomic_files import replacing
from wss_monai.transforms import LoadCased

NAME = "label-efficiency"
ABOUT = (
    "Dice against minutes of drawing: points, scribbles, boxes and dense masks, of all slices and patients or of few"
)
Weaken = Callable[[Path, Sequence[str], Path], None]
Fit = Callable[[Sequence[str], Mapping[str, object], int, Path], None]


@dataclass(frozen=True)
class Drawn:
    """What was drawn: patients, slices with a drawing, and classes with a drawing over all slices."""

    patients: int
    slices: int
    drawings: int

    def minutes(self, kind: str, dense: float = SECONDS["dense"][0]) -> float:
        """How long that takes, by what is assumed; ``dense``: seconds of a dense mask."""
        return self.drawings * (dense if kind == "dense" else SECONDS[kind][0]) / 60


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_grid_options(options, "data/ACDC", "acdc40.json")
    options.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    where = "folder of results (docs/results): arms with runs made before are not run, their rows are taken from there"
    options.add_argument("--reuse", type=Path, default=None, metavar="FOLDER", help=where)
    options.add_argument("--count", action="store_true", help="count what is drawn and print it, without a run")
    options.add_argument("--finished", action="store_true", help="show the runs that are there, start none")
    options.set_defaults(protocol=None)


def run_label_efficiency(options: argparse.Namespace, weaken: Weaken, fit: Fit) -> None:
    """Draw, train and score what is not there yet; print the table and write the CSV file."""
    arms = {name: ARMS[name] for name in options.arms or ARMS}
    common, out = fold_settings(options), out_folder(options, NAME)
    reused = {} if options.reuse is None else known_rows(arms, options.seeds, options.reuse)
    made_before = {name for name, _ in reused}
    sets = {arm.drawing: draw(arm.drawing, options.data.resolve(), out, weaken) for arm in arms.values()}
    read_marks(out / "drawn.json")
    counts = {
        (name, seed): counted(arm, {**common, "dataset_dir": sets[arm.drawing]}, seed)
        for name, arm in arms.items()
        for seed in options.seeds
    }
    write_marks(out / "drawn.json")
    if options.count:
        return print_counts(arms, counts, options.seeds)
    started = time.perf_counter()
    rows = []
    for seed in options.seeds:
        settings = {
            name: settings_of(arms[name], common, sets[arms[name].drawing], seed, out, fit)
            for name in arms
            if name not in made_before and (not options.finished or (out / f"{name}_s{seed}" / SUMMARY).is_file())
        }
        results = run_grid(settings, [seed], common, out, options.jobs)
        for name, (summary,) in results.items():
            kept = score(out / f"{name}_s{seed}")
            summary |= {f"{key}_largest": kept[key] for key in LARGEST}
        made = csv_rows(results, [f"{key}_largest" for key in LARGEST], NETWORK_FACTS)
        rows += [*made, *(row for (_, of), row in reused.items() if of == seed)]
    rows = [head_of(arms[str(row["arm"])], counts[str(row["arm"]), int(str(row["seed"]))]) | dict(row) for row in rows]
    rows.sort(key=place)
    print(table(rows))
    file = options.csv or out / "results.csv"
    write_rows(rows, file)
    minutes = (time.perf_counter() - started) / 60
    print(f"a row a run: {file}\n{minutes:.1f} minutes, {options.jobs} runs at a time", file=sys.stderr)


def place(row: Mapping[str, object]) -> tuple[int, ...]:
    """Where a row stands: by kind of drawing, patients, slices, dense patients besides, method and seed."""
    arm = ARMS[str(row["arm"])]
    drawing = DRAWINGS[arm.drawing]
    patients = 10**9 if drawing.patients is None else drawing.patients
    kind, method = list(SECONDS).index(drawing.kind), list(METHODS).index(arm.method)
    return kind, patients, -int(arm.drawing.endswith("_third")), arm.dense, method, int(str(row["seed"]))


def known_rows(
    arms: Mapping[str, LabelArm], seeds: Sequence[int], folder: Path
) -> dict[tuple[str, int], dict[str, object]]:
    """Arm and seed -> the row of a run that was made before."""
    found: dict[tuple[str, int], dict[str, object]] = {}
    for name, arm in arms.items():
        if arm.known is not None:
            with (folder / arm.known[0]).open(encoding="utf-8", newline="") as lines:
                rows = [row for row in csv.DictReader(lines) if row["arm"] == arm.known[1]]
            found |= {(name, int(row["seed"])): {**row, "arm": name} for row in rows if int(row["seed"]) in seeds}
    return found


def draw(name: str, data: Path, out: Path, weaken: Weaken) -> Path:
    """The folder of a drawing's data set; drawn once."""
    done: tuple[tuple[str, ...], ...] = ()
    for words in DRAWINGS[name].weaken:
        done = (*done, words)
        first = next(other for other, drawing in DRAWINGS.items() if drawing.weaken == done)  # others share it
        weaken(data, words, out / "weak" / first)
        data = out / "weak" / first
    return data


def drawn_patients(drawing: Drawing, common: Mapping[str, object], seed: int) -> list[str]:
    """The training patients of a drawing: those that ``dense: N`` draws with the seed, so that 5 are among the 10."""
    cases = training_of(common)
    if drawing.patients is None:
        return sorted({case["patient"] for case in cases})
    return draw_dense(cases, drawing.patients, seed)


def training_of(common: Mapping[str, object]) -> list[dict]:
    """The training cases of the fold."""
    where = {key: common[key] for key in ("split", "fold", "validation")}
    return load_cases(str(common["dataset_dir"]), **where).training  # type: ignore[arg-type]


def settings_of(
    arm: LabelArm, common: Mapping[str, object], data: Path, seed: int, out: Path, fit: Fit
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Overlays and settings of a run, its split file and its bounds written where it needs them."""
    drawing = DRAWINGS[arm.drawing]
    settings: dict[str, object] = {**arm.settings, "dataset_dir": data}
    here = {**common, "dataset_dir": data}
    if drawing.patients is not None:
        file = out / "splits" / f"{drawing.patients}_s{seed}.json"
        restricted(here, drawn_patients(drawing, here, seed), file)
        settings |= {"split": file, **EPOCH}
    if drawing.kind == "tags":
        settings["dataset_dir"] = cues_of_tags(here, seed, out / "tags")
    if BOUNDS in settings.values():
        file = out / "bounds" / f"{arm.drawing}_s{seed}.json"
        fit(FIT, here, seed, file)
        settings = {key: str(file) if value == BOUNDS else value for key, value in settings.items()}
    return arm.overlays, settings


def cues_of_tags(common: Mapping[str, object], seed: int, out: Path) -> Path:
    """The folder of cues of a classifier that learnt the tags of the slices; made once a seed.

    The tags are those that the scribbles say (drawn: present, else absent); their voxels teach nothing.
    """
    run, overlays = out / f"classifier_s{seed}", ("cpu.yaml", "classifier.yaml")
    if not (run / "cues" / "dataset.json").exists():
        settings = {**common, "seed": seed, "output_dir": run}
        if not (run / "model.pt").exists():
            run_bundle(run.name, "training", overlays, {**settings, "overwrite": True}, 1, "acdc_sec")
        run_bundle(run.name, "cues", (*overlays, "cues.yaml"), settings, 1, "acdc_sec")
    return run / "cues"


def few_patients(number: int, common: Mapping[str, object], seed: int, file: Path) -> None:
    """Write the split with so many training patients alone, those that ``dense: N`` draws with the seed."""
    restricted(common, draw_dense(training_of(common), number, seed), file)


def restricted(common: Mapping[str, object], patients: Iterable[str], file: Path) -> None:
    """Write the split with no other training patients than those."""
    of = read_split_file(str(common["split"]))
    scored = [*(of.folds or {})[str(common["fold"])], *(of.folds or {}).get(str(common["validation"]), [])]
    write_json({"patients": sorted([*patients, *scored]), "test": of.folds}, file)


def write_json(content: Mapping[str, object], file: Path) -> None:
    """Write a JSON file, whole for whoever reads it meanwhile: commands may run side by side."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")


def counted(arm: LabelArm, common: Mapping[str, object], seed: int) -> dict[str, Drawn]:
    """Kind -> what an arm needs drawn: its drawing, and the dense patients besides."""
    drawing, cases = DRAWINGS[arm.drawing], training_of(common)
    patients = drawn_patients(drawing, common, seed)
    found = {drawing.kind: count(cases, patients, drawing.kind)}
    if arm.dense:
        found["dense"] = count(cases, draw_dense(cases, arm.dense, seed), "dense")
    return found


MARKED: dict[tuple[str, str], np.ndarray] = {}
"""Kind and file -> which classes are drawn in which slices (S, K), read once."""


def read_marks(file: Path) -> None:
    """Take from a file what an earlier command has counted."""
    if file.is_file():
        for kind, each in json.loads(file.read_text(encoding="utf-8")).items():
            MARKED.update({(kind, name): np.array(marked, bool) for name, marked in each.items()})


def write_marks(file: Path) -> None:
    """Keep what was counted."""
    content: dict[str, dict[str, list]] = {}
    for (kind, name), marked in MARKED.items():
        content.setdefault(kind, {})[name] = marked.astype(int).tolist()
    write_json(content, file)


def count(cases: Sequence[dict], patients: Iterable[str], kind: str) -> Drawn:
    """Count what is drawn in the cases of some patients."""
    chosen = set(patients)
    marked = [marks(case, kind) for case in cases if case["patient"] in chosen]
    return Drawn(len(chosen), sum(int(m.any(axis=1).sum()) for m in marked), sum(int(m.sum()) for m in marked))


def marks(case: dict, kind: str) -> np.ndarray:
    """Which classes somebody draws in which slices of a case, (S, K).

    Dense masks: the organs. Boxes: the boxes. Tags: every organ in every slice, present or not. Else what the weak
    label shows, drawn background too.
    """
    drawn = "label" if kind == "dense" else "weak_label"
    key = (kind, str(case[drawn]))
    if key not in MARKED:
        classes, axis = 1 + max(case["label_values"].values()), case["slice_axis"]
        loaded = LoadCased(["image", drawn], num_classes=classes)(case)
        if kind == "box":
            others = tuple(a for a in (1, 2, 3) if a != axis + 1)
            found = (np.asarray(loaded["boxes"]) > 0).any(axis=others).T
        else:
            found = present_classes(np.asarray(loaded[drawn])[0], classes, axis) | (kind == "tags")
        MARKED[key] = np.array(found, bool)
        if kind in ("dense", "box", "tags"):
            MARKED[key][:, 0] = False
    return MARKED[key]


def head_of(arm: LabelArm, drawn: Mapping[str, Drawn]) -> dict[str, object]:
    """The columns that say what was drawn; of dense patients besides their number and minutes."""
    drawing = DRAWINGS[arm.drawing]
    first = drawn[drawing.kind]
    return {
        "drawn": drawing.about,
        "method": arm.method,
        "patients": first.patients,
        "slices": first.slices,
        "drawings": first.drawings,
        "dense_patients": arm.dense,
        "minutes": f"{sum(each.minutes(kind) for kind, each in drawn.items()):.1f}",
        "minutes_photographs": f"{sum(each.minutes(kind, PHOTOGRAPHS) for kind, each in drawn.items()):.1f}",
    }


def print_counts(
    arms: Mapping[str, LabelArm], counts: Mapping[tuple[str, int], Mapping[str, Drawn]], seeds: Sequence[int]
) -> None:
    """Print what is drawn for each arm: Markdown."""
    print("| arm | seed | drawn | patients | slices | drawings | dense besides | minutes | as photographs |")
    print("|" + "---|" * 9)
    for name, arm in arms.items():
        for seed in seeds:
            row = head_of(arm, counts[name, seed])
            cells = [name, seed, *(row[key] for key in row if key != "method")]
            print("| " + " | ".join(map(str, cells)) + " |")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: a line an arm, means over its seeds."""
    lines = ["| drawn | method | patients | slices | minutes | Dice | by seed | HD95 mm | Dice, largest piece |"]
    lines.append("|" + "---|" * 9)
    for name in dict.fromkeys(str(row["arm"]) for row in rows):
        own = [row for row in rows if row["arm"] == name]

        def mean(key: str, digits: int, own: Sequence[Mapping[str, object]] = own) -> str:
            return f"{statistics.fmean(float(str(row[key])) for row in own):.{digits}f}"

        seeds = " / ".join(f"{float(str(row['dice'])):.3f}" for row in own)
        cells = [own[0]["drawn"], own[0]["method"], mean("patients", 0), mean("slices", 0), mean("minutes", 0)]
        cells += [mean("dice", 3), seeds, mean("hd95_mm", 1), mean("dice_largest", 3)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
