# SPDX-License-Identifier: Apache-2.0
"""How often bounds hold that slices without tags get from a few labelled patients, over draws, on real ACDC volumes.

    python benchmarks/coverage_without_tags.py --data data/ACDC --split benchmarks/splits/acdc40.json

Each draw fits on k of the patients in folds 3 to 5, drawn plainly, and audits on the others of them; the folds that
results are scored on (1) and chosen by (2) are left out. The factor of the bounds was chosen on these patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wss_monai.data import load_cases
from wss_monai.estimation import audit_profiles, fit_bounds, measure_cases

COLUMNS = ("coverage", "upper", "lower_share", "lower", "upper_over_true", "true_over_lower")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    parser.add_argument("--labelled", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--draws", type=int, default=40)
    options = parser.parse_args()
    split = load_cases(options.data, split=options.split, fold="fold1", validation="fold2")
    names = split.class_names
    measured = measure_cases(split.training, len(names), split.dataset.slice_axis, "position")
    patients = split.patients["training"]
    print("| k | class | inside | below upper | with lower side | of these above | upper / true | true / lower |")
    print("|---|---|---|---|---|---|---|---|")
    for k in options.labelled:
        R = np.random.RandomState(k)
        rows: dict[str, list[list[float]]] = {name: [] for name in names[1:]}
        for _ in range(options.draws):
            chosen = set(R.choice(patients, k, replace=False))
            fitted = fit_bounds([case for case in measured if case.patient in chosen], names)["size"]["classes"]
            for row in audit_profiles(fitted, [case for case in measured if case.patient not in chosen], names):
                rows[row["class"]].append([np.nan if row[column] is None else row[column] for column in COLUMNS])
        for name, values in rows.items():
            mean, least = np.nanmean(values, 0), np.min([row[0] for row in values])
            shares = " | ".join(f"{value:.2f}" for value in mean[1:4])
            print(
                f"| {k} | {name} | {mean[0]:.2f} ({least:.2f}) | {shares} | {mean[4]:.1f} | {mean[5]:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
