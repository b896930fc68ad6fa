# SPDX-License-Identifier: Apache-2.0
"""The app itself; the `main.py` of an app folder imports it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from wss_monai import __version__
from wss_monai.io.json_files import read_json
from wss_monai.label_app.settings import BundleSettings, read_settings
from wss_monai.label_app.tasks import InferTask, TrainTask

__all__ = ["WeakLabelApp"]

logger = logging.getLogger(__name__)


class WeakLabelApp(MONAILabelApp):
    """Serve the bundles in the app's folder `model`, and train them on stored drawings.

    Args:
        app_dir: the folder with `main.py`, `app.yaml` and `model`.
        studies: the folder of images, or the address of a DICOM server.
        conf: of the server; `models` names the bundles, separated by commas (default: all in the folder).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str] | None = None) -> None:
        conf = dict(conf or {})
        self.own = read_settings(app_dir)
        folder = Path(app_dir) / "model"
        found = sorted(path.name for path in folder.glob("*") if (path / "configs" / "metadata.json").is_file())
        wanted = [name.strip() for name in conf.get("models", "").split(",") if name.strip()] or found
        if lacking := [name for name in wanted if name not in found]:
            raise ValueError(f"--conf models: there is no bundle {lacking} in '{folder}'; there are {found}")
        self.paths = {name: str(folder / name) for name in wanted}
        labels = {name: None for bundle in self.paths for name in self._classes(bundle)}
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"wss_monai {__version__}",
            description="Segmentation learnt from scribbles, points, a few dense masks and bounds",
            version=__version__,
            labels=[*labels, *([self.own.outside] if self.own.submitted == "drawing" else [])] if labels else None,
        )

    def init_infers(self) -> dict[str, Any]:
        """The bundles that have weights."""
        tasks = {name: InferTask(path, self.conf, self._of(name)) for name, path in self.paths.items()}
        return {name: task for name, task in tasks.items() if task.is_valid()}

    def init_trainers(self) -> dict[str, Any]:
        """The bundles that learn from drawings; those that learn from tags of slices are left out."""
        tasks = {name: TrainTask(path, self.conf, self._of(name), self.own) for name, path in self.paths.items()}
        usable = {name: task for name, task in tasks.items() if task.is_valid()}
        learning = {name: task for name, task in usable.items() if task.bundle_config.get("modalities") is None}
        if others := sorted(set(usable) - set(learning)):
            logger.info("not trained here, since they learn from tags of slices: %s", others)
        return learning

    def init_strategies(self) -> dict[str, Any]:
        """Which image comes next."""
        return {"random": Random(), "first": First()}

    def info(self) -> Any:
        """What clients ask for; a bundle whose first weights have come since the start serves from now on."""
        for name, path in self.paths.items():
            if name not in self._infers and (Path(path) / "models" / "model.pt").is_file():
                self._infers |= {name: InferTask(path, self.conf, self._of(name))}
        return super().info()

    def _of(self, name: str) -> BundleSettings:
        return self.own.bundles.get(name, BundleSettings())

    def _classes(self, name: str) -> list[str]:
        """The classes of a bundle in small letters, without the background: those of app.yaml, else its own."""
        if not (names := self._of(name).settings.get("class_names")):
            metadata = read_json(Path(self.paths[name]) / "configs" / "metadata.json")
            names = [*metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {}).values()]
        return [str(one).lower() for one in names[1:]]
