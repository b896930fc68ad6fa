# SPDX-License-Identifier: Apache-2.0
"""Run the arms of an experiment under a published protocol (benchmarks/protocols.py).

    python benchmarks/run.py acdc --protocol wsl4mis --release acdc.zip --scribbles scribbles --dry-run

It takes the place of the CPU's small network and of our folds. ``--dry-run`` prints what would be run. The budgets are
for a GPU; ``--iterations`` and ``--side`` cut them, ``--subset`` takes those patients of the lists whom a smaller data
set has: for trying, nothing that they give can be compared.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import BOUNDS, Arms, Experiment
from grid import command, run_grid, table, write_csv
from medpy_hd95 import COLUMN, score_medpy
from protocols import PROTOCOLS, SPLITS, Protocol, Settings
from scores import LARGEST, score
from wsl4mis import prepare_wsl4mis, volumes_of

from wss_monai.data import read_dataset
from wss_monai.data.releases.acdc import prepare_acdc
from wss_monai.data.splits import SplitFile, read_split_file
from wss_monai.io.atomic_files import replacing

Arm = tuple[tuple[str, ...], dict[str, object]]
SAME_IMAGES = {"patient074", "patient076"}
"""One patient's images, annotated twice; `prepare acdc` keeps them once. In all these splits both are on one side."""


@dataclass(frozen=True)
class Part:
    """A part of a protocol, ready to run: arms with settings, settings of all, and the folder of its runs."""

    name: str
    arms: Arms
    common: dict[str, object]
    out: Path


def add_protocol_options(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The options of a run under a protocol, for experiments with the scribbles of ACDC; the others have none."""
    parser.set_defaults(protocol=None)
    if experiment.bundle != "acdc_logbarrier" or experiment.data != "data/ACDC":
        return
    about = "; ".join(f"{name}: {protocol.about}" for name, protocol in PROTOCOLS.items())
    add = parser.add_argument_group("published protocols").add_argument
    add("--protocol", choices=PROTOCOLS, default=None, help=about)
    add("--parts", nargs="+", default=None, help="some of its folds or numbers of patients (default: all)")
    release = "the official ACDC release, or WSL4MIS' HDF5 files: converted to --data, unless that is there"
    add("--release", type=Path, default=None, help=release)
    add("--scribbles", type=Path, default=None, help="of an official release: folder or archive of NIfTI files")
    add("--iterations", type=int, default=None, help="instead of the protocol's")
    add("--side", type=int, default=None, help="pixels of a slice's side, instead of the protocol's")
    add("--subset", action="store_true", help="take those patients of the lists whom the data set has")
    add("--dry-run", action="store_true", help="print what would be run")


def from_hdf5(release: Path) -> bool:
    """Whether a release is WSL4MIS' folder of HDF5 files, and not the official one."""
    return release.is_dir() and bool(volumes_of(release))


def prepare(options: argparse.Namespace) -> None:
    """Convert the release, unless the data set is there.

    Raises:
        FileNotFoundError: there is neither a data set nor a release.
        ValueError: as the conversion says.
    """
    if (options.data / "dataset.json").is_file():
        return
    if options.release is None:
        raise FileNotFoundError(f"--data: '{options.data}' has no dataset.json; give --release as well")
    if from_hdf5(options.release):
        done = prepare_wsl4mis(options.release, options.data)
    else:
        done = prepare_acdc(options.release, options.data, scribbles=options.scribbles)
    for who, what in done.notes:
        print(f"{who}: {what}", file=sys.stderr)


def resolved_split(file: Path, data: Path, subset: bool, out: Path) -> tuple[Path, str]:
    """The split file to use with a data set, and what was changed; the file itself where nothing is.

    The twin of a patient who was kept once is left out; ``subset`` leaves out whoever is not there.

    Raises:
        ValueError: others of the lists are not there, or a part of them has no patient left.
    """
    lists = read_split_file(file)
    dataset = read_dataset(data)
    there = {case["patient"] for case in (*dataset.training, *dataset.test)}
    missing = sorted({patient for ids in lists_of(lists).values() for patient in ids} - there)
    if not missing:
        return file, ""
    if not subset and not (len(missing) == 1 and set(missing) <= SAME_IMAGES):
        raise ValueError(
            f"'{data}' lacks {len(missing)} patients of {file}: {', '.join(missing[:5])} ...; prepare the whole "
            "release, or try with those that are there by --subset"
        )
    kept = {name: [patient for patient in ids if patient in there] for name, ids in lists_of(lists).items()}
    kept = {name: ids for name, ids in kept.items() if ids} if lists.folds else kept
    if empty := [name for name, ids in kept.items() if not ids]:
        raise ValueError(f"'{data}' has no patient of {file} for {', '.join(empty)}")
    content: dict[str, object] = {"test": kept} if lists.folds else dict(kept)
    if lists.labelled:
        content["labelled"] = {
            name if len(ids) == len(of) else f"{name}_of_these": of
            for name, ids in lists.labelled.items()
            if (of := [patient for patient in ids if patient in there])
        }
    target = out / "split.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return target, f"without {len(missing)} patients who are not in the data set"


def lists_of(file: SplitFile) -> dict[str, list[str]]:
    """The lists of a split file by the name of the fold or of the part."""
    return dict(file.folds or file.parts or {})


def chosen_parts(options: argparse.Namespace) -> dict[str, tuple[str, Settings]]:
    """The parts that were asked for.

    Raises:
        ValueError: there is no such part.
    """
    parts = PROTOCOLS[options.protocol].parts
    if unknown := sorted(set(options.parts or ()) - set(parts)):
        raise ValueError(f"--parts: {options.protocol} has no {', '.join(unknown)}; it has {', '.join(parts)}")
    return {name: parts[name] for name in options.parts or parts}


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """The settings of a protocol, cut as the options say."""
    settings = dict(PROTOCOLS[options.protocol].settings)
    if options.iterations:
        settings["iterations"] = options.iterations
    if options.side:
        settings |= {"crop": (square := [options.side, options.side, -1]), "field": square, "window": square[:2]}
    return settings


def parts_of(options: argparse.Namespace, arms: Arms, out: Path) -> list[Part]:
    """What is to run, part by part; with ``--dry-run`` without a look at the data."""
    found = []
    data = out / "weak" if PROTOCOLS[options.protocol].weaken else options.data.resolve()
    for name, (file, own) in chosen_parts(options).items():
        split = SPLITS / file
        if not options.dry_run:
            split, changed = resolved_split(split, data, options.subset, out / name)
            if changed:
                print(f"{name}: {file} {changed}", file=sys.stderr)
        common = {"dataset_dir": data, "split": split, **settings_of(options), **own}
        found.append(Part(name, arms, common, out / name))
    return found


def arm_under(protocol: Protocol, name: str, arm: Arm) -> Arm:
    """An arm of an experiment with the protocol's network and rate in the place of cpu.yaml."""
    overlays, settings = arm
    rate = {"learning_rate": protocol.rates[name]} if name in protocol.rates else {}
    return (*protocol.overlays, *(file for file in overlays if file != "cpu.yaml")), {**rate, **settings}


def arms_under(options: argparse.Namespace, experiment: Experiment) -> Arms:
    """The arms that were asked for, with the protocol's network and rates.

    Raises:
        ValueError: there is no such arm.
    """
    protocol = PROTOCOLS[options.protocol]
    arms = protocol.arms or {**experiment.arms, **(experiment.tried if options.tune else {})}
    if unknown := sorted(set(options.arms or ()) - set(arms)):
        raise ValueError(f"--arms: no {', '.join(unknown)}; there are {', '.join(arms)}")
    return {name: arm_under(protocol, name, arms[name]) for name in options.arms or arms}


def told(options: argparse.Namespace, parts: Iterable[Part]) -> str:
    """What would be run, in words and commands."""
    protocol = PROTOCOLS[options.protocol]
    lines = [f"{options.protocol}: {protocol.about}", f"source: {protocol.source}", f"metric: {protocol.metric}"]
    lines += [f"not as published: {text}" for text in protocol.differs]
    lines += [f"{key} = {value}" for key, value in settings_of(options).items()]
    if options.release is not None:
        kind = "HDF5 of WSL4MIS, no spacing: millimetres are voxels" if from_hdf5(options.release) else "prepare acdc"
        lines.append(f"convert {options.release} to {options.data} ({kind}), unless that is there")
    if protocol.weaken:
        lines.append(f"python -m wss_monai weaken {shlex.join(protocol.weaken)} --data {options.data} --out OUT/weak")
    for part in parts:
        lists = lists_of(read_split_file(SPLITS / protocol.parts[part.name][0]))
        lines += ["", f"{part.name}: " + ", ".join(f"{len(ids)} {name}" for name, ids in lists.items())]
        for name, (overlays, own) in part.arms.items():
            for seed in options.seeds:
                where = {"seed": seed, "output_dir": part.out / f"{name}_s{seed}"}
                settings = {**part.common, **own, **where}
                for run_id in ("training", "evaluating"):
                    lines.append(shlex.join(command(run_id, overlays, settings, protocol.bundle)))
    return "\n".join(lines)


def run_protocol(
    options: argparse.Namespace,
    experiment: Experiment,
    weaken: Callable[[Path, Sequence[str], Path], None],
    fit: Callable[[Sequence[str], Settings, int, Path], None],
) -> None:
    """Run the arms of an experiment under a protocol: a table a part, one of all, and a CSV file of all runs.

    Args:
        options: of the command line.
        experiment: whose arms.
        weaken: draws weak labels (data, words, where to).
        fit: fits bounds (words, settings of the part, seed, file).

    Raises:
        FileNotFoundError: there is neither a data set nor a release.
        ValueError: no such arm or part, or patients are missing.
    """
    protocol, also = PROTOCOLS[options.protocol], (*experiment.also, COLUMN)
    also = (*also, *(f"{name}_largest" for name in LARGEST)) if experiment.pieces else also
    out, arms = (options.out or Path("runs") / options.protocol).resolve(), arms_under(options, experiment)
    if options.dry_run:
        print(told(options, parts_of(options, arms, out)))
        return
    prepare(options)
    if protocol.weaken:
        weaken(options.data.resolve(), protocol.weaken, out / "weak")
    together: dict[str, list[dict]] = {}
    for part in parts_of(options, arms, out):
        file = part.out / "bounds" / "s{seed}.json"
        known = {
            name: (overlays, {key: str(file) if value == BOUNDS else value for key, value in settings.items()})
            for name, (overlays, settings) in part.arms.items()
        }
        for seed in options.seeds if any(str(file) in settings.values() for _, settings in known.values()) else ():
            fit(experiment.fit, {"validation": 0, **part.common}, seed, Path(str(file).format(seed=seed)))
        results = run_grid(known, options.seeds, part.common, part.out, options.jobs, bundle=protocol.bundle)
        for name, runs in results.items():
            for summary, seed in zip(runs, options.seeds, strict=True):
                folder = part.out / f"{name}_s{seed}"
                kept = score(folder) if experiment.pieces else {}
                summary |= {f"{key}_largest": value for key, value in kept.items() if key in LARGEST}
                summary |= {COLUMN: score_medpy(folder), "run": summary["run"] | {"fold": part.name}}
            together.setdefault(name, []).extend(runs)
        print(f"\n{options.protocol}, {part.name}\n\n{table(results, also)}")
    if protocol.folds:
        print(f"\n{options.protocol}, means of the folds\n\n{table(together, also)}")
    file = options.csv or out / "results.csv"
    write_csv(together, file, also, experiment.facts)
    print(f"a row a run: {file}", file=sys.stderr)
