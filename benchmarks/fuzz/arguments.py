# SPDX-License-Identifier: Apache-2.0
"""Arguments that make no sense."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from fuzz.ground import Ground
from fuzz.trial import Case, command

HUGE = str(10**30)
SYNTHESIZE = (
    ("cardiac", "--patients", "0"), ("cardiac", "--patients", "-3"), ("cardiac", "--patients", "x"),
    ("cardiac", "--patients", "1", "--seed", "-1"), ("cardiac", "--patients", "1", "--seed", HUGE),
    ("toy", "--size", "0", "0"), ("toy", "--size", "4", "4"), ("toy", "--radius", "9999"), ("toy", "--radius", "-1"),
    ("toy", "--images", "0", "0"), ("two-circles", "--size", "1000000", "1000000", "--images", "1", "1"),
    ("prostate", "--size", "3", "--patients", "1"), ("prostate", "--size", HUGE, "--patients", "1"),
    ("prostate", "--patients", "0"), ("prostate", "--patients", "2", "--test", "99"), ("promise12", "--cases", "-1"),
    ("promise12", "--cases", "1", "--size", "100000000"), ("brain", "--patients", "1", "--size", "100000000"),
    ("ellipsoids", "--patients", "0"), ("ellipsoids", "--patients", "1", "--seed", HUGE),
)  # fmt: skip
WEAKEN = (
    ("x",), ("random_blob", "x=1"), ("random_blob", "x"), ("random_blob", "radius=" + "[" * 100_000),
    ("random_blob", "width=-1"), ("random_blob", "width=\"x\""), ("random_blob", "width=null"),
    ("random_blob", "classes=[99]"), ("random_blob", "classes=[-1]"), ("scribble", "length=[0.6,0.3]"),
    ("scribble", "length=NaN"), ("scribble", "width=-5"), ("erosion", "iterations=-1"), ("erosion", "iterations=NaN"),
    ("box", "margin=NaN"), ("points", "number=0"), ("points", "radius=NaN"), ("sparse_slices", "every=0"),
    ("centroid_blob", "jitter=-1"), ("centroid_blob", "jitter=NaN"),
)  # fmt: skip
CONSTANTS = ("5", "[]", '{"size":5}', '{"size":null}', '{"size":{"LV":5}}', '{"size":{"LV":[9,1]}}', '{"volume":{}}',
             '{"size":{"LV":["a","b"]}}', '{"size":{"nobody":[1,2]}}', '{"size":{"LV":[NaN,2]}}', "x")  # fmt: skip
BOUNDS = (
    ("--dense", "0"), ("--dense", "99"), ("--dense", "-1"), ("--dense", "x"), (), ("--dense", "3", "--level", "2"),
    ("--dense", "3", "--level", "nan"), ("--dense", "3", "--terms", "x"), ("--dense", "3", "--fold", "x"),
    ("--dense", "2", "--validation", "9"), ("--dense", "2", "--validation", "NaN"), ("--patients", "nobody"),
    ("--dense", "2", "--class-names", "5"), ("--dense", "2", "--class-names", "[1,2]"), ("--labelled", "[]"),
    ("--dense", "2", "--class-names", '[["a"]]'), ("--dense", "2", "--class-names", "[" * 100_000),
    ("--dense", "2", "--seed", "-1"), ("--dense", "2", "--seed", HUGE), ("--labelled", "1", "--split-seed", HUGE),
    *(("--dense", "3", "--constant", words) for words in CONSTANTS),
)  # fmt: skip


def cases(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Every list once, in random order."""
    data, every = ground.data, list[tuple[str, list[str | Path], bool]]()
    every += [("synthesize", [*words, "--out", Path("o")], True) for words in SYNTHESIZE]
    for strategy, *options in WEAKEN:
        more = [word for option in options for word in ("--option", option)]
        every.append(("weaken", ["--data", data, "--strategy", strategy, *more, "--out", Path("o")], True))
    every += [("bounds", ["--fit", data, *words, "--out", Path("b.json")], True) for words in BOUNDS]
    every += [("bounds", ["--fit", data, "--dense", "3", "--out", Path("file") / "b.json"], False)]
    every += [("check", words, False) for words in ([Path("none")], [Path("file")], [data, "--jobs", "0"])]
    every += [
        ("check", [data, "--json", Path("file") / "x.json"], False),
        ("check", [data, "--split", "none.json"], False),
    ]
    draw.shuffle(every)
    for verb, words, fresh in every:
        place = ground.fresh()
        (place / "file").write_text("x")
        argv = [place / word if isinstance(word, Path) and not word.is_absolute() else word for word in words]
        told = " ".join(str(word)[:40] for word in words)
        yield Case(f"{verb} {told}", command(verb, *argv), "refuse", (), place / "o" if fresh else None, data)
