# SPDX-License-Identifier: Apache-2.0
"""Real hippocampus volumes in 3D: train on folds 2 to 5, test on fold 1 (last weights), four modes, on the CPU.

    python -m wss_monai weaken --data data/HIPPOCAMPUS --strategy points --slice-axis none --background \\
        --option number=3 --option radius=1 --out data/HIPPOCAMPUS_POINTS
    python benchmarks/hippocampus.py --data data/HIPPOCAMPUS_POINTS --split benchmarks/splits/hippocampus40.json

The overlay cpu.yaml's network and budget. ``--tune`` trains on folds 3 to 5 and scores fold 2: what weights were
chosen by.
"""

from __future__ import annotations

import time

from grid import fold_settings, grid_parser, out_folder, run_grid, table

CPU = ("cpu.yaml",)
MODES = ("full", "partial", "quadratic", "logbarrier")
ARMS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {mode: (CPU, {"mode": mode}) for mode in MODES}
TUNE: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    f"{mode}_w{weight}": (CPU, {"mode": mode, f"size_weight#{mode}": weight})
    for mode, weights in {"quadratic": (1.0, 3.0, 10.0), "logbarrier": (0.03,)}.items()
    for weight in weights
}


def main() -> None:
    parser = grid_parser(__doc__, "data/HIPPOCAMPUS_POINTS", "hippocampus40.json")
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    options = parser.parse_args()
    arms = {**ARMS, **TUNE} if options.tune else ARMS
    chosen = options.arms or list(arms)
    common, out = fold_settings(options), out_folder(options, "hippocampus")
    started = time.perf_counter()
    results = run_grid(
        {name: arms[name] for name in chosen},
        options.seeds,
        common,
        out,
        options.jobs,
        bundle="hippocampus_logbarrier",
    )
    print(table(results))
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes, {options.jobs} runs at a time, one thread each")


if __name__ == "__main__":
    main()
