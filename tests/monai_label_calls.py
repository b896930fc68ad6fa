# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label asks of a bundle, call by call, where it is not installed.

The calls of its `tasks/train/bundle.py`, `tasks/infer/bundle.py` and `interfaces/app.py` (main branch of 2025-12-23),
in the same order and with the same arguments; the server, its clients and its store of files are left out.
"""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigItem, ConfigParser
from monai.data import partition_dataset
from monai.handlers import CheckpointLoader
from monai.transforms import Compose, LoadImaged, SaveImaged


class Constants:
    """Names of ids."""

    def key_train_dataset_data(self):
        return "train#dataset#data"

    def key_train_handlers(self):
        return "train#handlers"


def load(path, config):
    parser = ConfigParser()
    parser.read_config(config)
    parser.config.update({"bundle_root": path})
    return parser


class BundleTrainTask:
    """Training."""

    def __init__(self, path, conf, const=None):
        self.const = Constants()
        self.bundle_path = path
        self.bundle_config_path = os.path.join(path, "configs", "train.yaml")
        self.bundle_config = load(path, self.bundle_config_path)
        self.bundle_metadata_path = os.path.join(path, "configs", "metadata.json")

    def is_valid(self):
        return True

    def info(self):
        return {}

    def _fetch_datalist(self, request, datastore):
        return [{"image": d["image"], "label": d["label"]} for d in datastore.datalist() if d]

    def _partition_datalist(self, datalist, request, shuffle=False):
        val_split = request.get("val_split", 0.2)
        if val_split > 0.0:
            return partition_dataset(datalist, ratios=[(1 - val_split), val_split], shuffle=shuffle)
        return datalist, None if val_split < 0 else []

    def _load_checkpoint(self, model_pytorch, pretrained, train_handlers):
        load_path = model_pytorch if pretrained else None
        if os.path.exists(load_path) and not [
            t for t in train_handlers if t.get("_target_") == CheckpointLoader.__name__
        ]:
            load_dict = {"model": "$@network"}
            train_handlers.insert(
                0, {"_target_": "CheckpointLoader", "load_path": load_path, "load_dict": load_dict, "strict": False}
            )

    def __call__(self, request, datastore):
        train_ds, val_ds = self._partition_datalist(self._fetch_datalist(request, datastore), request)
        train_handlers = self.bundle_config.get("train#handlers", [])
        model_pytorch = os.path.join(self.bundle_path, "models", "model.pt")
        self._load_checkpoint(model_pytorch, request.get("pretrained", True), train_handlers)
        overrides = {
            "bundle_root": self.bundle_path,
            "train#trainer#max_epochs": request.get("max_epochs", 50),
            "train#dataset#data": train_ds,
            "device": request["device"],
            "train#handlers": train_handlers,
        }
        if val_ds is not None:
            overrides["validate#dataset#data"] = val_ds
        self._update_overrides(overrides)
        sys.path.insert(0, self.bundle_path)
        try:
            monai.bundle.run(
                run_id="run",
                init_id=None,
                final_id=None,
                meta_file=self.bundle_metadata_path,
                config_file=self.bundle_config_path,
                **overrides,
            )
        finally:
            sys.path.remove(self.bundle_path)
        return {}

    def _update_overrides(self, overrides):
        return overrides


class LoadImageTensord:
    """What takes the place of LoadImaged."""

    def __init__(self, load_image_d):
        self.load_image_d = load_image_d

    def __call__(self, data):
        return self.load_image_d(dict(data))


class BundleInferTask:
    """Inference."""

    def __init__(self, path, conf):
        self.bundle_path, self.valid = path, False
        self.bundle_config = self._load_bundle_config(path, os.path.join(path, "configs", "inference.yaml"))
        self.model_path = os.path.join(path, "models", "model.pt")
        if not os.path.exists(self.model_path):
            return
        self.network = self.bundle_config.get_parsed_content("network_def", instantiate=True)
        with open(os.path.join(path, "configs", "metadata.json")) as file:
            metadata = json.load(file)
        channels = metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {})
        self.labels = {v.lower(): int(k) for k, v in channels.items() if v.lower() != "background"}
        self.dimension, self.valid, self._config = 2, True, {}

    def is_valid(self):
        return self.valid

    def info(self):
        return {"labels": self.labels, "dimension": self.dimension}

    def _load_bundle_config(self, path, config):
        return load(path, config)

    def _update_device(self, data):
        device = data.get("device") if data else None
        if device:
            self.bundle_config.config.update({"device": device})
            if self.bundle_config.ref_resolver.items.get("device"):
                self.bundle_config.ref_resolver.items["device"] = ConfigItem(config=device, id="device")

    def pre_transforms(self, data=None):
        self._update_device(data)
        composed = self.bundle_config.get_parsed_content("preprocessing", instantiate=True)
        steps = list(composed.transforms) if isinstance(composed, Compose) else composed
        for step in steps:
            if isinstance(step, LoadImaged):
                step._loader.image_only = False
        return [LoadImageTensord(step) if isinstance(step, LoadImaged) else step for step in steps]

    def post_transforms(self, data=None):
        self._update_device(data)
        composed = self.bundle_config.get_parsed_content("postprocessing", instantiate=True)
        return [step for step in composed.transforms if not isinstance(step, SaveImaged)]

    def __call__(self, request):
        data: dict[str, Any] = {**self._config, **request, "image_path": request["image"]}
        for step in self.pre_transforms(data):
            data = step(data)
        self._update_device(data)
        inferer = self.bundle_config.get_parsed_content("inferer", instantiate=True)
        self.network.load_state_dict(torch.load(self.model_path, weights_only=True))
        with torch.no_grad():
            data["pred"] = inferer(data["image"][None].to(data["device"]), self.network.eval())[0]
        for step in self.post_transforms(data):
            data = step(data)
        return np.asarray(data["pred"])[0], data


class MONAILabelApp:
    """The app, without a server; `studies` is a folder of images with labels in `labels/final`."""

    def __init__(self, app_dir, studies, conf, name="", description="", version="2.0", labels=None):
        self.app_dir, self.studies, self.conf, self.labels = app_dir, studies, conf, labels
        self._datastore = FolderStore(studies)
        self._infers, self._trainers = self.init_infers(), self.init_trainers()
        self._strategies = self.init_strategies()

    def info(self):
        return {"labels": self.labels, "models": sorted(self._infers), "trainers": sorted(self._trainers)}

    def infer(self, model, image):
        return self._infers[model]({"model": model, "image": self._datastore.get_image_uri(image), "device": "cpu"})

    def train(self, request):
        return self._trainers[request["model"]]({"device": "cpu", "max_epochs": 1, **request}, self._datastore)


class FolderStore:
    """Images of a folder, and labels with what was told of them."""

    def __init__(self, folder):
        self.folder, self.told = folder, {}

    def list_images(self):
        return [name.removesuffix(".nii.gz") for name in os.listdir(self.folder) if name.endswith(".nii.gz")]

    def get_image_uri(self, image_id):
        return os.path.join(self.folder, f"{image_id}.nii.gz")

    def get_label_by_image_id(self, image_id, tag):
        return image_id if os.path.isfile(self.get_label_uri(image_id, tag)) else ""

    def get_label_uri(self, label_id, label_tag):
        return os.path.join(self.folder, "labels", label_tag, f"{label_id}.nii.gz")

    def get_label_info(self, label_id, label_tag):
        return self.told.get(label_id, {})

    def datalist(self):
        return [
            {"image": self.get_image_uri(name), "label": self.get_label_uri(name, "final")}
            for name in sorted(self.list_images())
            if self.get_label_by_image_id(name, "final")
        ]

    def save_label(self, image_id, array, affine, told):
        path = self.get_label_uri(image_id, "final")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        self.told[image_id] = told


class Strategy:
    """A choice of the next image."""


def install(monkeypatch):
    """Put these classes where `wss_monai.label_app` imports them from, for one test."""
    places = {
        "monailabel.tasks.infer.bundle": {"BundleInferTask": BundleInferTask},
        "monailabel.tasks.train.bundle": {"BundleTrainTask": BundleTrainTask},
        "monailabel.interfaces.app": {"MONAILabelApp": MONAILabelApp},
        "monailabel.tasks.activelearning.first": {"First": Strategy},
        "monailabel.tasks.activelearning.random": {"Random": Strategy},
    }
    for place, content in places.items():
        parts = place.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in places or end == len(parts):
                module = ModuleType(name)
                module.__dict__.update(content if end == len(parts) else {"__path__": []})
                if end == len(parts) or name not in sys.modules:
                    monkeypatch.setitem(sys.modules, name, module)
    for name in ("app", "tasks"):
        monkeypatch.delitem(sys.modules, f"wss_monai.label_app.{name}", raising=False)
