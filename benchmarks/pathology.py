# SPDX-License-Identifier: Apache-2.0
"""Sizes of the set from other pathologies, trained with: `python benchmarks/run.py pathology`.

Points on patients of one pathology. ``<group>_others`` learns sizes of the set from 5 dense patients of the four other
groups, ``<group>_own`` from the 5 patients themselves: everything else is the same. 5 of the 8 patients of the group,
drawn by the seed, train; the other 3 are scored. How far off the sizes are, without training:
benchmarks/coverage_by_group.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import BOUNDS, NETWORK_FACTS
from grid import add_grid_options, out_folder, run_grid, show
from label_arms import EPOCH, ESTIMATED, FIT, POINTS
from label_efficiency import Fit, Weaken, write_json
from scores import LARGEST, score

from wss_monai.data import draw_dense, load_cases

NAME = "pathology"
ABOUT = "points on one pathology, with sizes of the set from patients of the others or of its own"
GROUPS = ("DCM", "HCM", "RV", "MINF", "NOR")
"""In the order in which sizes from the others are wrong, by coverage_by_group.py."""
ARMS = tuple(f"{group}_{origin}" for group in GROUPS for origin in ("others", "own"))
TRAINING = 5
"""Patients of the group who train, and dense patients of the others."""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_grid_options(options, "data/ACDC", "acdc40.json")
    options.set_defaults(seeds=[0], protocol=None)
    options.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")


def run_pathology(options: argparse.Namespace, weaken: Weaken, fit: Fit) -> None:
    """Draw points, fit sizes, train and score what is not there yet; print the table and write the CSV file."""
    if options.tune:
        raise SystemExit("pathology chooses nothing: leave out --tune.")
    arms, out = options.arms or ARMS, out_folder(options, NAME)
    weak = out / "weak"
    weaken(options.data.resolve(), POINTS, weak)
    common: dict[str, object] = {"dataset_dir": weak, "validation": 0, "evaluate_on": "test"}
    if options.epochs:
        common["train#trainer#max_epochs"] = options.epochs
    results: dict[str, list[dict]] = {name: [] for name in arms}
    also = [f"{key}_largest" for key in LARGEST]
    for seed in options.seeds:
        settings = {name: settings_of(name, common, options.split, seed, out, fit) for name in arms}
        for name, (summary,) in run_grid(settings, [seed], common, out, options.jobs).items():
            kept = score(out / f"{name}_s{seed}")
            results[name].append(summary | {f"{key}_largest": kept[key] for key in LARGEST})
    show(results, options.csv or out / "results.csv", also, NETWORK_FACTS)


def settings_of(
    name: str, common: Mapping[str, object], split: Path, seed: int, out: Path, fit: Fit
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Overlays and settings of a run, its split file and its sizes written."""
    group, _, origin = name.rpartition("_")
    parts = write_splits(str(common["dataset_dir"]), split, group, seed, out / "splits")
    sizes = out / "bounds" / f"{name}_s{seed}.json"
    fit(FIT, {**common, "split": parts[origin]}, seed, sizes)
    settings = {key: str(sizes) if value == BOUNDS else value for key, value in ESTIMATED.items()}
    return ("cpu.yaml",), {**settings, **EPOCH, "split": parts["own"]}


def write_splits(data: str, split: Path, group: str, seed: int, folder: Path) -> dict[str, Path]:
    """Split files: "own" trains on patients of the group and tests on its others, "others" trains on other groups."""
    cases = load_cases(data, split=split, fold="all").training
    inside = [case for case in cases if case["group"] == group]
    own = draw_dense(inside, TRAINING, seed)
    test = patients_of(inside, own)
    content = {"own": own, "others": patients_of(cases, patients_of(inside))}
    files = {origin: folder / f"{group}_{origin}_s{seed}.json" for origin in content}
    for origin, training in content.items():
        write_json({"training": training, "test": test}, files[origin])
    return files


def patients_of(cases: Sequence[Mapping[str, str]], without: Sequence[str] = ()) -> list[str]:
    """The patients of some cases, sorted."""
    return sorted({case["patient"] for case in cases}.difference(without))
