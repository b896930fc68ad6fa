# SPDX-License-Identifier: Apache-2.0
"""Coverage and width of estimated bounds for several numbers of dense patients, over seeds, on real ACDC volumes.

    python benchmarks/coverage.py --data data/ACDC --split benchmarks/splits/acdc40.json

Bounds are fitted as ``python -m wss_monai bounds --fit`` does, on k training patients (folds 2 to 5) drawn by the seed:
from scribbles, and from position and tags alone, which is all that points give. Checked on the k patients themselves,
each left out in turn, on the training patients that were not drawn, and on the test fold.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from wss_monai.data import draw_dense, load_cases
from wss_monai.estimation import audit_bounds, fit_bounds, measure_cases

CONSTANT = {
    "size": {name: [10, 6000] for name in ("RV", "Myo", "LV")},  # mm2
    "volume": {"RV": [20, 400], "Myo": [30, 400], "LV": [20, 400]},  # ml
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    parser.add_argument("--fold", default="fold1")
    parser.add_argument("--dense", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--terms", nargs="+", default=["size", "volume", "centroid", "extent"])
    parser.add_argument("--level", type=float, default=0.9)
    options = parser.parse_args()
    split = load_cases(options.data, split=options.split, fold=options.fold, validation=0)
    names, axis = split.class_names, split.dataset.slice_axis
    print("| term | cues | k | class | left out in turn | training, not drawn | test fold | width |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in ("scribble", "position"):
        forced = kind if kind == "position" else None
        measured = {
            part: measure_cases(getattr(split, part), len(names), axis, forced) for part in ("training", "test")
        }
        for term in options.terms:
            for k in options.dense:
                rows: dict[str, list[list[float]]] = {name: [] for name in names[1:]}
                for seed in options.seeds:
                    chosen = draw_dense(split.training, k, seed)
                    drawn = [case for case in measured["training"] if case.patient in chosen]
                    rest = [case for case in measured["training"] if case.patient not in chosen]
                    fitted = fit_bounds(drawn, names, [term], options.level, CONSTANT)
                    others = [audit_bounds(fitted, cases, names)[term] for cases in (rest, measured["test"])]
                    for name in names[1:]:
                        own = _row(fitted[term]["check"], name, kind)
                        elsewhere = [_row(table, name, kind) for table in others]
                        width = own.get("width_ratio", own.get("width_mm", 0.0))
                        rows[name].append([own["coverage"], *(row["coverage"] for row in elsewhere), width])
                for name, values in rows.items():
                    cells = [_cell(column) for column in zip(*values, strict=True)]
                    unit = "x" if term in CONSTANT else " mm"
                    print(f"| {term} | {kind} | {k} | {name} | " + " | ".join(cells) + f"{unit} |", flush=True)


def _row(table: list[dict], name: str, kind: str) -> dict:
    return next(row for row in table if row["class"] == name and row["cues"] == kind)


def _cell(values: tuple[float, ...]) -> str:
    """Mean over the seeds, and the least and the largest."""
    digits = 1 if max(values) > 1 else 2
    return f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
