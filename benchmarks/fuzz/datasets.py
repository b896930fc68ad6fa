# SPDX-License-Identifier: Apache-2.0
"""`dataset.json` and split files: what `check` lets pass must be read, and what is read must hold together."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz.ground import TEXTS, Ground, mutated, write
from fuzz.trial import WRONG, Case, command

SPLIT = {"training": ["p1", "p2"], "validation": ["p3"], "test": ["p0"], "labelled": {"1": ["p1"]}, "patients": None}
FOLDS = {"folds": {"fold1": ["p0", "p1"], "fold2": ["p2", "p3"]}}


def consistent(data: Path, split: Path | None = None) -> Callable[[], int]:
    """Give a call: 0 where `check` and `load_cases` agree, 2 where they refuse, 3 where check overlooks a refusal."""

    def call() -> int:
        from wss_monai.commands.check import make_text
        from wss_monai.data import load_cases
        from wss_monai.data.checks.dataset import check_dataset

        found = check_dataset(data, split)
        text = make_text(found)
        json.dumps(found.as_dict(), allow_nan=False)
        if re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", text):
            print("Error: the table holds control characters")
            return WRONG
        refusal = ""
        try:
            load_cases(data, split=split, validation=0)
        except (ValueError, OSError) as error:
            refusal = str(error)
        warned = any(problem.kind == "few_patients" for problem in found.problems)  # for the default folds
        if refusal and not found.count("error") and not warned:
            print(f"check overlooks: {refusal}")
            return WRONG
        return 1 if refusal or found.count("error") else 0

    return call


def cases(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Texts that are no data set, then one place after the other changed at random."""
    good = json.loads((ground.data / "dataset.json").read_text())
    for text in TEXTS:
        data = ground.dataset(text)
        words = ("dataset.json",)
        yield Case(f"check: {text[:20]!r}", command("check", data), "refuse", words, inputs=data)
        if draw.random() < 0.7:
            continue
        data, out = ground.dataset(text), ground.fresh() / "b.json"
        fit = command("bounds", "--fit", data, "--dense", "2", "--out", out)
        yield Case(f"bounds: {text[:20]!r}", fit, "refuse", words, out, data)
    while True:
        told, content = mutated(good, draw)
        data = ground.dataset(content)
        yield Case(f"dataset.json: {told}", consistent(data), inputs=data)
        if draw.random() < 0.2:
            yield Case(f"check: {told}", command("check", data, "--quick"), inputs=data)
            out = ground.fresh() / "weak"
            weaken = command("weaken", "--data", data, "--strategy", "points", "--out", out)
            yield Case(f"weaken: {told}", weaken, inputs=data)


def splits(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Texts that are no split, then one place after the other changed at random."""
    for text in TEXTS:
        path, out = write(ground.fresh() / "split.json", text), ground.fresh("out") / "b.json"
        yield Case(
            f"check --split: {text[:20]!r}", command("check", ground.data, "--split", path), "refuse", inputs=path
        )
        if draw.random() < 0.7:
            continue
        fit = command("bounds", "--fit", ground.data, "--dense", "2", "--split", path, "--out", out)
        yield Case(f"bounds --split: {text[:20]!r}", fit, "refuse", ("split.json",), out, path)
    while True:
        told, content = mutated(draw.choice((SPLIT, FOLDS)), draw)
        path = write(ground.fresh() / "split.json", content)
        yield Case(f"split file: {told}", consistent(ground.data, path), inputs=path)
