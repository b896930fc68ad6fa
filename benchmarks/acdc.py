# SPDX-License-Identifier: Apache-2.0
"""Real ACDC volumes: train on folds 2 to 5, test on fold 1 (last weights), several arms and seeds, on the CPU.

    python benchmarks/acdc.py --data data/ACDC --split benchmarks/splits/acdc40.json

The overlay cpu.yaml's network and budget. ``--tune`` trains on folds 3 to 5 and scores fold 2: what weights were
chosen by.
"""

from __future__ import annotations

from grid import fold_settings, grid_parser, out_folder, run_grid, table

CPU = ("cpu.yaml",)
DICE_CE = {"partial_loss#_target_": "wss_monai.losses.PartialDiceCELoss"}
ARMS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "full": (CPU, {"mode": "full"}),
    "partial": (CPU, {"mode": "partial"}),
    "partial_dice_ce": (CPU, {"mode": "partial", **DICE_CE}),
    "quadratic": (CPU, {"mode": "quadratic"}),
    "logbarrier": (CPU, {"mode": "logbarrier"}),
    "logbarrier_tags": (CPU, {"mode": "logbarrier", "bounds_from": "tag"}),
    "logbarrier_volume": ((*CPU, "volume_bounds.yaml"), {"mode": "logbarrier"}),
    "logbarrier_oracle": (CPU, {"mode": "logbarrier", "bounds_from": "oracle"}),
}
TUNE: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    f"{mode}_w{weight}": (CPU, {"mode": mode, f"size_weight#{mode}": weight})
    for mode, weights in {"quadratic": (0.1, 0.3, 1.0), "logbarrier": (0.001, 0.003, 0.01, 0.03, 0.1)}.items()
    for weight in weights
}


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    options = parser.parse_args()
    arms = {**ARMS, **TUNE} if options.tune else ARMS
    chosen = options.arms or list(TUNE if options.tune else ARMS)
    common, out = fold_settings(options), out_folder(options, "acdc")
    print(table(run_grid({name: arms[name] for name in chosen}, options.seeds, common, out, options.jobs)))


if __name__ == "__main__":
    main()
