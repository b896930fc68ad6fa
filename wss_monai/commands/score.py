# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai score`: score saved predictions, whoever made them, as the evaluation of a bundle does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wss_monai.commands.kinds import told_failures
from wss_monai.commands.words import class_names

if TYPE_CHECKING:
    from wss_monai.evaluation import ScoredVolume, VolumeScorer
    from wss_monai.transforms import LoadCased

    Job = partial[ScoredVolume | str]

__all__ = ["add_parser", "run"]

SHOWN = 5
"""Names that a message lists."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `score`."""
    parser = subparsers.add_parser("score", help="score saved predictions", description=__doc__)
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="volumes of class indices on the images' grids, named after the case or the image, with or without _seg",
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="data set with a dataset.json and dense labels")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the scores go (default: FOLDER/scores)")
    parser.add_argument("--class-names", help="classes in the order of the indices, background first (JSON list)")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processes that score, one thread each (default: 1)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write metrics_summary.json and evaluation/ with the scores of all cases that have a prediction.

    Cases that cannot be scored are named at the end, and make the exit code 1.

    Raises:
        FileNotFoundError: no such folder or data set.
        ValueError: predictions that belong to no case, two that belong to one, or none; a prediction off the image's
            grid or with values that are no class indices; fewer than one process.
        OSError: also a process that the system ended.
    """
    from tqdm import tqdm

    from wss_monai.data.datalist import list_cases
    from wss_monai.data.schema import read_dataset
    from wss_monai.handlers import VolumeScores
    from wss_monai.io.folder_lock import taken
    from wss_monai.io.run_folder import PREDICTIONS, RECORD
    from wss_monai.transforms import LoadCased

    if args.processes < 1:
        raise ValueError(f"--processes must be 1 or more, got {args.processes}")
    out: Path = args.out or args.predictions / "scores"
    if (out / PREDICTIONS).resolve() == args.predictions.resolve():
        raise ValueError(f"--out {out} holds the evaluation that made these predictions: choose another folder")
    if args.out is not None and (args.out / RECORD).is_file():
        raise ValueError(f"--out {out} is the folder of a run, whose own scores would go: choose another folder")
    dataset = read_dataset(args.data)
    cases = list_cases(dataset, class_names(args.class_names))
    files = find_predictions(args.predictions, cases)
    chosen = [case for case in cases if case["case"] in files]
    names = class_names(args.class_names) or dataset.class_names
    scores = VolumeScores(out, chosen, names, slice_axis=dataset.slice_axis)
    scores.start()
    job = partial(_score, load=LoadCased(["image", "label", "weak_label"]), scorer=scores.scorer)
    tasks = [(case, files[case["case"]]) for case in chosen]
    with taken(out, "scores"), _results(job, tasks, min(args.processes, len(tasks))) as results:
        told = tqdm(results, desc="score", total=len(tasks), leave=False, disable=None)
        for case, found in zip(chosen, told, strict=True):
            if isinstance(found, str):
                scores.failed[case["case"]] = found
            else:
                scores.add(found)
        if len(scores.failed) == len(chosen):
            raise ValueError(next(iter(scores.failed.values())))
        scores.write()
    if left := len(cases) - len(chosen):
        print(f"{left} cases of {dataset.path} have no prediction in {args.predictions}")
    return told_failures(scores.failed, f"no scores of it in {out}")


def _score(task: tuple[dict[Any, Any], Path], load: LoadCased, scorer: VolumeScorer) -> ScoredVolume | str:
    """Score the prediction of one case; where it cannot be scored, say why."""
    from wss_monai.bundle.case_errors import reason_of

    try:
        return _scored(task, load, scorer)
    except (ValueError, FileNotFoundError, EOFError, MemoryError) as error:
        if (reason := reason_of(error)) is None:
            raise
        return reason


def _scored(task: tuple[dict[Any, Any], Path], load: LoadCased, scorer: VolumeScorer) -> ScoredVolume:
    from wss_monai.io.labels import read_label

    case, path = task
    item, image = load(case), case["image"]
    values = {k: k for k in range(len(scorer.class_names))}
    prediction = read_label(path, item["image"], values, image_path=image if isinstance(image, str) else image[0])
    return scorer(case, item, prediction)


@contextmanager
def _results(
    job: partial[ScoredVolume | str], tasks: Sequence[Any], processes: int
) -> Iterator[Iterator[ScoredVolume | str]]:
    """Give what the job makes of the tasks, in their order; new processes, since torch does not survive a fork."""
    if processes == 1:
        yield map(job, tasks)
        return
    import torch

    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map(job, tasks)
    except BrokenProcessPool as error:
        raise OSError(
            "a process of the scoring was ended, perhaps for want of memory: use fewer --processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def find_predictions(folder: Path, cases: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Find the prediction of each case by its name: that of the case or of its first image, with or without `_seg`.

    Returns:
        Case -> file, for the cases that have one.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: files that belong to no case or to several, several files of a case, or no file at all.
    """
    from wss_monai.io.volumes import SUFFIXES, without_suffix

    if not folder.is_dir():
        raise FileNotFoundError(f"--predictions: there is no folder '{folder}'")
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.lower().endswith(SUFFIXES))
    if not files:
        raise ValueError(f"--predictions: no volume in '{folder}' (looked for {', '.join(SUFFIXES)})")
    owners: dict[str, set[str]] = {}
    for case in cases:
        image = case["image"] if isinstance(case["image"], str) else case["image"][0]
        for name in (case["case"], without_suffix(Path(image).name)):
            owners.setdefault(name, set()).add(case["case"])
    found: dict[str, Path] = {}
    strange = []
    for file in files:
        name = without_suffix(file.name)
        owner = owners.get(name) or owners.get(name.removesuffix("_seg")) or set()
        if len(owner) != 1:
            strange.append(file.name)
            continue
        (case_name,) = owner
        if case_name in found:
            raise ValueError(f"--predictions: '{found[case_name].name}' and '{file.name}' are both of '{case_name}'")
        found[case_name] = file
    if strange:
        some = f"{strange[:SHOWN]}{' and more' if len(strange) > SHOWN else ''}"
        raise ValueError(
            f"--predictions: {some} in '{folder}' belong to no single case of the data set, whose cases are "
            f"{[case['case'] for case in cases[:SHOWN]]} ...: name each file after its case"
        )
    return found
