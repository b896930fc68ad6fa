# SPDX-License-Identifier: Apache-2.0
"""The door of every pipeline: read a case's files, check that they belong together, map labels to class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from wss_monai.functional import UNLABELLED
from wss_monai.functional.volume_files import read_volume

MAPS = {"label": "label_values", "weak_label": "weak_values"}


class LoadCased(MapTransform):
    """Read the image and the label maps of a case as channel-first ``MetaTensor``, from any format of ``read_volume``.

    Several image files (modalities) become channels. Label maps become uint8 class indices (255 = unlabelled) through
    the case's ``label_values`` and ``weak_values``; where a case has no weak label, its dense label takes that place (a
    case drawn densely), and a missing map is 255 everywhere, so that every case carries every key.

    Args:
        keys: which of "image", "label" and "weak_label" to read.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: an unreadable file, more or fewer than 2 or 3 dimensions, an image and a map of different shape or
            affine, label values outside the set, intensities that are not finite; each names the case and the file.
    """

    def __init__(self, keys: KeysCollection = ("image", "label", "weak_label")) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the case with tensors in the place of paths."""
        case = {key: value for key, value in data.items() if key not in MAPS.values()}
        name = str(data.get("case") or data.get("image"))
        image = self._image(name, data["image"])
        case["image"] = image
        dense_instead = "weak_label" in self.keys and data.get("weak_label") is None
        wanted = {*self.keys, *(["label"] if dense_instead else [])}
        maps = {key: self._map(name, key, data, image) for key in MAPS if key in wanted and data.get(key) is not None}
        for key in MAPS:
            if key not in self.keys:
                case.pop(key, None)
            elif key in maps:
                case[key] = maps[key]
            elif key == "weak_label" and "label" in maps:
                case[key] = maps["label"].clone()
            else:
                case[key] = MetaTensor(torch.full(image[:1].shape, UNLABELLED, dtype=torch.uint8), meta=image.meta)
        for key in ("tags", "slice_tags"):
            if case.get(key) is None:
                case.pop(key, None)
        return {key: "" if value is None else value for key, value in case.items()}

    def _image(self, name: str, source: str | Sequence[str]) -> MetaTensor:
        paths = [source] if isinstance(source, (str, Path)) else list(source)
        channels = [self._read(name, "image", path) for path in paths]
        for path, channel in zip(paths, channels, strict=True):
            _same_grid(name, path, channel, paths[0], channels[0])
            if not bool(torch.isfinite(channel).all()):
                raise ValueError(f"case '{name}': {path} holds intensities that are not finite (NaN or infinite).")
        return MetaTensor(torch.cat([c.as_tensor() for c in channels]), meta=channels[0].meta)

    def _map(self, name: str, key: str, data: Mapping[Hashable, Any], image: MetaTensor) -> MetaTensor:
        path = data[key]
        index = self._read(name, key, path)
        source = data["image"]
        _same_grid(name, path, index, source if isinstance(source, (str, Path)) else next(iter(source)), image)
        values = data.get(MAPS[key])
        return _to_class_indices(name, key, path, index, values)

    def _read(self, name: str, key: str, path: str | Path) -> Any:
        try:
            volume: Any = read_volume(path).unsqueeze(0)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"case '{name}': {key} {path} does not exist; mend its path in dataset.json."
            ) from None
        except ValueError as error:
            raise ValueError(f"case '{name}': cannot read {key} {error}.") from error
        return volume


def _same_grid(name: str, path: Any, volume: MetaTensor, image_path: Any, image: MetaTensor) -> None:
    """Refuse a pair of files that do not share shape and affine."""
    if volume.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"case '{name}': {path} has shape {tuple(volume.shape[1:])}, but {image_path} has {tuple(image.shape[1:])};"
            " resample one onto the other."
        )
    if not np.allclose(np.asarray(volume.affine), np.asarray(image.affine), rtol=1e-3, atol=1e-2):
        raise ValueError(
            f"case '{name}': the affine of {path} differs from that of {image_path}:\n{np.asarray(volume.affine)}\n"
            f"{np.asarray(image.affine)}\nThe mask would lie in the wrong place; save it on the image's grid."
        )


def _to_class_indices(
    name: str, key: str, path: Any, volume: MetaTensor, values: Mapping[Any, int] | None
) -> MetaTensor:
    """Map file values to class indices as uint8."""
    array = np.asarray(volume)
    if not np.array_equal(np.rint(array), array) or not np.isfinite(array).all():
        raise ValueError(f"case '{name}': {key} {path} holds values that are not whole numbers.")
    rounded = array.astype(np.int64)
    seen = np.unique(rounded)
    table = {int(v): int(v) for v in seen} if values is None else {int(v): int(i) for v, i in values.items()}
    unknown = [int(v) for v in seen if int(v) not in table or not 0 <= table[int(v)] <= 255]
    if unknown:
        raise ValueError(
            f"case '{name}': {key} {path} holds the values {unknown}, which dataset.json does not name; it names "
            f"{sorted(table)} ('labels' for masks, 'weak_label.values' for weak labels)."
        )
    keys = np.array(sorted(table))
    indices = np.array([table[int(k)] for k in keys], dtype=np.uint8)
    return MetaTensor(torch.from_numpy(indices[np.searchsorted(keys, rounded)]), meta=volume.meta)


LoadCaseD = LoadCaseDict = LoadCased
