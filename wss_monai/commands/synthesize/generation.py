# SPDX-License-Identifier: Apache-2.0
"""What the generators share on the command line: where to, a bar of progress, and a count of what was written."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wss_monai.commands.kinds import OVERWRITE, new_folder, seed

__all__ = ["generation", "shared", "told", "with_bar"]


def shared(example: str, of: str) -> list[argparse.ArgumentParser]:
    """--out, --seed and --overwrite."""
    return [new_folder(example), seed(of), OVERWRITE]


def generation(generate: Callable[[argparse.Namespace, Path], str]) -> Callable[[argparse.Namespace], int]:
    """Make the `run` of a generator of (args, folder): check the folder, generate, print what it says.

    It generates into a hidden folder beside that of --out, whose files are put in their places when all is written.
    """

    @functools.wraps(generate)
    def run(args: argparse.Namespace) -> int:
        """Generate into `args.out`.

        Raises:
            ValueError: --out is a file, or a folder that is not empty without --overwrite.
        """
        from wss_monai.io.whole_folder import whole_folder

        out = Path(args.out)
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out: '{out}' is a file; name a folder")
        if not args.overwrite and out.is_dir() and any(out.iterdir()):
            raise ValueError(
                f"--out: folder '{out}' is not empty; name another one, or add --overwrite to write into it"
            )
        with whole_folder(out) as work:
            said = generate(args, work).replace(str(work), str(out))
        print(said)
        return 0

    return run


def with_bar(unit: str) -> Callable[[Any], Any]:
    """Give the `progress` of a generator: a bar that counts units."""
    from tqdm import tqdm

    return functools.partial(tqdm, desc=f"{unit}s", unit=unit)


def told(path: Path) -> tuple[str, int]:
    """Count the patients of a dataset.json, in words, and its volumes."""
    from wss_monai.io.json_files import read_json

    lists = read_json(path)
    training, test = ({case["patient"] for case in lists[part]} for part in ("training", "test"))
    volumes = len(lists["training"]) + len(lists["test"])
    return f"{path}: {len(training)} training and {len(test)} test patients", volumes
