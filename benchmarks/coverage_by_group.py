# SPDX-License-Identifier: Apache-2.0
"""Do bounds and sizes of the set that are estimated on four pathologies hold for the fifth? On real ACDC, no training.

    python benchmarks/coverage_by_group.py --data data/ACDC --csv coverage_by_group.csv

For each group: bounds of sizes in slices and volumes, as `python -m wss_monai bounds --fit` fits them, on k patients of
the other groups (drawn by the seed, stratified by group), checked on all patients of the group, and on those of the
other groups that were not drawn. The expected sum over the true one says how wrong a size of the set is. Healthy
adults' sizes (`stated`), which nothing is fitted for, beside them. All patients of the split file, whatever their fold:
nothing is trained and nothing chosen.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import NORMAL
from grid import number, write_rows

from wss_monai.data import draw_dense, load_cases
from wss_monai.estimation import CaseMeasures, audit_bounds, fit_bounds, measure_cases

TERMS = {"scribble": ("size", "volume"), "position": ("size",)}
"""What the weak labels show -> terms. Volumes of a set from position alone: sums of areas say the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    parser.add_argument("--dense", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--csv", type=Path, default=None, help="a row a group, class, kind of cue, term and seed")
    options = parser.parse_args()
    split = load_cases(options.data, split=options.split, fold="all")
    names, axis = split.class_names, split.dataset.slice_axis
    phases = {case["case"]: case["phase"] for case in split.training}
    groups = {case["patient"]: case["group"] for case in split.training}
    rows: list[dict[str, object]] = []
    for kind, terms in TERMS.items():
        measured = measure_cases(split.training, len(names), axis, kind if kind == "position" else None)
        for group in sorted(set(groups.values())):
            own = [case for case in measured if groups[case.patient] == group]
            for seed in options.seeds:
                others = [case for case in split.training if case["group"] != group]
                chosen = draw_dense(others, options.dense, seed)
                fitted = fit_bounds([case for case in measured if case.patient in chosen], names, terms)
                rest = [case for case in measured if groups[case.patient] != group and case.patient not in chosen]
                audits = [audit_bounds(fitted, cases, names) for cases in (own, rest)]
                for term in terms:
                    for here, there in zip(*(audit[term] for audit in audits), strict=True):
                        row = {"arm": f"{group} {here['class']} {kind} {term}", "group": group, "class": here["class"]}
                        row |= {"cues": kind, "term": term, "k": options.dense, "seed": seed}
                        row |= {"coverage": here["coverage"], "coverage_elsewhere": there["coverage"]}
                        row |= {"width": here["width_ratio"], "sum_ratio": here["sum_ratio"]}
                        row |= {"sum_ratio_elsewhere": there["sum_ratio"]}
                        row["stated_ratio"] = stated_ratio(own, phases, here["class"], names)
                        rows.append({key: number(v) if isinstance(v, float) else v for key, v in row.items()})
    print(table(rows))
    if options.csv:
        write_rows(rows, options.csv)


def stated_ratio(cases: Sequence[CaseMeasures], phases: Mapping[str, str], name: str, names: Sequence[str]) -> float:
    """Volumes of healthy adults over the true ones, summed over cases."""
    k = list(names).index(name)
    return sum(NORMAL[phases[case.case]][name] for case in cases) / sum(float(case.volume[k]) for case in cases)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over the seeds, the least and the largest in brackets."""
    shown = ("coverage", "coverage_elsewhere", "width", "sum_ratio", "sum_ratio_elsewhere", "stated_ratio")
    lines = ["| group | class | cues | term | " + " | ".join(shown) + " |", "|" + "---|" * (4 + len(shown))]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        cells = [str(own[0][key]) for key in ("group", "class", "cues", "term")]
        for key in shown:
            values = [float(str(row[key])) for row in own]
            mean = f"{statistics.fmean(values):.2f}"
            cells.append(mean if key == "stated_ratio" else f"{mean} ({min(values):.2f} to {max(values):.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
