# SPDX-License-Identifier: Apache-2.0
"""Semi-supervision by consistency and mutual information on real ACDC volumes, two labelled patients, on the CPU.

    python benchmarks/acdc_mutual_information.py --data data/ACDC --split benchmarks/splits/acdc40.json

Trains on folds 2 to 5 and scores fold 1 (last weights) with the network and budget of the overlay cpu.yaml, for three
draws of the labelled patients (with all labelled: three training seeds); partial and udaiic with a second training
seed on each. The size bounds of one arm are estimated from the same labelled patients, see `python -m wss_monai
bounds --labelled`. ``_stronger`` rotates by up to 45 degrees and changes the gain by half, as train.yaml does,
``_flipped`` flips and turns besides; ``_strong`` is the network of the overlay cpu_strong.yaml. ``--tune`` trains on
folds 3 to 5 and scores fold 2: what the settings were chosen by. ``--published-grid`` runs the 16 weights of the
released code's run_bash in the place of the arms: consistency 15, 10, 5, 1 and information .1, .01, .05, 1.
``--iterations`` shortens every run; ``--published`` takes the overlay published.yaml, the released recipe, in the
place of cpu.yaml (its draw is by scan, of the share ``--labelled``):

    python benchmarks/acdc_mutual_information.py --published-grid --published --labelled 0.05 --split-seeds 0 --seeds 10
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from grid import ROOT, fold_settings, grid_parser, out_folder, run_grid, show

BUNDLE = "acdc_mutual_information"
CPU = ("cpu.yaml",)
Arms = Mapping[str, tuple[tuple[str, ...], dict[str, object]]]
STRONGER = {"train#augment#rotation": 45.0, "train#augment#gain": 0.5}
ARMS: Arms = {
    **{mode: (CPU, {"mode": mode}) for mode in ("partial", "entropy", "meanteacher", "uda", "iic", "udaiic")},
    "udaiic+size": ((*CPU, "size_bounds.yaml"), {"mode": "udaiic"}),
    "partial_stronger": (CPU, {"mode": "partial", **STRONGER}),
    "uda_stronger": (CPU, {"mode": "uda", **STRONGER}),
    "udaiic+size_stronger": ((*CPU, "size_bounds.yaml"), {"mode": "udaiic", **STRONGER}),
}
STRONG = (*CPU, "cpu_strong.yaml")
ARMS = {
    **ARMS,
    **{f"{mode}_strong": (STRONG, {"mode": mode}) for mode in ("partial", "entropy", "uda", "udaiic")},
    "uda+size_strong": ((*STRONG, "size_bounds.yaml"), {"mode": "uda"}),
    "udaiic+size_strong": ((*STRONG, "size_bounds.yaml"), {"mode": "udaiic"}),
}
ALL = {"mode": "partial", "labelled": "all"}
FULL: Arms = {"full": (CPU, ALL), "full_strong": (STRONG, ALL)}
FLIPPED = {**STRONGER, "train#augment#flips": [0, 1], "train#augment#turns": [0, 1]}
TUNE: Arms = {
    "partial_flipped": (CPU, {"mode": "partial", **FLIPPED}),
    "uda_flipped": (CPU, {"mode": "uda", **FLIPPED}),
    "full_flipped": (CPU, {"mode": "partial", "labelled": "all", **FLIPPED}),
    "uda_w30": (CPU, {"mode": "uda", "consistency_weight#uda": 30.0}),
    "uda_no_ramp": (CPU, {"mode": "uda", "ramp": 0}),
    "uda_kl": (CPU, {"mode": "uda", "consistency": "kl", "consistency_weight#uda": 1.0}),
    "iic_w0.01": (CPU, {"mode": "iic", "information_weight": 0.01}),
    "iic_no_ramp": (CPU, {"mode": "iic", "ramp": 0}),
    "iic_exact": (CPU, {"mode": "iic", "subtract_min": "$False"}),
    "udaiic_w0.01": (CPU, {"mode": "udaiic", "information_weight": 0.01}),
    "udaiic_exact": (CPU, {"mode": "udaiic", "subtract_min": "$False"}),
}
GRID: Arms = {
    f"udaiic_u{uda}_m{information}": (
        CPU,
        {"mode": "udaiic", "consistency_weight#udaiic": float(uda), "information_weight": information},
    )
    for uda in (15, 10, 5, 1)
    for information in (0.1, 0.01, 0.05, 1.0)
}
PUBLISHED = ("published.yaml",)
TWICE = ("partial", "udaiic")


def fitted_bounds(settings: Mapping[str, object], labelled: int, split_seed: int, file: Path) -> Path:
    """Fit size bounds on the labelled patients of a draw, once."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        line = ["bounds", "--fit", settings["dataset_dir"], "--labelled", labelled, "--split-seed", split_seed]
        line += ["--split", settings["split"], "--fold", settings["fold"], "--validation", settings["validation"]]
        line += ["--out", file]
        subprocess.run([sys.executable, "-m", "wss_monai", *map(str, line)], cwd=ROOT, check=True)
    return file


def number(text: str) -> int | float:
    """A whole number, or a share."""
    return float(text) if "." in text else int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--labelled", type=number, default=2, help="labelled patients, a number or a share")
    parser.add_argument("--split-seeds", type=int, nargs="+", default=[0, 1, 2], help="draws of the labelled patients")
    parser.add_argument("--training-seeds", type=int, default=2, help="of partial and udaiic; the others have one")
    parser.add_argument("--published-grid", action="store_true", help="the 16 weights of run_bash")
    parser.add_argument("--published", action="store_true", help="published.yaml in the place of cpu.yaml")
    parser.add_argument("--iterations", type=int, default=None, help="of each run; default: as the overlay says")
    parser.set_defaults(seeds=[0])
    options = parser.parse_args(arguments)
    settings, out = fold_settings(options), out_folder(options, BUNDLE) / f"labelled{options.labelled}"
    if options.iterations is not None:
        settings["iterations"] = options.iterations
    tasks: dict[str, dict[str, tuple[tuple[str, ...], dict[str, object]]]] = {"once": {}, "twice": {}}
    names: dict[str, list[str]] = {}
    for split_seed in options.split_seeds:
        for name, (overlays, overrides) in (
            GRID if options.published_grid else {**ARMS, **(TUNE if options.tune else {})}
        ).items():
            if options.arms is not None and name not in options.arms:
                continue
            overlays = (*PUBLISHED, *overlays[1:]) if options.published else overlays
            chosen = {"labelled": options.labelled, "split_seed": split_seed, **overrides}
            if "size_bounds.yaml" in overlays:
                file = out / f"bounds_split{split_seed}.json"
                chosen["bounds_file"] = fitted_bounds(settings, options.labelled, split_seed, file)
            run = f"{name}_split{split_seed}"
            tasks["twice" if name in TWICE else "once"][run] = (overlays, chosen)
            names.setdefault(name, []).append(run)
    runs = run_grid(tasks["twice"], range(options.training_seeds), settings, out, options.jobs, bundle=BUNDLE)
    runs |= run_grid(tasks["once"], options.seeds, settings, out, options.jobs, bundle=BUNDLE)
    full = {} if options.published_grid else FULL
    full = {name: arm for name, arm in full.items() if options.arms is None or name in options.arms}
    if full:  # nobody is drawn: training seeds in the place of draws
        runs |= run_grid(full, options.split_seeds, settings, out, options.jobs, bundle=BUNDLE)
        names |= {name: [name] for name in full}
    results = {name: [summary for run in each for summary in runs[run]] for name, each in names.items()}
    show(results, options.csv or out / "results.csv")


if __name__ == "__main__":
    main()
