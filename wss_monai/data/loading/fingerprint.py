# SPDX-License-Identifier: Apache-2.0
"""What a store of prepared cases was made of, as a short text: the same files, transforms and code, the same text."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["fingerprint"]

ROOMS = ("functional", "io", "data", "transforms")
"""Rooms of this package whose code prepares cases."""
PACKAGES = ("torch", "monai", "numpy", "nibabel", "SimpleITK", "scipy")
"""Whose versions count."""


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits that are the same where the parts, the files they name and the code are the same.

    Of files count the path relative to the folder that all have in common, the size and the time of the last change,
    so that a data set may be mounted elsewhere. Of objects count the class and all attributes, of classes and functions
    of other packages the source file, of this package the rooms that prepare cases, of MONAI, torch, numpy, scipy and
    the readers the version.

    Args:
        parts: cases, transforms, settings: numbers, texts, arrays, tensors, collections, functions and objects of them.

    Raises:
        ValueError: an object whose content cannot be told, such as an open file.
    """
    hasher = _Hasher(_common_folder(parts))
    for part in parts:
        hasher.add(part)
    hasher.put("versions", *(f"{name} {_version(name)}" for name in PACKAGES), _own_code())
    return hasher.hash.hexdigest()[:32]


class _Hasher:
    """Feeds a hash with objects, each with its kind and length, so that no two sequences look alike."""

    def __init__(self, folder: str) -> None:
        self.hash = hashlib.sha256()
        self.folder = folder
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no id comes twice

    def put(self, *texts: str) -> None:
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            self.hash.update(b"%d:" % len(raw) + raw)

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | bytes | torch.dtype | torch.device):
            self.put(type(value).__name__, repr(value))
        elif isinstance(value, str | os.PathLike):
            self._text(os.fspath(value))
        elif isinstance(value, Enum):
            self.put("enum", type(value).__qualname__, value.name)
        elif isinstance(value, Mapping):
            self.put("mapping", str(len(value)))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, set | frozenset):
            self.put("set", *sorted(fingerprint_of_item(item, self.folder) for item in value))
        elif isinstance(value, Sequence) and isinstance(value, list | tuple | range):
            self.put("sequence", str(len(value)))
            for item in value:
                self.add(item)
        else:
            self._object(value)

    def _text(self, text: str) -> None:
        facts = _facts(text) if os.sep in text or "." in text else None
        if facts is None:
            self.put("text", text)
        else:
            self.put("file", os.path.relpath(text, self.folder) if self.folder else text, *facts)

    def _object(self, value: Any) -> None:
        if id(value) in self.seen:
            self.put("again", str(self.seen[id(value)]))
            return
        self.seen[id(value)] = len(self.seen)
        self.alive.append(value)
        if isinstance(value, Tensor | np.ndarray | np.generic):
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            self.put("array", str(array.dtype), str(array.shape))
            self.hash.update(np.ascontiguousarray(array).tobytes())
        elif isinstance(value, type):
            self.put("class", value.__module__, value.__qualname__, _code_of(value.__module__))
        elif isinstance(value, functools.partial):
            self.put("partial")
            self.add([value.func, value.args, value.keywords])
        elif inspect.ismethod(value):
            self.put("method", value.__name__)
            self.add(value.__self__)
        elif inspect.isfunction(value):
            self._function(value)
        elif inspect.isbuiltin(value) or isinstance(value, np.ufunc):
            self.put("builtin", str(getattr(value, "__module__", "")), value.__name__)
        elif isinstance(value, np.random.RandomState):
            self.put("random state")  # draws that depend on more than the case are not for a store
        else:
            self._attributes(value)

    def _function(self, value: Any) -> None:
        self.put("function", value.__module__ or "", value.__qualname__, _code_of(value.__module__ or ""))
        self._code(value.__code__)
        self.add([cell.cell_contents for cell in value.__closure__ or ()])
        self.add([value.__defaults__, value.__kwdefaults__])

    def _code(self, code: CodeType) -> None:
        self.put(code.co_code.hex(), *code.co_names)
        for const in code.co_consts:
            if isinstance(const, CodeType):
                self._code(const)
            else:
                self.add(None if const is Ellipsis else const)

    def _attributes(self, value: Any) -> None:
        kind = type(value)
        held = dict(getattr(value, "__dict__", {}))
        for owner in kind.__mro__:
            slots = owner.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            held |= {name: getattr(value, name) for name in names if name not in held and hasattr(value, name)}
        held = {
            name: item for name, item in held.items() if not isinstance(item, threading.local)
        }  # MONAI's, once used
        if not hasattr(value, "__dict__") and not held and kind is not object:
            raise ValueError(
                f"a store on a disk needs to know what prepares the cases, but nothing tells what a {kind.__module__}."
                f"{kind.__qualname__} holds; choose --store memory."
            )
        self.add(kind)
        self.put(str(len(held)))
        for name in sorted(held):
            self.put(name)
            self.add(held[name])


def fingerprint_of_item(item: Any, folder: str) -> str:
    """Hash of one member of a set, whose order is nobody's."""
    hasher = _Hasher(folder)
    hasher.add(item)
    return hasher.hash.hexdigest()


def _facts(path: str) -> tuple[str, ...] | None:
    """Size and time of a file, or of the files of a folder; None: there is no such thing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not os.path.isdir(path):
        return (str(found.st_size), str(found.st_mtime_ns))
    facts: list[str] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file():
                facts += [entry.name, str(entry.stat().st_size), str(entry.stat().st_mtime_ns)]
    return tuple(facts)


def _common_folder(parts: Sequence[Any]) -> str:
    """Folder that the images of all cases have in common; nothing where there are no cases."""
    folders: set[str] = set()
    for part in parts:
        for case in part if isinstance(part, list) else ():
            image = case.get("image") if isinstance(case, Mapping) else None
            for name in [image] if isinstance(image, str) else image if isinstance(image, list) else ():
                folders.add(os.path.dirname(os.path.abspath(name)))
    return os.path.commonpath(folders) if folders else ""


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@functools.cache
def _own_code() -> str:
    root = Path(__file__).resolve().parents[2]
    code = hashlib.sha256()
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            code.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return code.hexdigest()


@functools.cache
def _code_of(module: str) -> str:
    """Hash of the file of a module that is neither ours nor of a package whose version counts."""
    if module.partition(".")[0] in {*PACKAGES, "wss_monai", "builtins"}:
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or not file.endswith(".py"):
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
