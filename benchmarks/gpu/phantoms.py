# SPDX-License-Identifier: Apache-2.0
"""Small generated data sets, one for each kind that the bundles read.

python benchmarks/gpu/phantoms.py FOLDER [KIND ...]
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from wss_monai.__main__ import main

KINDS: dict[str, str] = {
    "acdc_logbarrier": "heart",
    "acdc_size": "heart",
    "acdc_sec": "heart",
    "acdc_mutual_information": "heart",
    "promise12_logbarrier": "prostate_points",
    "hippocampus_logbarrier": "hippocampus_points",
    "prostate_cross_modality": "prostate_tags",
    "brats_cross_modality": "brain_tags",
    "toy_size": "disc",
    "toy_logbarrier": "circles",
}
"""Bundle -> the data set that it is tried on."""


def _call(*words: object) -> None:
    if main([str(word) for word in words]):
        raise RuntimeError(f"python -m wss_monai {' '.join(map(str, words))} failed.")


def _heart(out: Path) -> None:
    _call("synthesize", "cardiac", "--out", out, "--patients", 4)


def _prostate_points(out: Path) -> None:
    release, dense = out.with_name("release"), out.with_name("prostate_dense")
    _call("synthesize", "promise12", "--out", release, "--cases", 5, "--size", 64)
    _call("prepare", "promise12", "--source", release, "--out", dense)
    _call("weaken", "--data", dense, "--out", out, "--strategy", "random_blob", "--option", "width=5", "--background")
    shutil.rmtree(release)  # the points' data set reads images and masks of the dense one


def _hippocampus_points(out: Path) -> None:
    dense = out.with_name("hippocampus_dense")
    _call("synthesize", "ellipsoids", "--out", dense, "--patients", 5)
    words = ["--strategy", "points", "--slice-axis", "none", "--background"]
    _call("weaken", "--data", dense, "--out", out, *words, "--option", "number=3", "--option", "radius=1")


def _prostate_tags(out: Path) -> None:
    _call("synthesize", "prostate", "--zones", "none", "--size", 64, "--patients", 4, "--out", out)


def _brain_tags(out: Path) -> None:
    layout, words = out.with_name("layout"), ["--modalities", 4, "--size", 64, "--patients", 5]
    _call("synthesize", "brain", *words, "--out", layout)
    _call("prepare", "brats", "--source", layout, "--out", out)
    shutil.rmtree(layout)


def _disc(out: Path) -> None:
    _call("synthesize", "toy", "--out", out, "--images", 10, 4, "--size", 64, 64, "--radius", 14)


def _circles(out: Path) -> None:
    _call("synthesize", "two-circles", "--out", out, "--images", 20, 4, "--size", 64, 64, "--radius", 10)


MAKERS: dict[str, Callable[[Path], None]] = {
    "heart": _heart,
    "prostate_points": _prostate_points,
    "hippocampus_points": _hippocampus_points,
    "prostate_tags": _prostate_tags,
    "brain_tags": _brain_tags,
    "disc": _disc,
    "circles": _circles,
}


def phantom(kind: str, folder: Path) -> Path:
    """The data set of a kind, which is generated where it is not there yet."""
    out = folder / kind
    if not (out / "dataset.json").is_file() and not (out / "split.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        MAKERS[kind](out)
    return out


if __name__ == "__main__":
    for name in sys.argv[2:] or MAKERS:
        phantom(name, Path(sys.argv[1]))
