# SPDX-License-Identifier: Apache-2.0
"""Enforcers, statements of anatomy, weights to start from, thinned and grown weak labels: what nobody meant."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from fuzz.ground import Ground
from fuzz.settings import CONFIGS, trained
from fuzz.trial import Case

MULTIPLIERS = ("augmented_lagrangian", "primal_dual")
ENFORCERS = (
    *(f"enforcer={value}" for value in ("x", "Quadratic", "null", "5", "[quadratic]", "", "primal-dual")),
    *(f"enforcer_weight={value}" for value in ("-1", "nan", "inf", "x", "null", "[1]", "True")),
    *(f"enforcer_weights={value}" for value in ("{'primal_dual': -1}", "{'primal_dual': 'x'}", "[1]", "5", "null")),
    "enforcer_weights={'primaldual': 1.0}",
    *(f"enforcers#primal_dual#rate={value}" for value in ("0", "-0.1", "nan", "inf", "x", "null", "True")),
    *(f"enforcers#primal_dual#damping={value}" for value in ("-1", "nan", "inf", "x", "True")),
    *(f"enforcers#primal_dual#memory={value}" for value in ("1", "-0.1", "nan", "x", "True")),
    *(f"enforcers#primal_dual#per={value}" for value in ("class", "Set", "5", "null", "[set]")),
    *(f"enforcers#primal_dual#violation={value}" for value in ("x", "null", "[hard]")),
    *(f"enforcers#primal_dual#tolerance={value}" for value in ("-0.1", "nan", "inf", "x")),
    *(f"enforcers#primal_dual={value}" for value in ("5", "[1]", "x", "{'rat': 1}")),
    "enforcers={'primal_dual': {'rate': 0.1}, 'nobody': {}}",
    "enforcers=x",
)
"""Settings of mode constrained, each of which is wrong."""
ANATOMY = (
    *(f"anatomy={value}" for value in ("contacts", "['x']", "5", "{'contact': 1}", "null")),
    *(f"anatomy_bounds#ratio={value}" for value in (
        "{'RV': [10, 0.05]}", "{'nobody': [1, 2]}", "{'RV': ['a', 2]}", "{'RV': [.nan, 2]}", "{'RV': 5}", "{'RV': [1]}",
        "[1, 2]", "5", "{'RV': [null, -1]}", "{'RV': [1, 2, 3]}", "{'LV': [2, 3]}", "null",
    )),
    *(f"anatomy_bounds#enclosure={value}" for value in ("{'LV': [2, null]}", "{'LV': [null, -1]}", "{'Myo': [1, 1]}")),
    *(f"anatomy_bounds#distance={value}" for value in ("{'RV': [90, 20]}", "{'LV': [20, 90]}")),
    *(f"anatomy_bounds#pieces={value}" for value in ("{'RV': [null, -1]}", "{'RV': [2, null]}")),
    *(f"anatomy_enforcer={value}" for value in ("x", "null", "constrained", "pseudo")),
    *(f"anatomy_weight={value}" for value in ("{'quadratic': -1}", "{'quadratic': x}", "5", "{}", "{quadratic: .nan}")),
)  # fmt: skip
"""Settings of anatomy.yaml in mode quadratic."""
EQUAL = (
    "{}", "{'nobody': 0.3}", "{'Myo': 0}", "{'Myo': -0.3}", "{'Myo': .nan}", "{'Myo': 'x'}", "{'Myo': [0.3]}", "0.3",
    "['Myo']", "null", "{'Myo': true}", "{'background': 0.3}", "{'Myo': 1e400}",
)  # fmt: skip
SMOOTH = (
    "{'nobody': [null, 1]}", "{'LV': [5, 1]}", "{'LV': [.nan, 1]}", "{'LV': 5}", "[1, 2]", "5", "{'LV': [null, -1]}",
    "{'LV': ['a', 1]}", "null",
)  # fmt: skip
PAIRED = ("equal_volume_weight={}", "equal_volume_weight=5", "equal_volume_weight={'quadratic': -1}")
START = ("nowhere.pt", "x", "5", "[1]", "FOLDER", "TEXT", "LABEL")


def cases(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Every trial once, in random order."""
    every = [_setting(ground, ("train.yaml",), word, mode="constrained") for word in ENFORCERS]
    every += [_setting(ground, ("train.yaml", "anatomy.yaml"), word, mode="quadratic") for word in ANATOMY]
    two = _two_phases(ground)
    for name, values in (("equal_volume", EQUAL), ("smooth_areas", SMOOTH)):
        words = [*(f"{name}={value}" for value in values), *(PAIRED if name == "equal_volume" else ())]
        every += [_setting(ground, ("train.yaml", f"{name}.yaml"), word, "quadratic", two) for word in words]
    draw.shuffle(every)
    yield from every


def _setting(ground: Ground, files: tuple[str, ...], word: str, mode: str, data: Path | None = None) -> Case:
    name, _, value = word.partition("=")
    return Case(
        f"{files[-1]} --{name} {value}",
        _Train(ground, files, {"mode": mode, name: value}, data or ground.data),
        "refuse",
        (name, *name.split("#"), f"'{name.split('#')[-1]}'", name.removeprefix("anatomy_")),
        inputs=data or ground.data,
    )


class _Train:
    """A training of one epoch by settings of one's own in a file, in an empty folder; 2 where it is refused."""

    def __init__(self, ground: Ground, files: tuple[str, ...], settings: dict[str, str], data: Path) -> None:
        self.ground, self.files, self.settings, self.data = ground, files, settings, data

    def __call__(self) -> int:
        place = self.ground.fresh()
        mine = place / "mine.yaml"
        mine.write_text("".join(f"{name}: {value}\n" for name, value in self.settings.items()))
        return trained(self.data, place, [*(str(CONFIGS / file) for file in self.files), str(mine)], ())


def _two_phases(ground: Ground) -> Path:
    """The data set with a second phase of every patient: the same files again."""
    place = ground.folder / "two"
    shutil.copytree(ground.data, place)
    content = json.loads((place / "dataset.json").read_text())
    for part in ("training", "test"):
        content[part] += [{**case, "case": case["case"].replace("ED", "ES"), "phase": "ES"} for case in content[part]]
    (place / "dataset.json").write_text(json.dumps(content))
    return place
