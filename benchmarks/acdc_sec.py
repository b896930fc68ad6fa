# SPDX-License-Identifier: Apache-2.0
"""Seed, Expand and Constrain on real ACDC volumes: scribbles as cues and the tags of slices, on the CPU.

    python benchmarks/acdc_sec.py --data data/ACDC --split benchmarks/splits/acdc40.json

Trains on folds 2 to 5 and scores fold 1 (last weights) with the network and budget of the overlay cpu.yaml, with and
without the dense CRF on the predictions, beside partial cross-entropy and the log-barrier of the bundle acdc_logbarrier
on the same scribbles. ``--tune`` trains on folds 3 to 5 and scores fold 2: what the weights were chosen by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grid import fold_settings, grid_parser, out_folder, run_bundle, run_grid, scored_fold, show

CPU = ("cpu.yaml",)
Arms = Mapping[str, tuple[tuple[str, ...], dict[str, object]]]
SEC: Arms = {
    "S": (CPU, {"mode": "seed"}),
    "S+E": (CPU, {"mode": "seed_expand"}),
    "S+E+C": (CPU, {"mode": "seed_expand_constrain"}),
}
BESIDE: Arms = {
    "partial": (CPU, {"mode": "partial"}),
    "logbarrier": (CPU, {"mode": "logbarrier"}),
}
BUNDLES = {"acdc_sec": SEC, "acdc_logbarrier": BESIDE}
EXPAND, ALL = {"mode": "seed_expand"}, {"mode": "seed_expand_constrain"}
TUNE: Arms = {
    "S+E_w0.1_published_decay": (CPU, {**EXPAND, "expand_weight": 0.1, "expansion_loss#present": 0.996}),
    **{f"S+E_w{w}": (CPU, {**EXPAND, "expand_weight": w}) for w in (0.03, 0.1)},
    **{f"S+E+C_w{w}": (CPU, {**ALL, "constrain_weight": w}) for w in (0.1, 1.0)},
}


def with_crf(
    arms: Arms, seeds: Sequence[int], common: Mapping[str, object], out: Path, jobs: int, settings: Mapping[str, object]
) -> dict[str, list[dict]]:
    """Evaluate the networks of a grid once more, with the CRF; their scores lie in folders ``<run>_crf``."""

    def score(name: str, overlays: Sequence[str], overrides: Mapping[str, object], seed: int) -> dict:
        run = (out / f"{name}_s{seed}").resolve()
        folder = run.with_name(f"{run.name}_crf")
        if not (folder / "metrics_summary.json").is_file():
            chosen = {**common, **overrides, "seed": seed, "output_dir": folder, "ckpt_path": run / "model.pt"}
            run_bundle(name, "evaluating", overlays, {**chosen, "crf": True, **settings}, 1, "acdc_sec")
        return json.loads((folder / "metrics_summary.json").read_text()) | {"run": {"fold": scored_fold(common)}}

    with ThreadPoolExecutor(jobs) as pool:
        tasks = {name: [pool.submit(score, name, *arm, seed) for seed in seeds] for name, arm in arms.items()}
        return {f"{name} + CRF": [task.result() for task in each] for name, each in tasks.items()}


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--no-crf", action="store_true", help="leave out the evaluation with the CRF")
    parser.add_argument("--crf", default="{}", help="settings of that evaluation, as JSON")
    options = parser.parse_args()
    common, out = fold_settings(options), out_folder(options, "acdc_sec")
    results: dict[str, list[dict]] = {}
    for bundle, arms in BUNDLES.items():
        every = {**arms, **(TUNE if options.tune and bundle == "acdc_sec" else {})}
        chosen = {name: arm for name, arm in every.items() if options.arms is None or name in options.arms}
        results |= run_grid(chosen, options.seeds, common, out, options.jobs, bundle=bundle)
        if bundle == "acdc_sec" and not options.no_crf:
            results |= with_crf(chosen, options.seeds, common, out, options.jobs, json.loads(options.crf))
    show(results, options.csv or out / "results.csv")


if __name__ == "__main__":
    main()
