# SPDX-License-Identifier: Apache-2.0
"""Settings of a run: files of one's own and values on the command line, right or refused by their name."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fuzz.ground import Ground
from fuzz.trial import WRONG, Case

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "acdc_logbarrier" / "configs"
FILES = ("train.yaml", "cpu.yaml")
PAGE = ROOT / "docs" / "reference" / "configuration.md"
VALUES = (
    "", " ", "x", "0", "1", "-1", "1.5", "nan", "inf", "1e-3", "1e30", "true", "False", "no", "~", "null", "[]", "{}",
    "[0]", "[-1]", "[1, 2]", "[0, 0, -1]", "[15, 15, -1]", "[.nan, 1, 1]", "[background]", "[background, RV, RV]",
    "{RV: 5}", "{RV: [5, 1]}", "{RV: [0, .nan]}", "{nobody: [1, 2]}", "@mode", "@nowhere", "@nowhere::x", "$1/0",
    "$nothing", "$[", "%nowhere.yaml::x", "../../x", "/dev/null", "/proc/x", "'a\\0b'", '"a\\nb"', "cuda", "2 ** 64",
    "18446744073709551616", "'1" + "0" * 400 + "'",
)  # fmt: skip
TEXTS = {
    "a Python object": "x: !!python/object/apply:os.mkdir [ran]\n",
    "a tab": "mode:\n\tfull\n",
    "bytes": "\xff\xfe\x00",
    "a list": "- 1\n",
    "a number": "5\n",
    "brackets": "[" * 5000,
    "an unknown id": "foo: 1\n",
    "a misspelt id": "learning_rat: 0.1\n",
    "a misspelt nested id": "train#trainer#max_epoch: 1\n",
    "itself": "mode: '@mode'\n",
    "an unknown reference": "mode: '@nowhere'\n",
    "an unfinished text": "mode: 'full\n",
    "an unfinished map": "mode: {a: 1\n",
    "two documents": "mode: full\n---\nmode: partial\n",
    "a key of a list": "[a, b]: 1\n",
}


def files(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Texts that are no settings, then one setting after the other with a value drawn at random, in a file."""
    for told, text in TEXTS.items():
        yield _case(ground, f"a file with {told}", text, (), "refuse", ("mine.yaml", "mode", "foo", "rat", "max_epoch"))
    names = _settings()
    while True:
        name, value = draw.choice(names), draw.choice(VALUES)
        yield _case(ground, f"{name}: {value[:40]}", f"{name}: {value}\n", (), "any", _words(name, value))


def words(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """The same on the command line."""
    names = _settings()
    while True:
        name, value = draw.choice(names), draw.choice(VALUES)
        yield _case(ground, f"--{name} {value[:40]}", "", (f"--{name}", value), "any", _words(name, value))


def _settings() -> list[str]:
    """The settings that the reference lists."""
    return re.findall(r"^\| `([a-z_]\w*(?:#\w+)*)` \| `", PAGE.read_text(), re.M)


def _words(name: str, value: str) -> tuple[str, ...]:
    """One of them stands in a refusal: the id, its ends, what holds it, a long value; "folder" where one is missing."""
    long = (value.strip("'")[:40],) if len(value) > 40 else ()
    return (name, name.split("#")[0], name.split("#")[-1], "mine.yaml", "data set folder", "setting 'train#", *long)


def _case(ground: Ground, told: str, text: str, more: tuple[str, ...], right: str, names: tuple[str, ...]) -> Case:
    place = ground.fresh()
    mine = place / "mine.yaml"
    mine.write_bytes(text.encode("latin-1"))
    listed = [str(CONFIGS / name) for name in FILES] + ([str(mine)] if text else [])
    return Case(f"train: {told}", _trained(ground.data, place, listed, more, names), right, names, inputs=ground.data)


def _trained(
    data: Path, place: Path, listed: list[str], more: tuple[str, ...], names: tuple[str, ...]
) -> Callable[[], int]:
    """Give a call of `trained` in which the line does not win over the file of a trial."""

    def call() -> int:
        mine = f"\n{(place / 'mine.yaml').read_text(errors='replace')}"
        own = [name for name in _settings() if f"\n{name}: " in mine]
        code = trained(data, place, listed, more, own, names)
        if (place / "ran").exists() or (ROOT / "ran").exists():
            print("a settings file ran code")
            return WRONG
        return code

    return call


def trained(
    data: Path,
    place: Path,
    listed: Sequence[str],
    more: Sequence[str],
    own: Sequence[str] = (),
    names: Sequence[str] = (),
) -> int:
    """Run `python -m monai.bundle run training` for one epoch; 2 where it is refused.

    What MONAI cannot read, before code of this project runs, ends with MONAI's own traceback, which is no fault here.

    Args:
        data: folder of the data set.
        place: where it runs; the output goes to its folder "run".
        listed: configuration files.
        more: further words of the line.
        own: settings that the files hold.
        names: one of them is named where MONAI itself refuses.
    """
    from this_process import run_module
    from tiny import TINY

    settings = {**TINY, "train#trainer#max_epochs": 1, "dataset_dir": str(data), "output_dir": str(place / "run")}
    settings = {name: value for name, value in settings.items() if name not in own and f"--{name}" not in more}
    line = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    os.chdir(place)
    done = run_module("monai.bundle", "run", "training", "--config_file", str(list(listed)), *line, *more, cwd=place)
    if done.returncode and "Traceback" in done.stderr and "/wss_monai/" not in done.stderr:
        print("Error: mine.yaml or a setting is refused by MONAI", *names[:1], file=sys.stderr)
        return 2
    print(done.stdout)
    print(done.stderr, file=sys.stderr)
    return 2 if done.returncode else 0
