# SPDX-License-Identifier: Apache-2.0
"""Boxes on real ACDC volumes: tightness, size and emptiness; without tightness; boxes taken for the organs.

    python benchmarks/acdc_box.py --data data/ACDC --split benchmarks/splits/acdc40.json

Boxes are the bounding boxes of each class in each slice, as `weaken --strategy box` writes them. Trains on folds 2 to 5
and scores fold 1 (last weights) with the network and budget of the overlay cpu.yaml. ``--tune`` trains on folds 3 to 5
and scores fold 2: what the weights were chosen by.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from grid import ROOT, fold_settings, grid_parser, out_folder, run_grid, table

BOX = ("box.yaml", "cpu.yaml")
TERMS = ("tightness", "size", "outside")


def weights(penalty: str, **terms: float) -> dict[str, object]:
    """Overrides that set weights of a penalty."""
    return {"box_penalty": penalty, **{f"box_weights#{penalty}#{term}": value for term, value in terms.items()}}


ARMS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "box": (BOX, {}),
    "box_without_tightness": (BOX, weights("logbarrier", tightness=0)),
    "filled_boxes": (BOX, {"mode": "partial", "box_filled": True}),
}
TRIED = {
    "logbarrier": ((0.01, 0.01, 0.01), (0.01, 0.1, 0.01), (0.1, 0.1, 0.1), (0.01, 0.3, 0.03), (0.003, 0.03, 0.003)),
    "quadratic": ((0.3, 3.0, 1.0), (1.0, 10.0, 1.0), (0.3, 0.3, 0.3)),
}
TUNE: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    f"{penalty}_{'_'.join(map(str, each))}": (BOX, weights(penalty, **dict(zip(TERMS, each, strict=True))))
    for penalty, tried in TRIED.items()
    for each in tried
}


def make_boxes(data: Path, out: Path) -> None:
    """One box a class and slice."""
    if not (out / "dataset.json").exists():
        weaken = [sys.executable, "-m", "wss_monai", "weaken", "--strategy", "box"]
        subprocess.run([*weaken, "--data", str(data), "--out", str(out)], check=True, cwd=ROOT)


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--boxes", type=Path, default=Path("runs/acdc_boxes"), help="where the boxes go, or are")
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    options = parser.parse_args()
    boxes = options.boxes.resolve()
    make_boxes(options.data.resolve(), boxes)
    arms = {**ARMS, **TUNE} if options.tune else ARMS
    common, out = {**fold_settings(options), "dataset_dir": boxes}, out_folder(options, "acdc_box")
    chosen = {name: arms[name] for name in options.arms or (TUNE if options.tune else ARMS)}
    print(table(run_grid(chosen, options.seeds, common, out, options.jobs)))


if __name__ == "__main__":
    main()
