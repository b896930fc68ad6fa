# SPDX-License-Identifier: Apache-2.0
"""Settings as plain data: references and expressions of a configuration in the place of which stands what they say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from wss_monai.bundle.choice import resolve

__all__ = ["NotPlain", "PlainSettings"]

REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
CHOOSE = "wss_monai.bundle.choose"
DEPTH = 40


class NotPlain(Exception):
    """A setting that is an object of Python, which no file can hold without running code when it is read."""


class _Component:
    """Stands for a component in an expression that passes it on, as in ``$[@a, @b] if @c else [@b]``."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told


class PlainSettings:
    """Look up what settings say, components as dictionaries of plain values.

    Expressions are evaluated, as MONAI does when the run begins: so only the configuration that runs is looked at.
    Nothing is built: a component stays a dictionary with ``_target_``, in which each reference is replaced by what it
    refers to and each expression by its value. One of several choices (``wss_monai.bundle.choose``) is the chosen one.

    Args:
        config: of a parser, its macros filled in.
        kept: id -> text that stands for it wherever something refers to it.
        dropped: ``_target_`` -> arguments that are left out.
    """

    def __init__(
        self, config: Mapping[str, Any], kept: Mapping[str, str] = {}, dropped: Mapping[str, Sequence[str]] = {}
    ) -> None:
        self.config = config
        self.kept, self.dropped = dict(kept), dict(dropped)
        self.names: dict[str, Any] = {}
        for line in config.get("imports", ()):
            if isinstance(line, str) and line.startswith("$"):
                exec(line[1:], self.names)  # as MONAI did when the run began
        self.depth = 0

    def node(self, name: str) -> tuple[str, Any]:
        """What is written under an id, and the id of that where a part of it is a reference.

        Raises:
            KeyError: there is no such setting.
        """
        path: list[str] = []
        node: Any = self.config
        for part in name.replace("::", "#").split("#"):
            if isinstance(node, str) and (match := REFERENCE.fullmatch(node)):
                there, node = self.node(match[1])
                path = there.split("#")
            try:
                node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
            except (KeyError, IndexError, TypeError, ValueError):
                raise KeyError(name) from None
            path.append(part)
        return "#".join(path), node

    def __contains__(self, name: str) -> bool:
        try:
            self.node(name)
        except KeyError:
            return False
        return True

    def __getitem__(self, name: str) -> Any:
        """What a setting says; None for a component that is disabled.

        Raises:
            NotPlain: it is, or needs, an object of Python.
        """
        if name in self.kept:
            return self.kept[name]
        try:
            path, node = self.node(name)
        except KeyError:
            raise NotPlain(f"there is no setting '{name}'") from None
        self.depth += 1
        try:
            if self.depth > DEPTH:
                raise NotPlain(f"'{name}' refers to itself")
            return self.value(node, path)
        finally:
            self.depth -= 1

    def value(self, node: Any, path: str) -> Any:
        """What is written at an id."""
        if isinstance(node, Mapping):
            return self._mapping(node, path)
        if isinstance(node, (list, tuple)):
            items = [(self.value(item, f"{path}#{number}"), item) for number, item in enumerate(node)]
            return [value for value, item in items if value is not None or not _component(item)]
        if isinstance(node, str) and (match := REFERENCE.fullmatch(node)):
            return self[match[1].replace("::", "#")]
        if isinstance(node, str) and node.startswith("$"):
            return self._expression(node[1:], path)
        return plain(node, path)

    def items(self, name: str) -> Iterator[tuple[str, Any]]:
        """Id and what is written there of each item of a list, also where the list is a reference."""
        try:
            path, node = self.node(name)
        except KeyError:
            raise NotPlain(f"there is no setting '{name}'") from None
        if isinstance(node, str) and (match := REFERENCE.fullmatch(node)):
            yield from self.items(match[1].replace("::", "#"))
        elif isinstance(node, (list, tuple)):
            yield from ((f"{path}#{number}", item) for number, item in enumerate(node))
        else:
            raise NotPlain(f"'{path}' is no list")

    def _mapping(self, node: Mapping[str, Any], path: str) -> Any:
        if not _component(node):
            return {str(key): self.value(value, f"{path}#{key}") for key, value in node.items()}
        if "_disabled_" in node:
            off = self.value(node["_disabled_"], f"{path}#_disabled_")
            if str(off).lower() == "true":
                return None
        target = node["_target_"]
        if target == CHOOSE:
            value = self.value(node["value"], f"{path}#value")
            key = resolve(str(node["name"]), value, node["choices"])
            return self.value(node["choices"][key], f"{path}#choices#{key}")
        left = {"_disabled_", "_requires_", "_desc_", *self.dropped.get(target, ())}
        return {str(key): self.value(value, f"{path}#{key}") for key, value in node.items() if key not in left}

    def _expression(self, text: str, path: str) -> Any:
        code = REFERENCE.sub(lambda match: f"__settings__[{match[1].replace('::', '#')!r}]", text)
        try:
            found = eval(code, {**self.names, "__settings__": _Lazy(self)})
        except NotPlain:
            raise
        except Exception as error:
            raise NotPlain(f"'{path}' is the expression {text[:80]!r}, which needs more than settings") from error
        return plain(found, path)


class _Lazy:
    """What an expression refers to, looked up when it gets there."""

    def __init__(self, settings: PlainSettings) -> None:
        self.settings = settings

    def __getitem__(self, name: str) -> Any:
        return _hidden(self.settings[name])


def _component(node: Any) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def _hidden(value: Any) -> Any:
    """A value in which no component can be taken for a dictionary."""
    if _component(value):
        return _Component(value)
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return {key: _hidden(item) for key, item in value.items()} if isinstance(value, dict) else value


def plain(value: Any, path: str) -> Any:
    """A value that JSON can hold.

    Raises:
        NotPlain: there is none.
    """
    if isinstance(value, _Component):
        return value.told
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple, range)):
        return [plain(item, path) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, path) for key, item in value.items()}
    raise NotPlain(f"'{path}' is an object of {type(value).__module__}.{type(value).__qualname__}")
