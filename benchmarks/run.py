# SPDX-License-Identifier: Apache-2.0
"""Run one of the experiments of benchmarks/experiments.py: all its arms and seeds, on the CPU.

    python benchmarks/run.py acdc --data data/ACDC --split benchmarks/splits/acdc40.json

The overlay cpu.yaml's network and budget, last weights. Trains on folds 2 to 5 and scores fold 1; ``--tune`` trains on
folds 3 to 5 and scores fold 2, with the arms that settings were chosen by besides (``--arms`` names some of them).
``--protocol`` runs the arms as a published work has it, for a GPU (benchmarks/run_protocol.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import label_efficiency
import pathology
from constraint_facts import write_curves
from experiments import BOUNDS, EXPERIMENTS, Arms
from grid import ROOT, add_grid_options, fold_settings, out_folder, run_grid, show
from run_protocol import add_protocol_options, run_protocol
from scores import LARGEST, score

OWN = {
    label_efficiency.NAME: (label_efficiency, label_efficiency.run_label_efficiency),
    pathology.NAME: (pathology, pathology.run_pathology),
}
"""Experiments whose arms differ by their data: name -> the file that describes them, and what runs them."""


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
        add_protocol_options(options, experiment)
    for name, (module, _) in OWN.items():
        module.add_options(names.add_parser(name, help=module.ABOUT, description=module.ABOUT))
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
        keys = [key for key in ("split", "fold", "validation") if key in common]
        where = [part for key in keys for part in (f"--{key}", str(common[key]))]
        subprocess.run([*line, *where, "--seed", str(seed), "--out", str(out)], check=True, cwd=ROOT)


def arms_of(name: str, options: argparse.Namespace) -> Arms:
    """The arms of an experiment that the options name; all of them, those that were tried with ``--tune``."""
    experiment = EXPERIMENTS[name]
    arms = {**experiment.arms, **(experiment.tried if options.tune else {})}
    return {arm: arms[arm] for arm in options.arms or arms if arm in arms}


def run(name: str, options: argparse.Namespace) -> None:
    """Run the arms of an experiment, print its table and write its CSV file."""
    experiment = EXPERIMENTS[name]
    chosen = arms_of(name, options)
    common, out = fold_settings(options), out_folder(options, name)
    if experiment.weaken:
        common["dataset_dir"] = (getattr(options, "weak", None) or out / "weak").resolve()
        weaken(options.data.resolve(), experiment.weaken, Path(str(common["dataset_dir"])))
    if experiment.fit:
        file = out / "bounds" / "s{seed}.json"
        chosen = {
            arm: (overlays, {key: str(file) if value == BOUNDS else value for key, value in settings.items()})
            for arm, (overlays, settings) in chosen.items()
        }
        for seed in options.seeds if any(str(file) in settings.values() for _, settings in chosen.values()) else ():
            fit(experiment.fit, common, seed, Path(str(file).format(seed=seed)))
    if experiment.patients is not None:
        file = out / "splits" / "s{seed}.json"
        for seed in options.seeds:
            label_efficiency.few_patients(experiment.patients, common, seed, Path(str(file).format(seed=seed)))
        common["split"] = str(file)
    started = time.perf_counter()
    results = run_grid(chosen, options.seeds, common, out, options.jobs, bundle=experiment.bundle)
    also = experiment.also
    if experiment.pieces:
        also = (*also, *(f"{score}_largest" for score in LARGEST))
        for arm, runs in results.items():
            for summary, seed in zip(runs, options.seeds, strict=True):
                kept = score(out / f"{arm}_s{seed}")
                summary |= {f"{key}_largest": kept[key] for key in LARGEST}
    file = options.csv or out / "results.csv"
    show(results, file, also, experiment.facts)
    if "final_violation" in experiment.facts:
        write_curves(out, chosen, options.seeds, file.with_name(f"{file.stem}_curves.csv"))
    minutes = (time.perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes, {options.jobs} runs at a time, one thread each", file=sys.stderr)


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    if options.name in OWN:
        module, run_arms = OWN[options.name]
        if unknown := set(options.arms or ()).difference(module.ARMS):
            parser.error(f"no arms {sorted(unknown)}; there are {[*module.ARMS]}")
        return run_arms(options, weaken, fit)
    if options.protocol:
        try:
            return run_protocol(options, EXPERIMENTS[options.name], weaken, fit)
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
    names = [options.name, *EXPERIMENTS[options.name].then]
    arms = {name: arms_of(name, options) for name in names}
    if unknown := set(options.arms or ()).difference(*arms.values()):
        of = EXPERIMENTS[options.name]
        more = ", more with --tune" if of.tried and not options.tune else ""
        parser.error(f"no arms {sorted(unknown)}; there are {[*of.arms, *(of.tried if options.tune else ())]}{more}")
    if names[1:] and options.csv:
        parser.error(f"--csv is for one table, and {options.name} makes {len(names)}: {names}")
    for name in names:
        own = argparse.Namespace(**vars(options))
        if options.out and names[1:]:
            own.out = options.out / name
        if arms[name]:
            run(name, own)


if __name__ == "__main__":
    main()
