# SPDX-License-Identifier: Apache-2.0
"""What a run's folder says of how to predict, read without running anything that stands in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json
from wss_monai.io.run_folder import ENSEMBLE, PREDICTION, RECORD

__all__ = ["PREPROCESSING", "RunSettings", "read_settings", "runs_of", "weights_of"]

FORMAT = 1
PREPROCESSING = "@preprocessing"
PLACES: tuple[str, ...] = ("monai.networks.", "monai.transforms.", "monai.inferers.", "torch.nn.")
PLACES += ("wss_monai.networks.", "wss_monai.transforms.", "wss_monai.inferers.", "wss_monai.handlers.ShiftToSizes")
"""Where the components of a prediction may come from; others would be code that a folder names."""
MODES = ("default", "callable")
WEIGHTS = {"last": "model.pt", "best": "model_best.pt"}
PARTS: dict[str, type] = {
    **dict.fromkeys(("class_names", "modalities", "flips", "bounds"), list),
    **dict.fromkeys(("network", "preprocessing", "inferer", "postprocessing", "geometry"), dict),
    **dict.fromkeys(("slice_axis", "channels"), int),
    "memory_format": str,
}


@dataclass(frozen=True)
class RunSettings:
    """How a run predicts.

    Attributes:
        folder: of the run.
        class_names: background first.
        slice_axis: across the slices.
        channels: of an image.
        spatial_dims: of the network, 2 or 3.
        network, inferer, preprocessing, postprocessing: components as dictionaries with ``_target_``.
        memory_format: "auto", "channels_last" or "contiguous_format".
        modalities: names of the channels, where the run knows them.
        flips: axes along which training mirrored its samples.
        bounds: declared intervals of sizes: values, unit, slices.
        geometry: of the training images.
    """

    folder: Path
    class_names: list[str]
    slice_axis: int
    channels: int
    spatial_dims: int
    network: dict[str, Any]
    inferer: dict[str, Any]
    preprocessing: dict[str, Any]
    postprocessing: dict[str, Any]
    memory_format: str
    modalities: list[str]
    flips: list[int]
    bounds: list[dict[str, Any]]
    geometry: dict[str, Any]


def runs_of(folder: str | os.PathLike[str]) -> list[Path]:
    """Give the runs of a cross-validation, wherever its folder lies now; of another folder, that alone."""
    folder = Path(folder)
    if not (folder / ENSEMBLE).is_file():
        return [folder]
    lines = (folder / ENSEMBLE).read_text(encoding="utf-8").splitlines()
    return [folder / Path(line).name for line in lines if line.strip()]


def read_settings(folder: str | os.PathLike[str], trust: Sequence[str] = ()) -> RunSettings:
    """Read how a run predicts.

    Args:
        folder: of the run.
        trust: packages whose classes may be used besides those of MONAI, PyTorch and this package.

    Raises:
        FileNotFoundError: no such folder, or one without a run.
        ValueError: a run of before predictions were recorded, one that cannot be recorded, or a file that was changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"--run: there is no folder '{folder}'")
    path = folder / PREDICTION
    if not path.is_file():
        if not (folder / RECORD).is_file():
            raise FileNotFoundError(f"--run: '{folder}' is not the folder of a run: it has no {RECORD}")
        raise ValueError(
            f"--run: '{folder}' has no {PREDICTION}: the run was trained by a release that did not write it yet. "
            "Evaluate it once with this release (the command of its evaluation), which writes it, or use inference.yaml"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FormatFault(path, "is no file of this release", "evaluate the run again")
    if reason := content.get("reason"):
        raise ValueError(f"--run: '{folder}' cannot be predicted from its folder alone: {reason}; use inference.yaml")
    for key, kind in PARTS.items():
        if not isinstance(content.get(key), kind):
            raise FormatFault(path, f"'{key}' is missing or of the wrong type", "evaluate the run again")
    for key, right in RIGHT.items():
        if not right(content[key]):
            raise FormatFault(path, f"'{key}' does not hold what it should", "evaluate the run again")
    for key in ("network", "inferer", "preprocessing", "postprocessing"):
        _check_components(content[key], path, trust)
    network = content["network"]
    modalities = [str(name) for name in content["modalities"]]
    return RunSettings(
        folder,
        content["class_names"],
        content["slice_axis"],
        content["channels"],
        3 if 3 in (network.get("spatial_dims"), content["preprocessing"]["transforms"][0].get("spatial_dims")) else 2,
        network,
        content["inferer"],
        content["preprocessing"],
        content["postprocessing"],
        content["memory_format"],
        modalities,
        content["flips"],
        content["bounds"],
        content["geometry"],
    )


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(item, (int, float)) for item in value)


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, int) for item in value.values())


def _is_geometry(value: dict[str, Any]) -> bool:
    if not value.get("volumes"):
        return True
    ranges = value.get("spacing_range_mm")
    return (
        _counts(value.get("axes"))
        and _counts(value.get("directions"))
        and all(len(code) == 3 and set(code) <= set("RASLPI") for code in value["directions"])
        and isinstance(value.get("orientations"), list)
        and all(
            isinstance(m, list) and len(m) == 3 and all(_numbers(row, 3) for row in m) for m in value["orientations"]
        )
        and _numbers(value.get("spacing_mm"), 3)
        and _numbers(value.get("slices"), 2)
        and isinstance(ranges, list)
        and len(ranges) == 3
        and all(_numbers(pair, 2) for pair in ranges)
    )


def _is_bound(value: Any) -> bool:
    def is_pair(pair: Any) -> bool:
        return isinstance(pair, list) and len(pair) == 2 and all(v is None or isinstance(v, (int, float)) for v in pair)

    return (
        isinstance(value, dict)
        and isinstance(value.get("values"), dict)
        and all(map(is_pair, value["values"].values()))
        and value.get("unit") in ("mm2", "ml", "voxel")
        and isinstance(value.get("slices"), bool)
    )


RIGHT: dict[str, Callable[[Any], bool]] = {
    "class_names": lambda names: len(names) > 1 and all(isinstance(name, str) for name in names),
    "slice_axis": lambda axis: axis in (0, 1, 2),
    "channels": lambda count: 0 < count < 1000,
    "flips": lambda axes: all(isinstance(axis, int) for axis in axes),
    "bounds": lambda bounds: all(map(_is_bound, bounds)),
    "geometry": _is_geometry,
    "preprocessing": lambda steps: (
        isinstance(steps.get("transforms"), list)
        and len(steps["transforms"]) > 0
        and all(isinstance(step, dict) for step in steps["transforms"])
    ),
    "postprocessing": lambda steps: isinstance(steps.get("transforms"), list),
}


def weights_of(run: RunSettings, weights: str) -> Path:
    """Find the file of weights.

    Args:
        run: whose.
        weights: "last" (model.pt), "best" (model_best.pt), or a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = run.folder / WEIGHTS[weights] if weights in WEIGHTS else Path(weights)
    if not path.is_file():
        hint = "; without validation patients there is no best" if weights == "best" else ""
        raise FileNotFoundError(f"--weights: there are no weights '{path}'{hint}")
    return path


def _check_components(value: Any, path: Path, trust: Sequence[str]) -> None:
    """Refuse what would run code that the file names."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            _check_target(str(value["_target_"]), path, trust)
        if value.get("_mode_", MODES[0]) not in MODES:
            raise FormatFault(path, f"_mode_ {value['_mode_']!r} is refused", "evaluate the run again")
        for item in value.values():
            _check_components(item, path, trust)
    elif isinstance(value, list):
        for item in value:
            _check_components(item, path, trust)
    elif isinstance(value, str) and value != PREPROCESSING and (value[:1] in ("$", "%") or "@" in value):
        raise FormatFault(path, f"holds the expression {value[:60]!r}, which is refused", "evaluate the run again")


def _check_target(target: str, path: Path, trust: Sequence[str]) -> None:
    known: Any = target if "." in target else ComponentLocator().get_component_module_name(target)
    names = [f"{name}." for name in ([known] if isinstance(known, str) else known or [target])]
    allowed = (*PLACES, *(f"{package}." for package in trust))
    if not all(name.startswith(allowed) for name in names) or "Save" in target:
        raise FormatFault(
            path,
            f"names code of another package, '{target}'",
            f"pass --trust {target.partition('.')[0]} if you trust the folder and that package",
        )
