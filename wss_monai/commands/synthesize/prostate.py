# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai synthesize prostate`: T2- and ADC-like volumes on zone masks, or the layout of BraTS."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_prostate"]

FEW = 12
"""How many patients there are where neither `--patients` nor a folder of zones says so."""


def add_prostate(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]
) -> None:
    """Add the kind `prostate`; `run` checks the folder and calls `args.synthesize`."""
    text = "registered T2- and ADC-like volumes of the prostate with slice tags, on zone masks or generated glands"
    parser = kinds.add_parser(
        "prostate", help=text, description=f"Generate {text}; `--layout brats` writes brain-like volumes instead."
    )
    parser.add_argument("--out", required=True, help="folder to make, for example data/PROSTATE_PAIRS")
    parser.add_argument(
        "--zones",
        default="none",
        metavar="FOLDER|none",
        help="data set with zone masks (1 peripheral, 2 transition zone) that the glands are painted on, or none for "
        "generated glands (default: %(default)s)",
    )
    parser.add_argument("--patients", type=int, help=f"how many (default: all of the zones; {FEW} without)")
    parser.add_argument("--test", type=int, help="how many of them, the last ones, are test cases (default: a quarter)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images (default: %(default)s)")
    parser.add_argument("--size", type=int, help="pixels along the sides of a slice (default: the mask's; 320; 240)")
    parser.add_argument(
        "--field", type=float, metavar="MM", help="side of the square cut out of the middle (default: whole slices)"
    )
    parser.add_argument("--keep-zones", action="store_true", help="two classes, not one of both zones")
    parser.add_argument(
        "--layout",
        choices=("dataset", "brats"),
        default="dataset",
        help="a data set of prostates, or brain-like cases for `prepare brats` (default: %(default)s)",
    )
    parser.add_argument(
        "--modalities", type=int, choices=(2, 4), help="of the layout brats: flair and t1ce, or all four (default: 2)"
    )
    parser.add_argument("--grades", action="store_true", help="of the layout brats: folders HGG and LGG")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    parser.set_defaults(run=run, synthesize=_prostate)


def _prostate(args: argparse.Namespace, out: Path) -> str:
    if args.layout == "brats":
        return _brats(args, out)
    import json

    from tqdm import tqdm

    from wss_monai.data.phantoms.prostate import synthesize_prostate

    _refuse(args, {"--modalities": "modalities", "--grades": "grades"}, "is of --layout brats; add it, or leave")
    path = synthesize_prostate(
        out,
        None if args.zones == "none" else args.zones,
        args.patients,
        args.seed,
        test=args.test,
        size=args.size,
        field=args.field,
        keep_zones=args.keep_zones,
        progress=lambda indices: tqdm(indices, desc="cases", unit="case"),
    )
    lists = json.loads(path.read_text(encoding="utf-8"))
    count = {name: len({case["patient"] for case in lists[name]}) for name in ("training", "test")}
    return f"{path}: {count['training']} training and {count['test']} test patients, T2 and ADC of each"


def _brats(args: argparse.Namespace, out: Path) -> str:
    from tqdm import tqdm

    from wss_monai.data.phantoms.brain import synthesize_brats

    if args.zones != "none":
        raise ValueError(
            f"--zones: '{args.zones}' are zones of the prostate; --layout brats draws brains, so leave out"
        )
    given = {"--test": "test", "--field": "field", "--keep-zones": "keep_zones"}
    _refuse(args, given, "is of --layout dataset; add it, or leave")
    patients = FEW if args.patients is None else args.patients
    number = args.modalities or 2
    size = {} if args.size is None else {"size": args.size}
    synthesize_brats(
        out,
        patients,
        args.seed,
        modalities=number,
        grades=args.grades,
        progress=lambda indices: tqdm(indices, desc="cases", unit="case"),
        **size,
    )
    wanted = " --modalities T1c FLAIR" if number == 2 else ""
    return (
        f"{out}: {patients} cases of {number} modalities in the layout of BraTS; a data set of them: "
        f"python -m wss_monai prepare brats --source {out} --out FOLDER{wanted}"
    )


def _refuse(args: argparse.Namespace, options: dict[str, str], why: str) -> None:
    for option, name in options.items():
        if getattr(args, name) not in (None, False):
            raise ValueError(f"{option} {why} {option} out")
