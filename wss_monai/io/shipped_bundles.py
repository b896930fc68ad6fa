# SPDX-License-Identifier: Apache-2.0
"""The bundles that come with the package: which there are, and a copy of one to run and to change."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import wss_monai
from wss_monai.io.page_links import outside_links
from wss_monai.io.whole_folder import whole_folder

__all__ = ["ShippedBundle", "bundles_folder", "copy_bundle", "missing_file", "shipped_bundles"]

INSTALLED = "bundles_data"
"""Folder of the bundles in an installed package (setup.py); in a clone it is `bundles` beside the package."""
METADATA = Path("configs") / "metadata.json"
PARTS = ("configs", "docs", "models", "LICENSE")
"""What a bundle ships; its sources in a clone, `bundle.yaml` and `source`, are not."""


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle that comes with the package: its name, what it is for, and whether it has trained weights."""

    name: str
    task: str
    weights: bool


def bundles_folder() -> Path:
    """Give the folder that holds the bundles, of an installed package or of a clone.

    Raises:
        FileNotFoundError: there is none, since the package was copied without them.
    """
    package = Path(wss_monai.__file__).resolve().parent
    for folder in (package / INSTALLED, package.parent / "bundles"):
        if any(folder.glob(f"*/{METADATA.as_posix()}")):
            return folder
    raise FileNotFoundError(
        f"the bundles are missing beside {package}: install the package again (pip install --force-reinstall)"
    )


def shipped_bundles() -> list[ShippedBundle]:
    """List the bundles by name."""
    found = []
    for file in sorted(bundles_folder().glob(f"*/{METADATA.as_posix()}")):
        about, root = json.loads(file.read_text(encoding="utf-8")), file.parents[1]
        found.append(ShippedBundle(root.name, str(about["task"]), (root / "models" / "model.pt").is_file()))
    return found


def copy_bundle(name: str, out: str | os.PathLike[str]) -> Path:
    """Copy a bundle, whole or not at all; links of its page that lead out of it become words.

    Args:
        name: of the bundle.
        out: the folder that becomes the bundle.

    Returns:
        ``out``.

    Raises:
        ValueError: there is no such bundle.
        FileExistsError: something is there that is not an empty folder.
    """
    names = [bundle.name for bundle in shipped_bundles()]
    if name not in names:
        raise ValueError(f"there is no bundle '{name}'; there are {', '.join(names)}")
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"--out: '{out}' is there already; choose another folder, or remove it")
    source = bundles_folder() / name
    with whole_folder(out) as work:
        for part in PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, work / part)
            elif (source / part).is_file():
                shutil.copyfile(source / part, work / part)
        for page in work.glob("docs/*.md"):
            page.write_text(outside_links(page.read_text(encoding="utf-8"), page, work), encoding="utf-8")
    return out


def missing_file(file: str | os.PathLike[str]) -> str:
    """Say that a configuration file is not there, and how to get the bundle that it would be of."""
    parts = Path(file).parts
    name = parts[-3] if len(parts) > 2 and parts[-2] == "configs" else ""
    known = any(bundle.name == name for bundle in shipped_bundles())
    place = "" if parts[:-2] == ("bundles", name) else f" --out {Path(*parts[:-2]).as_posix()}" if known else ""
    return f"--config_file: there is no file '{file}'" + (f"; `wss-monai bundles copy {name}{place}` makes it" * known)
