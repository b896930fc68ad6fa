# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's tasks for bundles, with what ours need: settings, drawings, weights that come back."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from wss_monai.io.atomic_files import replacing
from wss_monai.label_app.cases import stored_cases
from wss_monai.label_app.settings import AppSettings, BundleSettings

__all__ = ["InferTask", "TrainTask", "without_texts"]

logger = logging.getLogger(__name__)

IMAGE = "image"


class InferTask(BundleInferTask):
    """Predict with a bundle of the app's folder.

    Args:
        path: the bundle's folder.
        conf: of the server.
        own: its settings.
    """

    def __init__(self, path: str, conf: dict[str, str], own: BundleSettings) -> None:
        self.own = own
        super().__init__(path, conf)
        if self.is_valid():
            names = self.own.settings.get("class_names")
            if names:
                self.labels = {str(name).lower(): index for index, name in enumerate(names) if index}
            self._config["result_dtype"] = "uint8"
            self.dimension = 3  # masks are volumes, also of a network that sees slices

    def _load_bundle_config(self, path: str, config: str) -> Any:
        """Read the configuration, with overlays, and lay the settings over it."""
        parser = super()._load_bundle_config(path, _with_overlays(config, self.own.overlays, "inference_"))
        for name, value in self.own.settings.items():
            if _has(parser.config, name):
                parser[name] = value
        names = self.own.settings.get("class_names")
        if names and _has(parser.config, "network_def#out_channels"):
            parser["network_def#out_channels"] = len(names)
        return parser

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[[Any], Any]]:
        """The bundle's steps, from which keys that are texts are hidden; of several modalities all files are read."""
        if data is not None and self.own.endings and isinstance(data.get(IMAGE), str):
            data[IMAGE] = _siblings(data[IMAGE], self.own.endings)
        return [without_texts(step) for step in super().pre_transforms(data)]


def without_texts(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Hide keys such as ``image_path`` from a step, and put them back behind it.

    MONAI's ``Spacingd`` updates what stands under every key that begins with ``image_`` as if it were a dictionary.
    """

    def hidden(data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        aside = {key: value for key, value in data.items() if _is_beside(key) and not isinstance(value, dict)}
        return {**step({key: value for key, value in data.items() if key not in aside}), **aside}

    hidden.__name__ = type(step).__name__
    return hidden


class TrainTask(BundleTrainTask):
    """Train a bundle of the app's folder on the labels that are stored.

    Args:
        path: the bundle's folder.
        conf: of the server.
        own: its settings.
        app: what labels mean.
    """

    def __init__(self, path: str, conf: dict[str, str], own: BundleSettings, app: AppSettings) -> None:
        self.own, self.app = own, app
        self._given: dict[str, Any] = {}
        self._validation: float | None = None
        super().__init__(path, conf)
        if self.is_valid():
            self.bundle_config_path: Any = _with_overlays(str(self.bundle_config_path), own.overlays)

    def _load_bundle_config(self, path: str, config: str) -> Any:
        """Read the configuration with overlays, from which the steps of a training are taken."""
        return super()._load_bundle_config(path, _with_overlays(config, self.own.overlays))

    @property
    def run_folder(self) -> Path:
        """Where a training writes what it leaves beside the weights: its report, curves and settings."""
        return Path(self.bundle_path) / "run"

    @property
    def _learns_unlabelled(self) -> bool:
        return self.bundle_config.get("unlabelled_batch") is not None

    def _fetch_datalist(self, request: Any, datastore: Any) -> list[dict[str, Any]]:
        names = self.own.settings.get("class_names") or self.bundle_config.get("class_names")
        self._given = stored_cases(datastore, list(names), self.app, self._learns_unlabelled)
        return list(self._given["training"])

    def _partition_datalist(self, datalist: Any, request: Any, shuffle: bool = False) -> tuple[Any, None]:
        """Leave the split to the bundle, which keeps the images of a patient together."""
        share = float(request.get("val_split", 0.2))
        patients = len({case["patient"] for case in datalist})
        self._validation = None if share < 0 else 0 if patients < 2 else share
        return datalist, None

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        if pretrained and os.path.exists(model_pytorch):
            super()._load_checkpoint(model_pytorch, pretrained, train_handlers)

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """Hand over the cases with what their labels mean, and the settings."""
        overrides.pop(self.const.key_train_dataset_data(), None)
        overrides["datalist"] = self._given
        overrides["output_dir"] = str(self.run_folder)
        overrides["overwrite"] = True
        if self._validation is not None:
            overrides["validation"] = self._validation
        if self._learns_unlabelled:
            overrides["labelled"] = "$None"  # all that have a label
            overrides["labels"] = "weak" if self.app.submitted == "drawing" else "dense"
        prediction = ConfigParser.load_config_file(os.path.join(self.bundle_path, "configs", "inference.yaml"))
        for name, value in self.own.settings.items():
            if _has(self.bundle_config.config, name) or not _has(prediction, name):
                overrides[name] = value  # what is misspelt too, which training refuses
        return overrides

    def __call__(self, request: Any, datastore: Any) -> Any:
        """Train, and give the weights to inference."""
        handlers = self.bundle_config.get(self.const.key_train_handlers())
        kept = list(handlers or [])
        try:
            result = super().__call__(request, datastore)
        finally:
            if handlers is not None:
                handlers[:] = kept  # a step that loads weights was put in front
        weights = self.run_folder / "model.pt"
        target = Path(self.bundle_path) / "models" / "model.pt"
        target.parent.mkdir(exist_ok=True)
        with replacing(target) as part:
            shutil.copyfile(weights, part)
        logger.info("weights of %s: %s", self.run_folder, target)
        return result


def _is_beside(key: Hashable) -> bool:
    return isinstance(key, str) and key.startswith(f"{IMAGE}_")


def _siblings(path: str, endings: Sequence[str]) -> list[str]:
    """Give the files of all modalities of a case, by the ending of the one that is given.

    Raises:
        ValueError: the name ends in none of them, or a file is missing.
    """
    folder, name = os.path.split(path)
    for ending in endings:
        place = name.rfind(ending)
        if place > 0:
            files = [os.path.join(folder, name[:place] + other + name[place + len(ending) :]) for other in endings]
            if lacking := [file for file in files if not os.path.exists(file)]:
                raise ValueError(f"'{path}': the files of its other modalities are missing: {lacking}")
            return files
    raise ValueError(f"'{path}': its name ends in none of {list(endings)}; set 'endings' in app.yaml")


def _with_overlays(config: str, overlays: Sequence[str], prefix: str = "") -> Any:
    """Give the configuration files; a single one as it is.

    Raises:
        ValueError: an overlay of training is missing.
    """
    if not overlays:
        return config
    files = [config]
    for overlay in overlays:
        file = os.path.join(os.path.dirname(config), prefix + overlay)
        if os.path.isfile(file):
            files.append(file)
        elif not prefix:
            raise ValueError(f"app.yaml: there is no overlay '{file}'")
    return files


def _has(config: Any, name: str) -> bool:
    for part in name.split("#"):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True
