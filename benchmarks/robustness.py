# SPDX-License-Identifier: Apache-2.0
"""Malformed and hostile inputs, counted: `make fuzz`, or `python benchmarks/robustness.py --parts json --count 500`.

The same seed gives the same inputs. Each runs in a process of its own; a fault is an uncaught error, exit code 0 where
something is wrong, a file that a failed command left, a changed input, or a refusal that does not say what is meant.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import os
import pkgutil
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("tests", "")]

from fuzz import archives, arguments, datasets, newest, runs, settings, volumes  # noqa: E402
from fuzz.ground import Ground  # noqa: E402
from fuzz.trial import BAD, Case, Verdict, judge  # noqa: E402

PARTS: dict[str, Callable[[Ground, random.Random], Iterator[Case]]] = {
    "json": datasets.cases,
    "split": datasets.splits,
    "nifti": volumes.nifti,
    "itk": volumes.itk,
    "archive": archives.cases,
    "pickle": archives.pickles,
    "bounds": runs.bounds,
    "report": runs.reports,
    "arguments": arguments.cases,
    "yaml": settings.files,
    "settings": settings.words,
    "newest": newest.cases,
}
COUNT = 400
"""Inputs a part, where it does not end before."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, print the faults and a table; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: all)")
    parser.add_argument("--count", type=int, default=COUNT, help="inputs a part (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of what is drawn (default: %(default)s)")
    args = parser.parse_args(argv)
    load_everything()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        rows = [run_part(part, Path(folder), args.count, args.seed) for part in args.parts]
    head = ["part", "inputs", *BAD, "minutes"]
    print("\n" + "\n".join("".join(f"{cell:>11}" for cell in row) for row in [head, *rows]))
    return int(any(cell for row in rows for cell in row[2:-1]))


def load_everything() -> None:
    """Import the package once, so that no trial has to; but for what needs packages that are not installed."""
    import wss_monai

    for module in pkgutil.walk_packages(wss_monai.__path__, "wss_monai."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def run_part(part: str, folder: Path, count: int, seed: int) -> list[str | int]:
    """Run a part; its row of the table."""
    started, counts, done = time.perf_counter(), Counter[str](), 0
    for verdict in verdicts(part, folder / part, count, seed):
        done += 1
        counts.update(verdict.faults)
        if verdict.faults:
            print(f"{','.join(verdict.faults):<10} {verdict.name[:120]!r}  {verdict.text}", flush=True)
    return [part, done, *(counts[name] for name in BAD), f"{(time.perf_counter() - started) / 60:.1f}"]


def verdicts(part: str, folder: Path, count: int, seed: int) -> Iterator[Verdict]:
    """Judge the first inputs of a part, in a folder that is made."""
    from tiny import make_dataset

    folder.mkdir(parents=True)
    ground = Ground(folder / "work", make_dataset(folder / "sound", 4))
    ground.folder.mkdir()
    for case in itertools.islice(PARTS[part](ground, random.Random(f"{part} {seed}")), count):
        yield judge(case, folder)


if __name__ == "__main__":
    sys.exit(main())
