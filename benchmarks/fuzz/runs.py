# SPDX-License-Identifier: Apache-2.0
"""Files that commands write and people edit: estimated bounds, and the folders of runs that reports read."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from fuzz.ground import TEXTS, Ground, damaged, mutated, write
from fuzz.trial import WRONG, Case, command

VERBS = {"browse": "html", "table": "md", "compare": "png", "curves": "png", "gif": "gif", "html": "html"}
JSONS = ("run.json", "metrics_summary.json", "evaluation/cases.json")
TABLES = ("metrics.csv", "evaluation/cases.csv", "evaluation/constraints.csv", "evaluation/slices.csv")
CELLS = ("", "nan", "inf", "-1", "1e300", "x", "=1+1", "0.5", "9" * 200_000, "\0")


def bounds(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """A file of estimated bounds with one place after the other changed at random."""
    place = ground.fresh("fitted")
    command("bounds", "--fit", ground.data, "--dense", "3", "--validation", "0", "--out", place / "good.json")()
    good = json.loads((place / "good.json").read_text())
    read = {key: good[key] for key in ("format", "bounds_origin", "class_names", "dense", "patients", "terms")}
    for text in TEXTS:
        yield _read(ground, f"{text[:20]!r}", write(ground.fresh() / "b.json", text))
    while True:
        told, content = mutated(read, draw)
        yield _read(ground, told, write(ground.fresh() / "b.json", content))


def _read(ground: Ground, name: str, path: Path) -> Case:
    """Bounds of a case by this file: intervals, or a refusal that names it."""

    def call() -> int:
        from wss_monai.data import load_cases
        from wss_monai.transforms import EstimatedBoundsd, LoadCased, WeakCuesd, WeakTagsd

        split = load_cases(ground.data, validation=0)
        try:
            bound = EstimatedBoundsd(file=path, class_names=split.class_names, unseen=[], unknown="position")
            case = LoadCased(["image", "weak_label"])(split.training[0])
            for step in (WeakTagsd(len(split.class_names)), WeakCuesd(len(split.class_names)), bound):
                case = step(case)
        except (ValueError, OSError) as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        found = case["bounds_size"]
        if bool(found.isnan().any()) or bool((found[..., 0] > found[..., 1]).any()):
            print("bounds that are none")
            return WRONG
        return 0

    return Case(f"bounds file: {name}", call, words=("b.json",), inputs=path)


def reports(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """A run folder with a file, an entry or a cell changed at random, and any verb of `report` on it."""
    good = trained(ground)
    while True:
        place = ground.fresh()
        run = place / "run"
        shutil.copytree(good, run)
        told = _spoil(run, draw)
        verb = draw.choices(list(VERBS), (6, 3, 3, 3, 3, 1))[0]
        out = place / f"o.{VERBS[verb]}"
        yield Case(f"report {verb}: {told}", command("report", verb, "--runs", run, "--out", out), "any", (), out, run)


def trained(ground: Ground) -> Path:
    """Train for an epoch and evaluate; the run's folder."""
    from tiny import run_workflow

    out = ground.folder / "good"
    for files in (("train.yaml", "cpu.yaml"), ("train.yaml", "cpu.yaml", "evaluate.yaml")):
        run_workflow(*files, folder=ground.data, out=out, **{"train#trainer#max_epochs": 1})
    for name in ("checkpoint.pt", "model.pt", "model_best.pt", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True) if (out / name).is_dir() else (out / name).unlink(missing_ok=True)
    return out


def _spoil(run: Path, draw: random.Random) -> str:
    """Change one file of a run."""
    kind = draw.random()
    if kind < 0.5:
        name = draw.choice(JSONS)
        told, content = mutated(json.loads((run / name).read_text()), draw)
        write(run / name, content)
        return f"{name}: {told}"
    if kind < 0.8:
        name = draw.choice(TABLES)
        lines = [line.split(",") for line in (run / name).read_text().splitlines()]
        row = draw.randrange(len(lines))
        column, cell = draw.randrange(len(lines[row])), draw.choice(CELLS)
        lines[row][column] = cell
        (run / name).write_text("\n".join(",".join(line) for line in lines) + "\n")
        return f"{name}: line {row + 1}, column {column + 1} = {cell[:20]!r}"
    files = sorted(path for path in run.rglob("*") if path.is_file())
    path = draw.choice(files)
    name = path.relative_to(run)
    if kind < 0.85:
        path.unlink()
        return f"{name} is gone"
    if kind < 0.9:
        text = draw.choice(TEXTS)
        path.write_bytes(text)
        return f"{name} holds {text[:20]!r}"
    told, content = damaged(path.read_bytes() or b"x", draw)
    path.write_bytes(content)
    return f"{name}: {told}"
