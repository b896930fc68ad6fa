# SPDX-License-Identifier: Apache-2.0
"""`wss-monai run ID --config_file FILES [--SETTING VALUE ...]`: run a bundle, as `python -m monai.bundle run` does.

The same command with the same settings; MONAI's warning that a configuration can run code, and its dated list of the
settings, are left out. Run only configurations that you trust.
"""

from __future__ import annotations

import argparse
import ast
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

__all__ = ["add_parser", "config_files", "run", "unwarned"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `run`."""
    parser = subparsers.add_parser(
        "run", help="train or evaluate with a bundle, as python -m monai.bundle run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("run_id", metavar="ID", help="training, evaluating, or another list of the configuration")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="--config_file FILES --SETTING VALUE ...",
                        help="a file or a list of files, and settings; or --args_file FILE with these")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the bundle; errors end the program as they do under MONAI's command.

    Raises:
        FileNotFoundError: a file of the configuration is not there.
        ValueError: no configuration is named.
    """
    import fire
    from monai.bundle import scripts

    from wss_monai.bundle.interruption import interrupted
    from wss_monai.bundle.user_errors import show_user_errors
    from wss_monai.io.shipped_bundles import missing_file

    files = config_files(args.words)
    if not files and not any(re.match(r"--args[-_]file(=|$)", word) for word in args.words):
        raise ValueError(
            "--config_file is missing: name the bundle's files, such as "
            "\"['bundles/weak_2d/configs/train.yaml','mine.yaml']\""
        )
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(missing_file(file))
    show_user_errors()
    unwarned()
    try:
        fire.Fire(scripts.run, command=[args.run_id, *args.words], name="wss-monai run")
    except KeyboardInterrupt:
        print(f"\n{interrupted()}", file=sys.stderr)
        return 130
    return 0


def config_files(words: Sequence[str]) -> list[str]:
    """Give the files that the words of a command name behind `--config_file`; what cannot be read as a list is one."""
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--config_file", "--config-file"):
            value = value or "".join(words[place + 1 : place + 2])
            try:
                given = ast.literal_eval(value) if value.lstrip().startswith("[") else value
            except (SyntaxError, ValueError):
                given = [part.strip() for part in value.strip(" []").split(",")]
            return [given] if isinstance(given, str) else [str(file) for file in given]
    return []


def unwarned() -> None:
    """Leave out MONAI's warnings of configurations that can run code or lie in several folders, and dated notes."""
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)
    for words in (r"parsing config_file", r".*[Mm]ultiple config files"):
        warnings.filterwarnings("ignore", words, UserWarning)
