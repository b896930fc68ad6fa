# SPDX-License-Identifier: Apache-2.0
"""What a run leaves for a later prediction: the steps before and after the network, as its evaluation has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from wss_monai.bundle.configuration import as_ids
from wss_monai.bundle.overrides import running
from wss_monai.bundle.plain_settings import NotPlain, PlainSettings
from wss_monai.io.geometry import geometry_of
from wss_monai.io.processes import first_process
from wss_monai.io.run_folder import PREDICTION, RECORD
from wss_monai.io.tables import write_json

__all__ = ["FORMAT", "SHIFT", "keep_prediction_settings", "prediction_settings", "recorded_settings"]

FORMAT = 1
OVERLAY = "evaluate.yaml"
SHIFT = "wss_monai.handlers.ShiftToSizes"
OBJECTS = {SHIFT: ("network", "cases", "inferer", "amp", "amp_dtype")}
"""Arguments that a prediction has of its own."""
PREPROCESSING = "@preprocessing"
"""The one reference that is left: the steps that are undone behind the network."""
LOAD = "wss_monai.transforms.LoadCased"
SCORING = ("wss_monai.transforms.PartialCrossEntropyd",)
"""Steps behind the network that change no prediction."""
OF_LABELS = ("@all_bounds", "@weak_steps")
"""Lists of steps none of which acts on images."""
BY_KEY = ("mode", "padding_mode", "align_corners", "dtype")
"""Arguments of a step that may be lists, an item a key."""


class Data(Protocol):
    """The cases of a run, as of ``wss_monai.data.load_cases``."""

    training: Any
    dataset: Any


def recorded_settings(folder: str, data: Data) -> dict[str, Any]:
    """Everything that a run keeps of how it was made; an expression of a bundle calls it.

    Args:
        folder: the bundle's ``configs``, whose evaluation says how to predict.
        data: the cases.

    Returns:
        command: the words; configuration: id -> value, all of it; data: number of cases and digest; prediction: see
        ``prediction_settings``. Empty where no configuration is found that evaluates this call.
    """
    parser = running()[0]
    if parser is None:
        return {}
    config = cast(dict[str, Any], parser.config)
    return {
        "command": list(sys.argv),
        "configuration": as_ids(config, everything=True),
        "data": {"cases": len(data.training), "sha256_of_dataset_json": data.dataset.digest},
        "prediction": prediction_settings(_with_evaluation(config, Path(folder)), data),
    }


def keep_prediction_settings(output_dir: str, data: Data) -> None:
    """Note in the folder of a run how the evaluation that ended has predicted; other folders stay as they are.

    Args:
        output_dir: the run's folder.
        data: its cases.
    """
    parser, path = running()[0], Path(output_dir) / PREDICTION
    if parser is None or not first_process() or not path.with_name(RECORD).is_file():
        return
    write_json(path, prediction_settings(cast(dict[str, Any], parser.config), data))


def prediction_settings(config: Mapping[str, Any], data: Data | None = None) -> dict[str, Any]:
    """What `wss_monai.prediction` needs of the configuration of an evaluation, as plain data.

    Returns:
        format, class_names, slice_axis, network, memory_format, preprocessing (the steps of the image alone), inferer,
        postprocessing, channels, modalities, flips, bounds, geometry (of the training images); or format and
        ``reason``, where the configuration holds objects of Python that no file can.
    """
    settings = PlainSettings(config, {"validate#preprocessing": PREPROCESSING}, OBJECTS)
    try:
        found: dict[str, Any] = {
            "format": FORMAT,
            "class_names": settings["class_names"],
            "slice_axis": int(settings["slice_axis"]) if "slice_axis" in settings else 2,
            "network": settings["network_def"],
            "memory_format": _memory_format(config),
            "preprocessing": {"_target_": "Compose", "transforms": list(_image_steps(settings))},
            "inferer": settings["validate#inferer"],
            "postprocessing": _predicting(settings["validate#postprocessing"]),
        }
    except NotPlain as error:
        return {"format": FORMAT, "reason": str(error)}
    except Exception as error:  # a record must never stop a training
        return {"format": FORMAT, "reason": f"its configuration is of another kind ({error!r})"}
    found["channels"] = _channels(data, found["network"])
    found["modalities"] = _or(settings, "modalities", _modalities(data))
    found["flips"] = _or(settings, "train#augment#flips", [])
    found["bounds"] = list(_bounds(settings))
    found["geometry"] = geometry_of([] if data is None else data.training, found["slice_axis"])
    return found


def _predicting(steps: Any) -> Any:
    """Leave out the steps that compare with labels."""
    if not isinstance(steps, Mapping) or not isinstance(steps.get("transforms"), list):
        return steps
    kept = [step for step in steps["transforms"] if not (isinstance(step, Mapping) and step.get("_target_") in SCORING)]
    return {**steps, "transforms": kept}


def _with_evaluation(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of a training with the evaluation of its bundle laid over it."""
    path = folder / OVERLAY
    if not path.is_file():
        return dict(config)
    parser = ConfigParser(_copy(config))
    for name, value in ConfigParser.load_config_file(path).items():
        merge_kv(parser, name, value)
    parser.resolve_macro_and_relative_ids()
    return cast(dict[str, Any], parser.config)


def _copy(node: Any) -> Any:
    """A copy of dictionaries and lists; what else a program put into them is the same."""
    if isinstance(node, Mapping):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(value) for value in node] if isinstance(node, list) else node


def _image_steps(settings: PlainSettings, name: str = "validate#preprocessing") -> Iterator[dict[str, Any]]:
    """The steps that act on the image; those of labels, tags and bounds are left out."""
    for path, step in settings.items(f"{name}#transforms"):
        if isinstance(step, str):
            continue  # a step of an overlay's list, such as expected sizes: none acts on images
        target = str(step.get("_target_"))
        if target == "Compose" and step.get("transforms") in OF_LABELS:
            continue
        if target == "Compose":
            yield from _image_steps(settings, path)
        elif "keys" in step:
            keys = settings[f"{path}#keys"]
            keys = [keys] if isinstance(keys, str) else list(keys)
            if "image" in keys and (told := settings.value({**step, "keys": "image"}, path)) is not None:
                place = keys.index("image")
                yield {k: v[place] if k in BY_KEY and isinstance(v, list) else v for k, v in told.items()}
        elif not target.startswith("wss_monai."):
            raise NotPlain(f"'{path}' is a step without keys, {target}")


def _bounds(settings: PlainSettings) -> Iterator[dict[str, Any]]:
    """Intervals of sizes that were declared: values a class, their unit, and whether they are of slices."""
    try:
        made = settings["all_bounds"]
    except (NotPlain, ValueError):  # none, or of an overlay that computes them
        return
    for step in made if isinstance(made, list) else ():
        if (
            isinstance(step, Mapping)
            and step.get("_target_") == "wss_monai.transforms.ConstantBoundsd"
            and "descriptor" not in step
        ):
            values = {name: pair for name, pair in (step.get("values") or {}).items() if pair}
            if values and step.get("unit") in ("mm2", "ml", "voxel"):
                yield {"values": values, "unit": step["unit"], "slices": step.get("slice_axis") is not None}


def _channels(data: Data | None, network: Mapping[str, Any]) -> int:
    """Images a case, as the data set has them; else as the network says."""
    images = next((case.get("image") for case in (data.training if data else ())), None)
    if images is None:
        return int(network.get("in_channels") or network.get("modalities") or 1)
    return len(images) if isinstance(images, list) else 1


def _modalities(data: Data | None) -> list[str]:
    """Names of the data set's channels, in their order; nothing where it does not number them."""
    named = {} if data is None else data.dataset.raw.get("modality")
    try:
        return [str(named[key]) for key in sorted(named, key=int)]
    except (TypeError, ValueError):
        return []


def _memory_format(config: Mapping[str, Any]) -> str:
    written = str(config.get("memory_format", ""))
    return next((name for name in ("channels_last", "contiguous_format") if written == f"$torch.{name}"), "auto")


def _or(settings: PlainSettings, name: str, default: Any) -> Any:
    try:
        return settings[name] or default
    except NotPlain:  # not there, or no plain value
        return default
