# SPDX-License-Identifier: Apache-2.0
"""`wss-monai crossval --config_file FILES [--SETTING VALUE ...]`: train and score every fold, one after the other.

Each patient is scored by the run that has not seen it. In output_dir lie fold1, fold2 ..., each a run's folder, the
split (splits.json), and the scores of all cases together, of which `report html` makes one report. The same command
goes on after an interruption. Settings are those of the bundle; --folds is the number of folds (default 5).
"""

from __future__ import annotations

import argparse
import ast
import gc
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wss_monai.data import Dataset

__all__ = ["add_parser", "run"]

STATE = "crossval.json"
SPLITS = "splits.json"
OWN = ("split", "fold", "resume", "overwrite", "evaluate_on", "ckpt_path")
"""Settings that a cross-validation gives itself."""
FREE = ("device", "workers", "store", "store_dir", "quiet", "validation_cache", "compile", "cudnn_benchmark")
"""Settings that may be others when it goes on."""
TRAINED, SCORED = "trained", "scored"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `crossval`."""
    parser = subparsers.add_parser(
        "crossval", help="train and score every fold with one command", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --config_file FILES [--folds N] [--SETTING VALUE ...]",
    )  # fmt: skip
    add = parser.add_argument
    add("settings", choices=["settings"], help=argparse.SUPPRESS)  # see wss_monai.commands.former
    add("words", nargs=argparse.REMAINDER, metavar="--config_file FILES [--folds N] [--SETTING VALUE ...]",
        help="a file or a list of files as of run (or --bundle NAME), and settings of the bundle")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and score the folds that are not done, pool the scores and print where they are.

    Raises:
        FileNotFoundError: a file or the data set is not there.
        ValueError: settings do not fit, or the folder holds a cross-validation with others.
    """
    from wss_monai.bundle.user_errors import find_user_error

    settings = _settings(args.words)
    files = _files(settings)
    folds = settings.pop("folds", 5)
    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 2:
        raise ValueError(f"--folds must be a whole number of at least 2, got {folds!r}")
    if strange := [name for name in OWN if name in settings and name != "split"]:
        raise ValueError(f"--{strange[0]} is set by crossval itself: leave it out")
    try:
        return _run(files, settings, folds)
    except KeyboardInterrupt:
        print("\ncrossval: stopped; the same command goes on from the last whole epoch.", file=sys.stderr)
        return 130
    except Exception as error:
        cause = find_user_error(error)
        if cause is error or not isinstance(cause, (ValueError, OSError)):
            raise
        raise type(cause)(str(cause)) from error


def _run(files: list[str], settings: dict[str, Any], folds: int) -> int:
    from wss_monai.data import read_dataset
    from wss_monai.evaluation.pooled import pool_runs
    from wss_monai.io.atomic_files import write_text
    from wss_monai.io.folder_lock import taken
    from wss_monai.io.run_folder import ENSEMBLE
    from wss_monai.io.tables import write_json

    flow = _flow(files, settings)
    out = Path(str(flow.parser.get_parsed_content("output_dir")))
    dataset = read_dataset(str(flow.parser.get_parsed_content("dataset_dir")))
    parts = _folds(dataset, flow.parser.get_parsed_content("split"), flow.parser.get_parsed_content("seed"), folds)
    del flow
    state = _state(out, files, settings, parts, dataset.digest)
    runs = {name: out / name for name in parts}
    with taken(out, "cross-validation"):
        write_json(out / STATE, state)
        write_json(out / SPLITS, {"patients": sorted(p for ids in parts.values() for p in ids), "test": parts})
        for number, (name, folder) in enumerate(runs.items(), 1):
            own = settings | {"output_dir": str(folder), "split": str(out / SPLITS), "fold": name}
            print(f"== {name}, {number} of {len(runs)}: {_told(state, name)}", flush=True)
            if state["done"].get(name) not in (TRAINED, SCORED):
                again = {"resume": True} if (folder / "checkpoint.pt").is_file() else {"overwrite": True}
                _execute(files, own | again)
                _note(out, state, name, TRAINED)
            if state["done"].get(name) != SCORED:
                _score(_scoring(files), own, folder)
                _note(out, state, name, SCORED)
        about = {"fold": f"all {len(runs)}, out of fold", "split": SPLITS}
        summary = pool_runs(list(runs.values()), out, about)
        write_text(out / ENSEMBLE, "".join(f"{folder}\n" for folder in runs.values()))
    _print(summary, out)
    return 1 if summary.get("failed") else 0


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """Read `--NAME VALUE` and `--NAME=VALUE`; values as MONAI's command line reads them.

    Raises:
        ValueError: a word that is no setting, or one without its value.
    """
    from fire.parser import DefaultParseValue

    settings: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ValueError(f"'{word}' is no setting: write --NAME VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words:
                raise ValueError(f"--{name} has no value")
            value = words.pop(0)
        name = {"config-file": "config_file", "output-dir": "output_dir"}.get(name, name)
        settings[name] = DefaultParseValue(value)
    return settings


def _files(settings: dict[str, Any]) -> list[str]:
    """Take the configuration files out of the settings.

    Raises:
        FileNotFoundError: one is not there.
        ValueError: there is none.
    """
    from wss_monai.io.shipped_bundles import missing_file
    from wss_monai.io.yaml_files import check_yaml_file

    given, name = settings.pop("config_file", None), settings.pop("bundle", None)
    if (given is None) == (name is None):
        raise ValueError("name the configuration: --config_file FILES, or --bundle NAME for bundles/NAME alone")
    if given is None:
        given = f"bundles/{name}/configs/train.yaml"
    if isinstance(given, str) and given.startswith("["):
        given = ast.literal_eval(given)
    files = [str(file) for file in ([given] if isinstance(given, str) else given)]
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(missing_file(file))
        check_yaml_file(file)
    return files


def _scoring(files: Sequence[str]) -> list[str]:
    """The files of an evaluation: evaluate.yaml behind the bundle's own, before the user's."""
    configs = Path(files[0]).resolve().parent
    own = [file for file in files if Path(file).resolve().parent == configs]
    return [*own, str(Path(files[0]).with_name("evaluate.yaml")), *(file for file in files if file not in own)]


def _flow(files: Sequence[str], settings: Mapping[str, Any]) -> Any:
    from monai.bundle import ConfigWorkflow

    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # "logging file is set to False"
    meta = str(Path(files[0]).with_name("metadata.json"))
    flow = ConfigWorkflow(list(files), meta_file=meta, logging_file=False, workflow_type="train", **settings)
    flow.initialize()
    return flow


def _execute(files: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Run a configuration, and let go of all that it held."""
    flow = _flow(files, settings)
    flow.run()
    flow.finalize()
    del flow
    gc.collect()


def _score(files: Sequence[str], settings: Mapping[str, Any], folder: Path) -> None:
    """Evaluate a fold; cases that fail are named, and the others scored."""
    from wss_monai.bundle.user_errors import find_user_error
    from wss_monai.io.faults import one_line
    from wss_monai.io.run_folder import SUMMARY

    try:
        _execute(files, settings)
    except Exception as error:
        if not (folder / SUMMARY).is_file():  # which comes last
            raise
        print(one_line(find_user_error(error)), file=sys.stderr)


def _folds(dataset: Dataset, split: Any, seed: int, folds: int) -> dict[str, list[str]]:
    """Name -> test patients: of the split file's folds, else of seeded ones of all that may train.

    Raises:
        ValueError: a split file without folds, or too few patients.
    """
    from wss_monai.data.splits import find_split_file, kfold, read_split_file

    people = {case["patient"]: case.get("group") for case in dataset.training}
    if split is not None:
        file = read_split_file(find_split_file(split, dataset.root))
        if file.folds is None:
            raise ValueError(f"--split {file.path} has no folds to go through: give one with folds, or none")
        lists = [sorted(set(ids) & set(people)) for ids in file.folds.values()]
    else:
        try:
            lists = kfold(people, people, folds, seed)
        except ValueError as error:
            raise ValueError(f"{dataset.path}: {error}; pass --folds {max(2, len(people))} or fewer") from error
    return {f"fold{number}": ids for number, ids in enumerate(lists, 1)}


def _state(out: Path, files: Sequence[str], settings: Mapping[str, Any], parts: Any, digest: str) -> dict[str, Any]:
    """What this cross-validation is, and what of it is done.

    Raises:
        ValueError: the folder holds another one, or something else.
    """
    from wss_monai.io.json_files import read_json

    compared = {name: value for name, value in settings.items() if name not in FREE}
    texts = {Path(file).name: Path(file).read_text(encoding="utf-8") for file in files}
    here = {"settings": compared, "folds": parts, "configuration": texts, "sha256_of_dataset_json": digest}
    here = json.loads(json.dumps(here, default=str))
    if not (out / STATE).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ValueError(f"{out} holds something else than a cross-validation: choose another --output_dir")
        return {**here, "done": {}}
    there = read_json(out / STATE)
    if differ := [name for name in here if there.get(name) != here[name]]:
        raise ValueError(
            f"{out} holds a cross-validation with other {' and '.join(differ)}: give the command that started it, or "
            "choose another --output_dir"
        )
    return {**here, "done": dict(there.get("done") or {})}


def _note(out: Path, state: dict[str, Any], name: str, what: str) -> None:
    from wss_monai.io.tables import write_json

    state["done"][name] = what
    write_json(out / STATE, state)


def _told(state: Mapping[str, Any], name: str) -> str:
    done = state["done"].get(name)
    people = len(state["folds"][name])
    return f"{people} test patient{'' if people == 1 else 's'}" + (f", {done} already" if done else "")


def _print(summary: Mapping[str, Any], out: Path) -> None:
    from wss_monai.io.tables import out_of_cell

    print(f"\n== all folds, each case scored by the run that has not seen it ({summary.get('n_volumes')} volumes)")
    for name, value in summary.items():
        if isinstance(value, dict) and "mean" in value and name in ("dice", "hd95_mm", "volume_error_ml"):
            print(f"{name:18}" + "  ".join(f"{out_of_cell(str(k))} {v:.3f}" for k, v in value.items()))
    print(f"scores: {out}/metrics_summary.json and {out}/evaluation")
    print(f"report: wss-monai report html --runs {out} --out {out}/report.html")
    print(f"predict with all folds: wss-monai predict --run {out} --input FOLDER --out predictions")
