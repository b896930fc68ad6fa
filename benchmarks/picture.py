# SPDX-License-Identifier: Apache-2.0
"""The README's picture: the median test case of the demo's two runs (generated hearts).

make demo && make docs/images/demo.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.report.ranking import chosen_cases
from wss_monai.report.run_folder import read_runs
from wss_monai.report.run_panels import run_panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=Path, nargs="+", default=[Path("runs/demo/partial"), Path("runs/demo/logbarrier")]
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo.png"))
    options = parser.parse_args()
    runs = read_runs(options.runs)
    _, chosen = chosen_cases(runs, 3)
    case = next(case for rank, case, _ in chosen if rank.lower() == "median")
    entries = [next(entry for entry in run.files if entry["case"] == case) for run in runs]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    panel = run_panel(runs, entries)
    panel.thumbnail((1200, 1200))
    panel.save(options.out, optimize=True)
    print(f"{options.out}: case {case}")


if __name__ == "__main__":
    main()
