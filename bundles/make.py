# SPDX-License-Identifier: Apache-2.0
"""Write what the bundles ship: `python bundles/make.py` writes bundles/*/configs, `--check` names what is stale.

A bundle is an overlay of its ``base``, another bundle or ``frame``, in MONAI's words: ``a#b: value`` replaces and
``+list: [...]`` adds. Each section of its ``bundle.yaml``, and each file in ``source``, is a layer of the file of its
name. A bundle ships the frame's files but those ``without``, and those that it has a layer of. The comment above a
layer is the head of the file, with the commands of the base unless it has its own. Besides MONAI's words:

- ``%train.yaml::a#b`` is what the assembled file of the same bundle says there, with ``?X=y&Z=w`` behind it y for X and
  w for Z. A list in the place of an item of a list is spliced in. ``parts.yaml`` is read like this alone.
- ``REMOVED: [a, b#0]``, or as a value, takes away what the base has; until then it counts in the numbers of a list.
- ``NAME`` is the bundle's name, ``CLASSES`` its number of classes, ``MODE`` its mode. ``SETTINGS`` are the settings
  under the title that says that a resumed run has the same.

A value without comments has those of what it replaces. A new id stands behind the one before it in its layer.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from commented_yaml import Item, each, look, pruned, put, read, split, write

ROOT = Path(__file__).resolve().parent
MACRO = re.compile(r"%(\w+)\.yaml::([\w#]+)(?:\?(.+))?$")


def filled(bundle: str, written: str, words: dict[str, str] | None = None) -> Any:
    """A value with its macro, ``CLASSES`` and ``words`` filled in."""
    for word, other in (words or {}).items():
        written = written.replace(word, other)
    if word := re.search(r"\b(CLASSES|MODE)\b", written):
        said = yaml.safe_load(assemble(bundle, "train")["class_names" if word[0] == "CLASSES" else "mode"].value)
        return written.replace(word[0], said if word[0] == "MODE" else str(len(said)))
    if not (macro := MACRO.match(str(yaml.safe_load(written)))):
        return written
    found = assemble(bundle, macro[1])
    words = dict(pair.split("=", 1) for pair in (macro[3] or "").split("&") if pair)
    return each(look(found, split(found, macro[2])), lambda text: filled(bundle, text, words))


@functools.cache
def source(file: Path, bundle: str) -> Item:
    """What a file says, of a bundle by name, and the comment at its top; nothing where there is no file."""
    items = read(re.sub(r"\bNAME\b", bundle, file.read_text())) if file.is_file() else {"": Item("")}
    first = next(iter(items.values()))
    head, first.above = first.above, []
    return Item(items, head)


def layers(bundle: str, stem: str, name: str | None = None) -> Iterator[tuple[str, list[str], dict[str, Item]]]:
    """Who says something of a file of a bundle, the frame first: name, head of the file, items."""
    name = name or bundle
    about = source(ROOT / name / "bundle.yaml", bundle).value
    if name != "frame":
        yield from layers(bundle, stem, about["base"].value)
    folder = ROOT / name / ("" if name == "frame" else "source")
    layer = about.get(stem) or source(folder / f"{stem}.yaml", bundle)
    if "" not in layer.value:
        items = each(layer.value, functools.partial(filled, bundle)) if layer.value != "{}" else {}
        removed = yaml.safe_load(items.pop("REMOVED", Item("[]")).value)
        yield name, [line for line in layer.above if line], items | {path: Item("REMOVED") for path in removed}


@functools.cache
def assemble(bundle: str, stem: str) -> dict[str, Item]:
    """All that is said of a file, laid over each other; what is removed is still in it."""
    config: dict[str, Item] = {}
    for _, _, items in layers(bundle, stem):
        for path, last in zip(items, ["", *items], strict=False):
            put(config, path, items[path], last)
    if "same_when_resumed" in config:
        same = config["same_when_resumed"]
        same.value = same.value.replace("SETTINGS", settings(config))
    return config


def settings(config: dict[str, Item]) -> str:
    """What a resumed run has to share, as arguments: the data, the whole configuration, and settings as they end up."""
    title, same = "", []
    for name, item in pruned(config).items():
        title = next((line for line in item.above if line.startswith("# --")), title)
        same += [name] if "a resumed run has the same" in title else []
    words = [
        "sha256_of_dataset_json=@data.dataset.digest",
        "configuration=whole_configuration()",
        *(f"{n}=@{n}" for n in same),
    ]
    return "\n" + "\n".join(textwrap.wrap(", ".join(words), 110))


def text(bundle: str, stem: str) -> str:
    """What the file of a bundle says."""
    body = "\n".join(write(pruned(assemble(bundle, stem)))) + "\n"
    names, head = [], []
    for name, own, _ in layers(bundle, stem):
        commands = any(line.startswith("#   ") for line in own) or not own
        head = (own or head) if commands else own + [line for line in head if line.startswith("#   ")]
        names.append(name)
    if stem != "metadata":
        return "\n".join([f"# Made by `make bundles` from {', '.join(names)}: change those, not this.", *head, body])
    about = yaml.safe_load(body)
    formats = about["network_data_format"]
    for images in formats.values():
        for image in images.values():
            image["spatial_shape"] = formats["inputs"]["image"]["spatial_shape"]
            image["channel_def"] = {str(number): name for number, name in enumerate(image["channel_def"])}
            image.setdefault("num_channels", len(image["channel_def"]))
    return json.dumps(about, indent=4) + "\n"


def files(bundle: str) -> dict[Path, str]:
    """The files that a bundle ships, and what they say."""
    about = yaml.safe_load((ROOT / bundle / "bundle.yaml").read_text())
    stems = {file.stem for file in [*ROOT.glob("frame/*.yaml"), *ROOT.glob(f"{bundle}/source/*.yaml")]} | {*about}
    stems -= {"base", "without", "parts", *about.get("without", [])}
    made = {f"configs/{stem}.{'json' if stem == 'metadata' else 'yaml'}": text(bundle, stem) for stem in stems}
    made["configs/logging.conf"] = (ROOT / "frame" / "logging.conf").read_text()
    made["LICENSE"] = (ROOT.parent / "LICENSE").read_text()
    return {ROOT / bundle / name: said for name, said in made.items()}


def main(check: bool) -> int:
    """Write the files of all bundles, or name those that are stale; gives their number."""
    made = {file: said for about in ROOT.glob("*/bundle.yaml") for file, said in files(about.parent.name).items()}
    there = {*ROOT.glob("*/configs/*"), *(file for file in made if file.is_file())}
    stale = sorted(file for file in {*made, *there} if file not in there or file.read_text() != made.get(file))
    for file in stale:
        print(f"{'stale' if check else 'written'}: {file.relative_to(ROOT.parent)}")
        if not check:
            file.parent.mkdir(exist_ok=True)
            file.write_text(made[file]) if file in made else file.unlink()
    return len(stale)


if __name__ == "__main__":
    checking = "--check" in sys.argv
    sys.exit(bool(main(checking)) and checking)
