# SPDX-License-Identifier: Apache-2.0
"""A folder that MONAI Label can serve: bundles, their settings, and what starts the app."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wss_monai.io.json_files import read_text
from wss_monai.io.whole_folder import refuse_taken, whole_folder
from wss_monai.io.yaml_files import check_yaml
from wss_monai.label_app.settings import APP_FILE

__all__ = ["make_app"]

MAIN = '''# SPDX-License-Identifier: Apache-2.0
"""An app of MONAI Label; its settings are in app.yaml, its bundles in model."""

from wss_monai.label_app.app import WeakLabelApp

__all__ = ["WeakLabelApp"]
'''
SETTINGS = """# What labels that are stored with MONAI Label mean, and how the bundles in the folder model are trained.
submitted: drawing           # what Submit Label stores: drawing (not drawn is unknown) | complete (a dense label)
outside: outside             # segment that marks background in a drawing; 3D Slicer drops one called background
undrawn_means_absent: false  # true: a class that is not drawn in a slice is absent there
values: null                 # of labels stored without names: value: class, outside or unlabelled; null: class indices
patient: null                # expression on image ids, such as '(?P<patient>[^_]+)_.*'; null: a patient each
"""
IGNORED = shutil.ignore_patterns("__pycache__", "run", "source", "bundle.yaml", "*.pyc")
LEFT_OUT = ("dataset_dir", "output_dir")


def make_app(
    out: str | os.PathLike[str],
    bundles: Sequence[str | os.PathLike[str]],
    settings: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Make an app folder.

    Args:
        out: the folder to make.
        bundles: folders of bundles, which are copied.
        settings: a YAML or JSON file with overrides of the training's configuration, as `wss-monai plan` writes it.
        weights: a model.pt of the (only) bundle.

    Returns:
        The names of the bundles.

    Raises:
        FileExistsError: ``out`` holds files already.
        ValueError: a folder is no bundle, two have one name, or settings or weights are for several.
    """
    out = Path(out)
    refuse_taken(out)
    folders = [Path(os.path.abspath(bundle)) for bundle in bundles]
    for folder in folders:
        if not (folder / "configs" / "metadata.json").is_file():
            raise ValueError(f"'{folder}' is no bundle: it has no configs/metadata.json")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(f"two bundles have one name: {sorted(names)}")
    if len(names) > 1 and (settings is not None or weights is not None):
        raise ValueError(
            "--settings and --weights are those of one bundle; name one, and add others to app.yaml by hand"
        )
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"--weights: no file '{weights}'")
    section = {} if settings is None else _settings(Path(settings))
    with whole_folder(out, last="main.py") as work:
        for folder in folders:
            shutil.copytree(folder, work / "model" / folder.name, ignore=IGNORED)
        if weights is not None:
            (work / "model" / names[0] / "models").mkdir(exist_ok=True)
            shutil.copyfile(weights, work / "model" / names[0] / "models" / "model.pt")
        (work / APP_FILE).write_text(SETTINGS + _bundles(names, section), encoding="utf-8")
        (work / "main.py").write_text(MAIN, encoding="utf-8")
    return names


def _settings(file: Path) -> dict[str, Any]:
    """Read overrides; places are the app's own.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or holds no names with values.
    """
    if not file.is_file():
        raise FileNotFoundError(f"--settings: no file '{file}'")
    text = read_text(file)
    check_yaml(text, str(file))
    content = yaml.safe_load(text)
    if not isinstance(content, Mapping):
        raise ValueError(f"--settings: '{file}' must hold names with values, got {content!r}")
    return {str(key): value for key, value in content.items() if key not in LEFT_OUT}


def _bundles(names: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Write the part of the settings that is about bundles."""
    lines = ["bundles:"]
    for name in names:
        lines += [f"  {name}:", "    overlays: []             # files of its configs, such as cpu.yaml"]
        lines += ["    endings: []              # several modalities: how file names of each end, such as _T2 and _ADC"]
        lines += ["    settings:                # as on the command line of a training: pixdim, mode, size_bounds ..."]
        lines += [
            f"      {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()
        ]
        if not settings:
            lines[-1] = lines[-1].replace("settings: ", "settings: {}", 1).replace("{}  ", "{}", 1)
    return "\n".join(lines) + "\n"
