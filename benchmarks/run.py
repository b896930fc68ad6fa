# SPDX-License-Identifier: Apache-2.0
"""Run one of the experiments of benchmarks/experiments.py: all its arms and seeds, on the CPU.

    python benchmarks/run.py acdc --data data/ACDC --split benchmarks/splits/acdc40.json

The overlay cpu.yaml's network and budget, last weights. Trains on folds 2 to 5 and scores fold 1; ``--tune`` trains on
folds 3 to 5 and scores fold 2, with the arms that settings were chosen by besides (``--arms`` names some of them).
``--protocol`` runs the arms as a published work has it, for a GPU (benchmarks/protocols.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import BOUNDS, EXPERIMENTS, Arms, Experiment
from grid import ROOT, add_grid_options, fold_settings, out_folder, run_grid, show, table
from medpy_hd95 import COLUMN, score_medpy
from protocols import PROTOCOLS, Part, add_protocol_options, parts_of, prepare, told
from scores import score

LARGEST = ("dice", "hd95_mm")
"""Scores of the largest piece of each organ."""


def make_parser() -> argparse.ArgumentParser:
    """A command an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, experiment in EXPERIMENTS.items():
        options = names.add_parser(name, help=experiment.about, description=experiment.about)
        add_grid_options(options, experiment.data, experiment.split)
        options.add_argument("--epochs", type=int, default=experiment.epochs, help="instead of cpu.yaml's")
        if experiment.weaken:
            where = "where the weak labels go, or are; default: in the folder of runs"
            options.add_argument("--weak", type=Path, default=None, help=where)
        options.set_defaults(protocol=None)
        if experiment.bundle == "acdc_logbarrier" and experiment.data == "data/ACDC":
            add_protocol_options(options)
    return parser


def weaken(data: Path, words: Sequence[str], out: Path) -> None:
    """Draw weak labels once (seed 0)."""
    if not (out / "dataset.json").exists():
        line = [sys.executable, "-m", "wss_monai", "weaken", *words, "--data", str(data), "--out", str(out)]
        subprocess.run(line, check=True, cwd=ROOT)


def fit(words: Sequence[str], common: Mapping[str, object], seed: int, out: Path) -> None:
    """Fit bounds once on the training patients that the seed draws."""
    if not out.exists():
        line = [sys.executable, "-m", "wss_monai", "bounds", "--fit", str(common["dataset_dir"]), *words]
        where = [part for key in ("split", "fold", "validation") for part in (f"--{key}", str(common[key]))]
        subprocess.run([*line, *where, "--seed", str(seed), "--out", str(out)], check=True, cwd=ROOT)


def run_part(experiment: Experiment, part: Part, seeds: Sequence[int], jobs: int, bundle: str) -> dict[str, list[dict]]:
    """Arm -> the summaries of its seeds; bounds are fitted first where an arm names them."""
    arms, common, out = part.arms, part.common, part.out
    if experiment.fit:
        file = out / "bounds" / "s{seed}.json"
        arms = {
            name: (overlays, {key: str(file) if value == BOUNDS else value for key, value in settings.items()})
            for name, (overlays, settings) in arms.items()
        }
        for seed in seeds if any(str(file) in settings.values() for _, settings in arms.values()) else ():
            fit(experiment.fit, common, seed, Path(str(file).format(seed=seed)))
    results = run_grid(arms, seeds, common, out, jobs, bundle=bundle)
    if experiment.pieces:
        for name, runs in results.items():
            for summary, seed in zip(runs, seeds, strict=True):
                kept = score(out / f"{name}_s{seed}")
                summary |= {f"{key}_largest": kept[key] for key in LARGEST}
    return results


def under_protocol(experiment: Experiment, arms: Arms, options: argparse.Namespace, out: Path) -> None:
    """Run arms under a published protocol: a table a part, one of the means of folds, a CSV file of all."""
    protocol, also = PROTOCOLS[options.protocol], (*experiment.also, COLUMN)
    also = (*also, *(f"{name}_largest" for name in LARGEST)) if experiment.pieces else also
    if options.dry_run:
        print(told(options, parts_of(options, arms, out)))
        return
    prepare(options)
    if protocol.weaken:
        weaken(options.data.resolve(), protocol.weaken, out / "weak")
        options.data = out / "weak"
    together: dict[str, list[dict]] = {}
    for part in parts_of(options, arms, out):
        results = run_part(experiment, part, options.seeds, options.jobs, protocol.bundle)
        for name, runs in results.items():
            for summary, seed in zip(runs, options.seeds, strict=True):
                summary[COLUMN] = score_medpy(part.out / f"{name}_s{seed}")
                summary["run"]["fold"] = part.name
            together.setdefault(name, []).extend(runs)
        print(f"\n{options.protocol}, {part.name}\n\n{table(results, also)}")
    print(f"\n{options.protocol}, means of folds\n" if protocol.folds else "\nmeans of all parts\n")
    show(together, options.csv or out / "results.csv", also, experiment.facts)


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    experiment = EXPERIMENTS[options.name]
    arms = {**experiment.arms, **(experiment.tried if options.tune else {})}
    if options.protocol and PROTOCOLS[options.protocol].arms:
        arms = dict(PROTOCOLS[options.protocol].arms)
    if unknown := set(options.arms or ()) - set(arms):
        more = ", more with --tune" if experiment.tried and not options.tune else ""
        parser.error(f"no arms {sorted(unknown)}; there are {list(arms)}{more}")
    chosen = {name: arms[name] for name in options.arms or arms}
    started = time.perf_counter()
    if options.protocol:
        try:
            under_protocol(experiment, chosen, options, (options.out or Path("runs") / options.protocol).resolve())
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
        return
    common, out = fold_settings(options), out_folder(options, options.name)
    if experiment.weaken:
        common["dataset_dir"] = (options.weak or out / "weak").resolve()
        weaken(options.data.resolve(), experiment.weaken, Path(str(common["dataset_dir"])))
    results = run_part(experiment, Part("", chosen, common, out), options.seeds, options.jobs, experiment.bundle)
    also = experiment.also
    if experiment.pieces:
        also = (*also, *(f"{name}_largest" for name in LARGEST))
    show(results, options.csv or out / "results.csv", also, experiment.facts)
    minutes = (time.perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes, {options.jobs} runs at a time, one thread each", file=sys.stderr)


if __name__ == "__main__":
    main()
