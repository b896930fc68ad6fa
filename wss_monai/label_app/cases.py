# SPDX-License-Identifier: Apache-2.0
"""The images and labels that MONAI Label has stored, as a list of cases that a bundle trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wss_monai.data.label_semantics import BACKGROUND, UNLABELLED_NAME
from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.label_app.settings import AppSettings

__all__ = ["Store", "stored_cases"]

TAG = "final"
"""Of labels that were submitted; MONAI Label calls its own predictions "original"."""
SEGMENTATION = ".seg.nrrd"


class Store(Protocol):
    """What is asked of `monailabel.interfaces.datastore.Datastore`."""

    def list_images(self) -> list[str]:
        """Ids of all images."""

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image."""

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Id of a label, empty where there is none."""

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label."""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What a client told of it."""


def stored_cases(
    store: Store, class_names: Sequence[str], settings: AppSettings, without_labels: bool = False
) -> dict[str, Any]:
    """List what is stored, as the setting `datalist` of a bundle takes it.

    The n-th name that 3D Slicer sent along with a label means the value n in it, since the labelmap that it sends
    numbers the segments that it sends; a `.seg.nrrd` names its segments itself. Names are compared without regard to
    capitals, as MONAI Label shows the classes in small letters.

    Args:
        store: of the app.
        class_names: the bundle's, background first.
        settings: what labels mean.
        without_labels: list images that have no label too, for bundles that learn from them.

    Returns:
        `name`, `labels`, `weak_label` and `training`.

    Raises:
        ValueError: no label is stored, or a segment is no class; names image and segment.
    """
    training = []
    for image in sorted(store.list_images()):
        case: dict[str, Any] = {"case": _plain(image), "patient": _patient(image, settings)}
        case["image"] = store.get_image_uri(image)
        if label := store.get_label_by_image_id(image, TAG):
            told = store.get_label_info(label, TAG) or {}
            case |= _label(image, store.get_label_uri(label, TAG), told, class_names, settings)
        elif not without_labels:
            continue
        training.append(case)
    if not any("label" in case or "weak_label" in case for case in training):
        raise ValueError(
            "no label is stored: draw in some images and press Submit Label in 3D Slicer, or put files of the images' "
            "names into the folder labels/final of the studies"
        )
    values = {str(index): name for index, name in enumerate(class_names)}
    weak = {
        "kind": WeakKind.SCRIBBLE.value,
        "values": values | {"255": UNLABELLED_NAME},
        "undrawn_means_absent": settings.undrawn_means_absent,
    }
    return {"name": "MONAI Label", "labels": values, "weak_label": weak, "training": training}


def _label(
    image: str, path: str, told: Mapping[str, Any], class_names: Sequence[str], settings: AppSettings
) -> dict[str, Any]:
    """Give what an entry says of its label."""
    complete = settings.submitted == "complete"
    names = _names(told)
    where = f"the label of '{image}' ({path})"
    meant = {name: _class(name, where, class_names, settings) for name in names}
    key, section = ("label", "labels") if complete else ("weak_label", "weak_labels")
    entry: dict[str, Any] = {key: path}
    if path.lower().endswith(SEGMENTATION):
        table = {shown: name for name in class_names[1:] for shown in (name, name.lower())} | meant
        if complete:
            return entry | {"segments": {segment: name for segment, name in table.items() if name != UNLABELLED_NAME}}
        table |= {settings.outside: BACKGROUND}
        return entry | {section: {"kind": WeakKind.SCRIBBLE.value, "segments": table}}
    if names:
        values = {0: BACKGROUND if complete else UNLABELLED_NAME}
        values |= {place: meant[name] for place, name in enumerate(names, start=1)}
    elif settings.values is not None:
        values = {value: _class(name, where, class_names, settings) for value, name in settings.values.items()}
    else:
        return entry  # class indices, and 255
    if not complete:
        return entry | {section: {"values": {str(value): name for value, name in values.items()}}}
    free = max(values) + 1
    values |= dict(enumerate([name for name in class_names if name not in values.values()], start=free))
    return entry | {section: {str(value): name for value, name in values.items()}}


def _names(told: Mapping[str, Any]) -> list[str]:
    """Give the names of segments that came with a label, in their order."""
    sent = told.get("label_info") or (told.get("params") or {}).get("label_info") or []
    return [str(item["name"]) for item in sent if isinstance(item, Mapping) and item.get("name")]


def _class(name: str, where: str, class_names: Sequence[str], settings: AppSettings) -> str:
    """Give the class that a segment's name means.

    Raises:
        ValueError: none.
    """
    known = {known.lower(): known for known in class_names}
    drawing = settings.submitted == "drawing"
    if drawing:
        known |= {settings.outside.lower(): BACKGROUND, UNLABELLED_NAME: UNLABELLED_NAME}
    if (meant := known.get(name.strip().lower())) is None:
        outside = f", '{settings.outside}' for background" if drawing else ""
        raise ValueError(
            f"{where} has a segment '{name}', which is no class: rename it in 3D Slicer to one of {class_names[1:]}"
            f"{outside}, and submit it again; or set class_names in app.yaml"
        )
    return meant


def _patient(image: str, settings: AppSettings) -> str:
    match = settings.patient.fullmatch(image) if settings.patient is not None else None
    if settings.patient is not None and (match is None or not match["patient"]):
        raise ValueError(
            f"'patient' in app.yaml, '{settings.patient.pattern}', matches not the whole id of the image '{image}'"
        )
    return match["patient"] if match is not None else _plain(image)


def _plain(image: str) -> str:
    """Make a case id, after which files can be named, of the id of an image."""
    return image.replace("/", "_").replace("\\", "_").lstrip(".") or "image"
