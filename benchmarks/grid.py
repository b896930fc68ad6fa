# SPDX-License-Identifier: Apache-2.0
"""Train and evaluate a bundle once for each arm and seed, several at a time; print one table, write a CSV file.

The CSV file has a row a run; docs/make_results.py renders it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from constraint_facts import constraint_facts
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
Overrides = Mapping[str, object]
SUMMARY = "metrics_summary.json"
"""What a run that is finished has in its folder."""
FACTS = "benchmark.json"
"""What a grid notes in a run's folder: commit, seconds of training and evaluation, CPU seconds of training."""
PLAIN = ("training", "cues")
"""What is run without evaluate.yaml."""
SCORES = ("dice", "hd95_mm", "volume_error_ml_abs")
"""Scores whose values by class are written."""


def command(run_id: str, overlays: Sequence[str], overrides: Overrides, bundle: str = "acdc_logbarrier") -> list[str]:
    """The bundle's command line.

    An overlay is a file of the bundle's configs, or has a path of its own. One named ``*_evaluate.yaml`` changes the
    evaluation: it comes after evaluate.yaml, and training does without it.
    """
    late = [file for file in overlays if file.endswith("_evaluate.yaml")]
    files = ["train.yaml", *(file for file in overlays if file not in late)]
    files += ["evaluate.yaml", *late] if run_id not in PLAIN else []
    config = str([str(ROOT / "bundles" / bundle / "configs" / file) for file in files])
    if bundle != "acdc_mutual_information":  # which had epochs of a fixed length from the first
        overrides = {"epoch_iterations": "$None", **overrides}  # an epoch is a pass, as when the results were measured
    if run_id in PLAIN:  # the bundle refuses settings that have no effect
        overrides = {key: value for key, value in overrides.items() if key != "evaluate_on"}
    elif "\nkeep_largest:" in (ROOT / "bundles" / bundle / "configs" / "evaluate.yaml").read_text(encoding="utf-8"):
        overrides = {"keep_largest": False, **overrides}  # scored as predicted, unless an arm says so
    if ignored := [key for key, value in overrides.items() if value is None]:
        raise ValueError(f"MONAI's command line ignores None: write '$None' for {ignored}.")
    flags = [str(part) for key, value in overrides.items() for part in (f"--{key}", value)]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config, *flags]


def grid_parser(description: str, data: str = "data/ACDC", split: str = "acdc40.json") -> argparse.ArgumentParser:
    """The options that grids on a split file share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add_grid_options(parser, data, split)
    return parser


def add_grid_options(parser: argparse.ArgumentParser, data: str, split: str | None) -> None:
    """The options of :func:`grid_parser`; without a split file none for it, and nothing to tune on."""
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument(
        "--csv", type=Path, default=None, help="a row a run; default: results.csv in the folder of runs"
    )
    parser.set_defaults(split=None, tune=False)
    if split:
        parser.add_argument("--split", type=Path, default=Path("benchmarks/splits") / split)
        tune = "train on folds 3 to 5, score fold 2: what was tried there"
        parser.add_argument("--tune", action="store_true", help=tune)


def out_folder(options: argparse.Namespace, name: str) -> Path:
    """Where the runs go: ``--out``, or runs/<name>, or runs/<name>_tune."""
    return (options.out or Path("runs") / (f"{name}_tune" if options.tune else name)).resolve()


def fold_settings(options: argparse.Namespace) -> dict[str, object]:
    """Train on folds 2 to 5 and score fold 1; to tune, train on folds 3 to 5 and score fold 2.

    Without a split file: the data set's own test cases, none for validation.
    """
    settings: dict[str, object] = {"dataset_dir": options.data.resolve(), "validation": 0}
    if options.split is not None:
        settings |= {"split": options.split.resolve(), "fold": "fold1", "validation": "fold2" if options.tune else 0}
        settings |= {"evaluate_on": "validation" if options.tune else "test"}
    if getattr(options, "epochs", None):
        settings["train#trainer#max_epochs"] = options.epochs
    return settings


def run_bundle(
    name: str, run_id: str, overlays: Sequence[str], overrides: Overrides, threads: int, bundle: str
) -> float:
    """One command of a bundle, its output in a log in the run's folder; gives the CPU seconds that it took."""
    folder = Path(str(overrides["output_dir"]))
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    line = command(run_id, overlays, overrides, bundle)
    with (folder / f"{run_id}.log").open("w") as log:
        child = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{name}: {run_id} failed, see {folder / f'{run_id}.log'}")
    return used.ru_utime + used.ru_stime


def run_one(
    name: str, overlays: Sequence[str], overrides: Overrides, threads: int, bundle: str = "acdc_logbarrier"
) -> dict:
    """Train and evaluate in the run's folder, unless its summary is there already; returns the summary.

    Its key ``run`` holds what :func:`run_facts` knows of the run.
    """
    folder = Path(str(overrides["output_dir"]))
    summary = folder / SUMMARY
    if not summary.is_file():
        commit, started = git_commit(), time.perf_counter()
        both = {"training": {**overrides, "overwrite": True}, "evaluating": overrides}
        used = [run_bundle(name, run_id, overlays, of, threads, bundle) for run_id, of in both.items()]
        seconds = time.perf_counter() - started
        facts = {"commit": commit, "seconds": round(seconds, 1), "cpu_seconds": round(used[0], 1)}
        (folder / FACTS).write_text(json.dumps(facts) + "\n")
        tqdm.write(f"{name}: {seconds:.0f} s", file=sys.stderr)
    return json.loads(summary.read_text()) | {"run": run_facts(folder) | {"fold": scored_fold(overrides)}}


def git_commit() -> str:
    """The commit of the tree, with ``-dirty`` if files were changed; empty outside a repository."""
    line = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def run_facts(folder: Path) -> dict[str, str]:
    """Commit, device, cost and size of the network of a run, and when its constraints held.

    What its files do not say is left empty.
    """
    record, facts = (
        {} if not file.is_file() else json.loads(file.read_text()) for file in (folder / "run.json", folder / FACTS)
    )
    known = {"commit": facts.get("commit"), "device": record.get("device"), "seconds": facts.get("seconds")}
    known |= {"cpu_seconds": facts.get("cpu_seconds"), "weights": record.get("parameters"), "iterations": None}
    if record.get("max_epochs") and record.get("iterations_per_epoch"):
        known["iterations"] = record["max_epochs"] * record["iterations_per_epoch"]
    known |= constraint_facts(folder)
    return {name: "" if value is None else str(value) for name, value in known.items()}


def scored_fold(settings: Overrides) -> str:
    """The fold of a split file that a run is scored on."""
    return str(settings.get("validation" if settings.get("evaluate_on") == "validation" else "fold", ""))


def run_grid(
    arms: Mapping[str, tuple[Sequence[str], Overrides]],
    seeds: Sequence[int],
    common: Overrides,
    out: Path,
    jobs: int = 2,
    threads: int = 1,
    bundle: str = "acdc_logbarrier",
) -> dict[str, list[dict]]:
    """Arm name -> summaries of its seeds; ``arms`` maps a name to (overlays, overrides).

    ``{seed}`` in the text of an override stands for the seed.
    """
    tasks: dict[tuple[str, int], Future[dict]] = {}
    done = set()  # before: the time left is that of the others
    with ThreadPoolExecutor(jobs) as pool:
        for seed in seeds:
            for name, (overlays, overrides) in arms.items():
                settings = {**common, **overrides, "seed": seed, "output_dir": (out / f"{name}_s{seed}").resolve()}
                settings = {
                    key: v.replace("{seed}", str(seed)) if isinstance(v, str) else v for key, v in settings.items()
                }
                if (Path(str(settings["output_dir"])) / SUMMARY).is_file():
                    done.add((name, seed))
                tasks[name, seed] = pool.submit(run_one, f"{name} seed {seed}", overlays, settings, threads, bundle)
        left = [task for key, task in tasks.items() if key not in done]
        for task in tqdm(as_completed(left), total=len(left), desc=f"runs ({len(done)} done before)", unit="run"):
            task.result()
        results = {key: task.result() for key, task in tasks.items()}
    return {name: [results[name, seed] for seed in seeds] for name in arms}


def table(results: Mapping[str, Sequence[Mapping]], also: Sequence[str] = ()) -> str:
    """Markdown: mean over seeds of volume Dice and HD95 by class, spread of the mean Dice over the seeds.

    ``also`` names further scores of the summary, whose means over classes make columns.
    """
    first = next(iter(results.values()))[0]
    classes = [name for name in first["dice"] if name != "mean"]
    head = [
        "arm",
        "bounds",
        "Dice",
        "by seed",
        *classes,
        "HD95 mm",
        "volume error ml (abs)",
        "satisfied",
        "missed",
        *also,
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in results.items():
        mean = statistics.fmean(run["dice"]["mean"] for run in runs)
        seeds = " / ".join(f"{run['dice']['mean']:.3f}" for run in runs)
        each = [f"{statistics.fmean(run['dice'][c] for run in runs):.3f}" for c in classes]
        far = f"{statistics.fmean(run['hd95_mm']['mean'] for run in runs):.1f}"
        volume = f"{statistics.fmean(run['volume_error_ml_abs']['mean'] for run in runs):.1f}"
        held = [v["mean"] for run in runs for v in run["constraint_satisfaction"].values()]
        satisfied = f"{statistics.fmean(held):.3f}" if held else ""
        missed = f"{statistics.fmean(sum(run['n_missed'].values()) for run in runs):.1f}"
        cells = [name, runs[0]["bounds_origin"], f"**{mean:.3f}**", seeds, *each, far, volume, satisfied, missed]
        cells += [f"{statistics.fmean(run[score]['mean'] for run in runs):.3f}" for score in also]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def csv_rows(
    results: Mapping[str, Sequence[Mapping]], also: Sequence[str] = (), facts_too: Sequence[str] = ()
) -> list[dict[str, object]]:
    """One row a run: arm, seed, fold, origin of the bounds, scores by class and in the mean, and facts of the run.

    Args:
        results: arm name -> summaries of its runs.
        also: further scores of the summaries, whose means over classes make columns.
        facts_too: further facts of the runs.
    """
    rows = []
    for arm, runs in results.items():
        for summary in runs:
            facts = summary.get("run", {})
            row = {"arm": arm, "seed": summary.get("seed", ""), "fold": facts.get("fold", "")}
            row["bounds_origin"] = summary["bounds_origin"]
            for score in SCORES:
                row[score] = number(summary[score]["mean"])
                row |= {f"{score}_{name}": number(value) for name, value in summary[score].items() if name != "mean"}
            held = [value["mean"] for value in summary["constraint_satisfaction"].values()]
            row["satisfied"] = number(statistics.fmean(held)) if held else ""
            row["missed"] = sum(summary["n_missed"].values())
            row |= {score: number(summary[score]["mean"]) for score in also}
            rows.append(row | {name: facts.get(name, "") for name in (*facts_too, "commit", "device", "seconds")})
    return rows


def number(value: float) -> str:
    """A score with so many digits that rounding means of it gives the printed table."""
    return f"{value:.6g}"


def write_csv(
    results: Mapping[str, Sequence[Mapping]], file: Path, also: Sequence[str] = (), facts_too: Sequence[str] = ()
) -> None:
    """Write the rows of :func:`csv_rows`; a column that a row lacks is left empty there."""
    write_rows(csv_rows(results, also, facts_too), file)


def write_rows(rows: Sequence[Mapping[str, object]], file: Path) -> None:
    """Write a CSV file; a column that a row lacks is left empty there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def show(
    results: Mapping[str, Sequence[Mapping]], file: Path, also: Sequence[str] = (), facts_too: Sequence[str] = ()
) -> None:
    """Print the table, and write the CSV file beside it."""
    print(table(results, also))
    write_csv(results, file, also, facts_too)
    print(f"a row a run: {file}", file=sys.stderr)
