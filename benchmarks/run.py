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

from experiments import BOUNDS, EXPERIMENTS
from grid import ROOT, add_grid_options, fold_settings, out_folder, run_grid, show
from run_protocol import add_protocol_options, run_protocol
from scores import LARGEST, score


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


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    if options.protocol:
        try:
            return run_protocol(options, EXPERIMENTS[options.name], weaken, fit)
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
    experiment = EXPERIMENTS[options.name]
    arms = {**experiment.arms, **(experiment.tried if options.tune else {})}
    if unknown := set(options.arms or ()) - set(arms):
        more = ", more with --tune" if experiment.tried and not options.tune else ""
        parser.error(f"no arms {sorted(unknown)}; there are {list(arms)}{more}")
    chosen = {name: arms[name] for name in options.arms or arms}
    common, out = fold_settings(options), out_folder(options, options.name)
    if experiment.weaken:
        common["dataset_dir"] = (options.weak or out / "weak").resolve()
        weaken(options.data.resolve(), experiment.weaken, Path(str(common["dataset_dir"])))
    if experiment.fit:
        file = out / "bounds" / "s{seed}.json"
        chosen = {
            name: (overlays, {key: str(file) if value == BOUNDS else value for key, value in settings.items()})
            for name, (overlays, settings) in chosen.items()
        }
        for seed in options.seeds if any(str(file) in settings.values() for _, settings in chosen.values()) else ():
            fit(experiment.fit, common, seed, Path(str(file).format(seed=seed)))
    started = time.perf_counter()
    results = run_grid(chosen, options.seeds, common, out, options.jobs, bundle=experiment.bundle)
    also = experiment.also
    if experiment.pieces:
        also = (*also, *(f"{name}_largest" for name in LARGEST))
        for name, runs in results.items():
            for summary, seed in zip(runs, options.seeds, strict=True):
                kept = score(out / f"{name}_s{seed}")
                summary |= {f"{key}_largest": kept[key] for key in LARGEST}
    show(results, options.csv or out / "results.csv", also, experiment.facts)
    minutes = (time.perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes, {options.jobs} runs at a time, one thread each", file=sys.stderr)


if __name__ == "__main__":
    main()
