# SPDX-License-Identifier: Apache-2.0
"""Boxes on real ACDC volumes: tightness, size and emptiness; without tightness; boxes taken for the organs.

    python benchmarks/acdc_box.py --data data/ACDC --split benchmarks/splits/acdc40.json

Boxes are the bounding boxes of each class in each slice, as `weaken --strategy box` writes them. Trains on folds 2 to 5
and scores fold 1 (last weights) with the network and budget of the overlay cpu.yaml. ``--tune`` trains on folds 3 to 5
and scores fold 2: what the weights were chosen by.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from grid import ROOT, run_grid, table

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"), help="with dense labels")
    parser.add_argument("--boxes", type=Path, default=Path("runs/acdc_boxes"), help="where the boxes go, or are")
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--tune", action="store_true", help="train on folds 3 to 5, score fold 2")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    boxes = options.boxes.resolve()
    make_boxes(options.data.resolve(), boxes)
    arms = {**ARMS, **TUNE} if options.tune else ARMS
    common: dict[str, object] = {"dataset_dir": boxes, "split": options.split.resolve(), "fold": "fold1"}
    common |= {"validation": "fold2" if options.tune else 0, "evaluate_on": "validation" if options.tune else "test"}
    if options.epochs:
        common["train#trainer#max_epochs"] = options.epochs
    out = options.out or Path("runs") / ("acdc_box_tune" if options.tune else "acdc_box")
    chosen = {name: arms[name] for name in options.arms or (TUNE if options.tune else ARMS)}
    print(table(run_grid(chosen, options.seeds, common, out, options.jobs)))


if __name__ == "__main__":
    main()
