# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai plan DATA`: the settings of a first training on a data set, each with its reason.

Reads every file as `check` does, and chooses: slices or volumes, voxel size, crop, mode, classes, how long.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wss_monai.data import Dataset

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `plan`."""
    parser = subparsers.add_parser("plan", help="write the settings of a first training", description=__doc__)
    add = parser.add_argument
    add("data", metavar="DATA", help="folder with a dataset.json")
    add("--out", type=Path, metavar="YAML", help="file to write (default: print it)")
    add("--run", dest="run_folder", metavar="FOLDER", help="of the run to come (default: runs/ and the name of DATA)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="cpu: small network, 4000 iterations; cuda: the whole one, 40000; auto: as this machine has")  # fmt: skip
    add("--dims", type=int, choices=(2, 3), help="slices or volumes (default: by the thickness of the slices)")
    add("--overwrite", action="store_true", help="write over a file that was changed by hand since")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the data set, write or print the settings.

    Raises:
        FileNotFoundError: there is no such data set.
        ValueError: `check` finds errors in it, or no bundle of one's own data fits it; the file is there already.
    """
    from tqdm import tqdm

    from wss_monai.data import read_dataset
    from wss_monai.data.checks.dataset import check_dataset
    from wss_monai.io.atomic_files import check_replaceable, write_text
    from wss_monai.planning import make_plan, plan_text, read_facts
    from wss_monai.planning.text import HEAD, commands, count_of

    check_replaceable(args.out, "--out", (HEAD.encode(),))
    if args.out is not None and args.out.is_file() and not args.overwrite:
        raise ValueError(f"--out: '{args.out}' is there already; pass --overwrite to replace it")

    def bar(cases: Iterable[Any], total: int | None = None) -> Iterable[Any]:
        return tqdm(cases, total=total, desc="plan", unit="case", leave=False, disable=None)

    found = check_dataset(args.data, progress=bar)
    if count := found.count("error"):
        raise ValueError(f"{found.file} has {count} errors; `wss-monai check {args.data}` says what to do about them")
    dataset = read_dataset(args.data)
    facts = read_facts(dataset, bar)
    name = re.sub(r"\W+", "_", dataset.root.resolve().name).strip("_").lower() or "mine"
    small = args.device == "cpu" or (args.device == "auto" and not _cuda())
    plan = make_plan(facts, str(args.data), args.run_folder or f"runs/{name}", small, _dense(dataset), args.dims)
    warnings = found.count("warning")
    counts = (count_of(found.cases, "case"), count_of(found.patients, "patient"))
    said = f"from {counts[0]} of {counts[1]} in {args.data}"
    shown = "settings.yaml" if args.out is None else args.out.as_posix()
    text = plan_text(plan, shown, said)
    if args.out is None:
        print(text, end="")
        return 0
    write_text(args.out, text)
    print(f"written: {args.out}, {said}" + (f"; {warnings} warnings of `wss-monai check`" if warnings else ""))
    there = Path("bundles", plan.bundle).is_dir()
    copy = [] if there else [f"wss-monai bundles copy {plan.bundle}"]
    print("Read it; then:", *copy, *commands(plan, shown), sep="\n  ")
    return 0


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _dense(dataset: Dataset) -> list[str]:
    """Training patients of the default split whose every case has a dense label; five at most, drawn as the runs do."""
    from wss_monai.data import draw_dense, load_cases

    try:
        training = load_cases(dataset.root, validation=0).training
        whole = {case["patient"] for case in training} - {c["patient"] for c in training if c["label"] is None}
        return draw_dense(training, min(5, len(whole)), 0)
    except ValueError:  # too few patients to split
        return []
