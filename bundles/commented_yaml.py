# SPDX-License-Identifier: Apache-2.0
"""Read, change and write YAML with its comments: a value that is replaced or moved keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml


@dataclass
class Item:
    """A value, its text as written or a block of further items, with the comment lines above and the one behind it."""

    value: Any
    above: list[str] = field(default_factory=list)
    behind: str = ""


def read(text: str) -> dict[str, Item]:
    """The items of a file. What is in braces, brackets or quotes stays as it is written."""
    lines, given = text.splitlines(), 0

    def item(node: yaml.Node, begin: yaml.Mark, key: yaml.Node | None) -> Item:
        nonlocal given
        above = [line.strip() for line in lines[given : begin.line]]
        block = isinstance(node, yaml.CollectionNode) and not node.flow_style
        end = key.end_mark if block and key else node.end_mark
        given = (begin if block else end).line + 1
        if block and not key:
            return Item(items(node), above)
        rest = lines[end.line][end.column :].lstrip(":")
        value = items(node) if block else text[node.start_mark.index : node.end_mark.index]
        return Item(value, above, rest.strip())

    def items(node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {key.value: item(value, key.start_mark, key) for key, value in node.value}
        return [item(value, value.start_mark, None) for value in node.value]

    return items(yaml.compose(text))


def write(items: Any, indent: str = "") -> Iterator[str]:
    """Lines of a file."""
    named = isinstance(items, dict)
    for key, item in items.items() if named else enumerate(items):
        yield from (f"{indent}{line}" if line else "" for line in item.above)
        head = [f"{indent}{key}:" if named else f"{indent}-"]
        body: list[str] = []
        if isinstance(item.value, str):
            first, *more = item.value.split("\n")
            head = [f"{head[0]} {first}".rstrip(), *(f"{indent}  {line.strip()}" for line in more)]
        else:
            body = list(write(item.value, indent + "  " * (not named or isinstance(item.value, dict))))
            if not named:
                head = [head[0] + body.pop(0)[len(indent) + 1 :]]
        if item.behind.strip("#"):
            head[-1] = (head[-1].ljust(28) if len(head[-1]) <= 26 else f"{head[-1]}   ") + item.behind
        yield from (*head, *body)


def split(config: Any, path: str) -> list[str]:
    """The parts of a path, the first one the longest that is an id of a configuration (all of it if there is none)."""
    words = path.split("#")
    known = [n for n in range(len(words), 0, -1) if "#".join(words[:n]) in config] or [len(words)]
    return ["#".join(words[: known[0]]), *words[known[0] :]]


def look(items: Any, words: list[str]) -> Any:
    """The value at a path."""
    for word in words:
        items = (items[int(word)] if isinstance(items, list) else items[word]).value
    return items


def put(config: dict[str, Item], path: str, new: Item, last: str) -> None:
    """Lay an item over a configuration; a new id stands behind ``last``, the one before, where that is beside it."""
    *parents, key = split(config, path.lstrip("+"))
    node = look(config, parents)
    if isinstance(node, dict) and key not in node:
        before = split(config, last if last in config else last.lstrip("+"))
        order = [name for name in node if not name.startswith(f"{path}#")]  # those were parts of it
        beside = before[len(parents)] if before[:-1][: len(parents)] == parents else ""
        at = order.index(beside) + 1 if beside in order else len(order)
        items = {name: node[name] for name in order}
        node.clear()
        node |= {name: items[name] for name in order[:at]} | {key if parents else path: new}
        node |= {name: items[name] for name in order[at:]}
        return
    old = node[key] if isinstance(node, dict) else node[int(key)]
    if path.startswith("+"):
        new = replace(old, value=old.value + new.value)
    elif old.value != "REMOVED" and not (new.above or new.behind):
        new = replace(old, value=new.value)
    else:  # blank lines and titles of the base stay
        titles = max((n + 1 for n, line in enumerate(old.above) if not line or line.startswith("# --")), default=0)
        new = replace(new, above=old.above[:titles] + [line for line in new.above if line])
    node[key if isinstance(node, dict) else int(key)] = new


def pruned(value: Any) -> Any:
    """A value without what is ``REMOVED``."""
    if isinstance(value, list):
        return [replace(item, value=pruned(item.value)) for item in value if item.value != "REMOVED"]
    if isinstance(value, dict):
        return {key: replace(i, value=pruned(i.value)) for key, i in value.items() if i.value != "REMOVED"}
    return value


def each(value: Any, change: Callable[[str], Any]) -> Any:
    """A value with all of its texts changed. A list that takes the place of an item of a list is spliced in."""
    if isinstance(value, dict):
        return {key: replace(item, value=each(item.value, change)) for key, item in value.items()}
    if isinstance(value, str):
        return change(value)
    new: list[Item] = []
    for item in value:
        inner = each(item.value, change)
        spliced = isinstance(item.value, str) and isinstance(inner, list)
        new += inner if spliced else [replace(item, value=inner)]
    return new
