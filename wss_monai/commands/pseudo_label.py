# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai pseudo-label`: weak labels from networks that are trained on tags alone, no dense label needed.

The networks are those of a bundle of activation maps; its settings are those of the bundle: --set.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wss_monai.data import DataSplit

__all__ = ["add_parser", "parse_settings", "run"]

TAKEN = {"dataset_dir": "--data", "output_dir": "--run", "cues_dir": "--out", "foreground_fraction": "--foreground"}
TAKEN |= {"background_fraction": "--background", "score_cues": "--score-cues"}
"""Settings of a bundle that are options here."""
RAW = ("$", "@", "%")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `pseudo-label`."""
    parser = subparsers.add_parser("pseudo-label", help="write weak labels made from image tags", description=__doc__)
    add = parser.add_argument
    add("--data", required=True, metavar="FOLDER", help="data set with a dataset.json and tags")
    add("--out", required=True, metavar="FOLDER", help="where the pseudo-labels and a dataset.json go")
    add("--config-file", nargs="+", action="extend", required=True, metavar="YAML",
        help="train.yaml of a bundle that has a cues.yaml, such as "
        "bundles/prostate_cross_modality/configs/train.yaml, then overlays")  # fmt: skip
    add("--run", dest="run_folder", metavar="FOLDER",
        help="of the trained networks; they are trained first where it has no model.pt "
        "(default: the bundle's output_dir)")  # fmt: skip
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="a setting of the bundle, as in YAML: mode=cam, max_epochs=30; repeat for more")  # fmt: skip
    add("--seed", type=int, help="of the training and the split (default: the bundle's)")
    add("--foreground", type=float, metavar="F",
        help="score from which a voxel is foreground (default: the bundle's, 0.6)")  # fmt: skip
    add("--background", type=float, metavar="B",
        help="score up to which a voxel is background (default: the bundle's, 0.2)")  # fmt: skip
    add("--score-cues", action="store_true", help="compare with dense labels where there are any, for evaluation alone")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train where there is no network yet, write the pseudo-labels, and print what they hold.

    Raises:
        FileNotFoundError: there is no such data set or configuration.
        ValueError: options, settings, folder, or a network of other patients do not fit.
    """
    from wss_monai.bundle.user_errors import find_user_error
    from wss_monai.data.schema import read_dataset

    dataset, out = read_dataset(args.data), Path(args.out)
    if (out / "dataset.json").exists():
        raise ValueError(f"--out: '{out}' holds a dataset.json already; remove it or choose another folder")
    files = _files(args.config_file)
    try:
        _run(files, _overrides(args), args.run_folder)
    except Exception as error:
        cause = find_user_error(error)
        if cause is error or not isinstance(cause, (ValueError, OSError)):
            raise
        raise type(cause)(str(cause)) from error
    images = dataset.training[0].get("image")
    channels = len(images) if isinstance(images, list) else 1
    print(f"a bundle of partial supervision trains on it: --dataset_dir {out} --network_def#in_channels {channels}")
    return 0


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` words; values are YAML, but 1e-3 is a number, and $, @ and % begin MONAI's expressions.

    Raises:
        ValueError: a word without `=`, a value that is no YAML, a setting that has an option of its own.
    """
    import yaml

    from wss_monai.io.yaml_files import check_yaml

    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = (part.strip() for part in word.partition("="))
        if not key or not equals:
            raise ValueError(f"--set must be KEY=VALUE such as mode=cam, got '{word}'")
        if key in TAKEN:
            raise ValueError(f"--set {key}: use {TAKEN[key]}")
        if not text.startswith(RAW):
            check_yaml(text, f"--set {key}")
        try:
            value = text if text.startswith(RAW) else yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {key}: '{text}' is no YAML") from error
        try:
            settings[key] = float(value) if isinstance(value, str) and value[:1] in "+-.0123456789" else value
        except ValueError:
            settings[key] = value
    return settings


def _files(given: Sequence[str]) -> list[str]:
    """Check the configuration files, and give them with the bundle's cues.yaml after the first.

    What follows may change its settings.
    """
    from wss_monai.io.shipped_bundles import missing_file
    from wss_monai.io.yaml_files import check_yaml_file

    for file in given:
        if not Path(file).is_file():
            raise FileNotFoundError(missing_file(file))
        check_yaml_file(file)
    cues = Path(given[0]).with_name("cues.yaml")
    if not cues.is_file():
        raise ValueError(
            f"--config-file: there is no cues.yaml beside '{given[0]}', so this bundle makes no pseudo-labels; take "
            "the train.yaml of one that does, such as bundles/prostate_cross_modality/configs/train.yaml"
        )
    others = [file for file in given[1:] if Path(file).resolve() != cues.resolve()]
    return [str(given[0]), str(cues), *others]


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {"dataset_dir": args.data, "cues_dir": args.out}
    optional = {
        "output_dir": args.run_folder,
        "foreground_fraction": args.foreground,
        "background_fraction": args.background,
        "score_cues": args.score_cues or None,
        "seed": args.seed,
    }
    settings |= {key: value for key, value in optional.items() if value is not None}
    return settings | parse_settings(args.settings)


def _run(files: Sequence[str], settings: dict[str, Any], folder: str | None) -> None:
    """Run the workflow of training, if need be, and that of the cues, each with a configuration of its own."""
    from monai.bundle import ConfigWorkflow

    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # "logging file is set to False"

    def make(run_id: str, **more: Any) -> ConfigWorkflow:
        overrides = settings | more
        flow = ConfigWorkflow(list(files), logging_file=False, workflow_type="train", run_id=run_id, **overrides)
        flow.initialize()
        return flow

    flow = make("run")
    weights = Path(str(flow.parser.get_parsed_content("ckpt_path")))
    data = flow.parser.get_parsed_content("data")
    flow.parser.get_parsed_content("cue_maker")  # refuses wrong thresholds before anything is trained
    epochs = flow.parser.get_parsed_content("train#trainer#max_epochs")
    stopped = _stopped_after(weights.with_name("checkpoint.pt"))
    if weights.is_file():
        _check_patients(weights, data, folder)
    if stopped is not None:
        print(f"{weights.parent} holds a run that stopped after epoch {stopped}: continuing it to {epochs}", flush=True)
        flow = make("run", resume=True)
        flow.run()
        flow.finalize()
    elif weights.is_file():
        print(f"{weights}: the networks are trained already", flush=True)
    else:
        print(f"there is no {weights}: training on {len(data.training)} cases first, {epochs} epochs", flush=True)
        flow.run()
        flow.finalize()
    make("cues").run()


def _stopped_after(checkpoint: Path) -> int | None:
    """The last epoch of a training that is not at its end; None: there is none."""
    from wss_monai.handlers.checkpoint import read_checkpoint

    if not checkpoint.is_file():
        return None
    state = read_checkpoint(checkpoint)
    return int(state["epoch"]) if state["epoch"] < state["max_epochs"] else None


def _check_patients(weights: Path, data: DataSplit, folder: str | None) -> None:
    """Refuse networks that saw patients who are to test here, or that belong to other data.

    Raises:
        ValueError: such networks; names the patients.
    """
    from wss_monai.io.run_content import read_record
    from wss_monai.io.run_folder import RECORD

    if not weights.with_name(RECORD).is_file():
        return
    seen = read_record(weights.parent).get("patients") or {}
    trained = set(seen.get("training") or ()) | set(seen.get("validation") or ())
    strange = sorted(trained - {*data.patients["training"], *data.patients["validation"]})
    if strange:
        shown = ", ".join(map(str, strange[:3])) + (" ..." if len(strange) > 3 else "")
        raise ValueError(
            f"{weights} was trained with {len(strange)} patients who are not for training here ({shown}): give the "
            f"data set and split that trained it, or {'another' if folder else 'a'} --run folder to train there."
        )
