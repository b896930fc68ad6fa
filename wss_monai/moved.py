# SPDX-License-Identifier: Apache-2.0
"""Where modules and names of release 0.1 are now; the old places work for one release, with a `FutureWarning`."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MODULES", "NAMES", "install", "names_of"]

MODULES = {
    "data.acdc": "data.releases.acdc",
    "data.acdc_volumes": "data.releases.volumes",
    "data.archive": "io.archives",
    "data.batch_loader": "data.loading.batch_loader",
    "data.brain_phantom": "data.phantoms.brain",
    "data.brats": "data.releases.brats",
    "data.brats_files": "data.releases.brats_files",
    "data.cardiac_anatomy": "data.phantoms.cardiac_anatomy",
    "data.cardiac_canvas": "data.phantoms.canvas",
    "data.cardiac_imaging": "data.phantoms.cardiac_imaging",
    "data.cardiac_phantom": "data.phantoms.cardiac",
    "data.cardiac_scribbles": "data.phantoms.cardiac_scribbles",
    "data.cardiac_torso": "data.phantoms.cardiac_torso",
    "data.check": "data.checks.dataset",
    "data.check_across": "data.checks.across",
    "data.check_case": "data.checks.case",
    "data.check_entries": "data.checks.entries",
    "data.check_geometry": "data.checks.geometry",
    "data.check_image": "data.checks.image",
    "data.check_maps": "data.checks.maps",
    "data.check_problem": "data.checks.problem",
    "data.check_split": "data.checks.split",
    "data.decathlon": "data.releases.decathlon",
    "data.derived": "data.derived_dataset",
    "data.ellipsoids": "data.phantoms.ellipsoids",
    "data.folder": "data.releases.folder",
    "data.folder_grids": "data.releases.folder_grids",
    "data.integer_pickle": "io.integer_pickle",
    "data.localization_cues": "data.releases.localization_cues",
    "data.meaning": "data.label_semantics",
    "data.modalities": "data.releases.modalities",
    "data.paired_loader": "data.loading.paired_loader",
    "data.pelvis_imaging": "data.phantoms.pelvis_imaging",
    "data.png_slices": "data.releases.png_slices",
    "data.preparation": "data.releases.preparation",
    "data.promise12": "data.releases.promise12",
    "data.promise12_phantom": "data.phantoms.promise12",
    "data.prostate_anatomy": "data.phantoms.prostate_anatomy",
    "data.prostate_phantom": "data.phantoms.prostate",
    "data.prostate_zones": "data.phantoms.prostate_zones",
    "data.slice_store": "data.loading.stores",
    "data.toy": "data.phantoms.toy",
    "data.toy_files": "data.phantoms.toy_files",
    "data.two_contrasts": "data.phantoms.two_contrasts",
    "data.whole_file": "io.atomic_files",
    "engines.allocator": "bundle.allocator",
    "engines.choice": "bundle.choice",
    "engines.overrides": "bundle.overrides",
    "engines.parameter_groups": "optimizers.parameter_groups",
    "engines.several_optimizers": "optimizers.several_optimizers",
    "engines.slices_inferer": "inferers.slices",
    "engines.user_errors": "bundle.user_errors",
    "engines.warmup_cosine": "optimizers.warmup_cosine",
    "estimation.cam_pseudo_labels": "pseudo_labels.cams",
    "estimation.cue_files": "pseudo_labels.cue_files",
    "estimation.cues": "pseudo_labels.cues",
    "functional.box_maps": "functional.weak.box_maps",
    "functional.cam_cues": "functional.cams.cues",
    "functional.drawing": "functional.weak.drawing",
    "functional.grad_cam": "functional.cams.grad_cam",
    "functional.label_files": "io.labels",
    "functional.max_norm": "functional.cams.max_norm",
    "functional.scribbles": "functional.weak.scribbles",
    "functional.volume_files": "io.volumes",
    "functional.weak_cues": "functional.weak.features",
    "functional.weak_labels": "functional.weak.generators",
    "handlers.case_outputs": "evaluation.case_outputs",
    "handlers.evaluation_files": "io.tables",
    "handlers.processes": "io.processes",
    "handlers.volume_scorer": "evaluation.volume_scorer",
    "losses.crf": "networks.dense_crf",
    "transforms.bounds_file": "transforms.bounds.file",
    "transforms.box_bounds": "transforms.bounds.box",
    "transforms.estimated_bounds": "transforms.bounds.estimated",
    "transforms.intervals": "transforms.bounds.intervals",
    "transforms.predicted_bounds": "transforms.bounds.predicted",
}
"""Old module -> module that holds its content now; both without `wss_monai.`."""

NAMES = {
    "engines": {
        "SemiSupervisedInferer": "inferers",
        "SeveralOptimizers": "optimizers",
        "SlicesInferer": "inferers",
        "TwoViews": "inferers",
        "WarmupCosineLR": "optimizers",
        "check_overrides": "bundle",
        "choose": "bundle",
        "keep_freed_memory": "bundle",
        "layer_groups": "optimizers",
        "published_groups": "optimizers",
        "resolve": "bundle",
    },
    "estimation": {
        "CAMPseudoLabels": "pseudo_labels",
        "CueWriter": "pseudo_labels",
        "TagCues": "pseudo_labels",
    },
    "handlers": {
        "ScoredVolume": "evaluation",
        "VolumeScorer": "evaluation",
    },
    "losses": {
        "DenseCRF": "networks",
    },
}
"""Room -> name that it exported -> room that exports it now."""


def names_of(room: str) -> Callable[[str], Any]:
    """Give the `__getattr__` of a room whose names have moved."""

    def __getattr__(name: str) -> Any:
        new = NAMES[room].get(name)
        if new is None:
            raise AttributeError(f"module 'wss_monai.{room}' has no attribute {name!r}")
        _warn(f"{room}.{name}", f"{new}.{name}")
        return getattr(importlib.import_module(f"wss_monai.{new}"), name)

    return __getattr__


class _Moved(MetaPathFinder, Loader):
    """Finds an old module as the new one, the same object under both names."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        room, _, rest = name.partition(".")
        return ModuleSpec(name, self) if room == "wss_monai" and rest in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        old = spec.name.removeprefix("wss_monai.")
        _warn(old, MODULES[old])
        module = importlib.import_module(f"wss_monai.{MODULES[old]}")
        spec.loader_state = module.__spec__  # which the import system overwrites before it calls exec_module
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let `import` find the old modules; a second call changes nothing."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())


def _warn(old: str, new: str) -> None:
    warnings.warn(f"wss_monai.{old} is now wss_monai.{new}", FutureWarning, stacklevel=3)
