# SPDX-License-Identifier: Apache-2.0
"""A plan as a file of settings, and as commands."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import yaml

from wss_monai.planning.plan import Plan

__all__ = ["HEAD", "commands", "count_of", "plan_text"]

HEAD = "# Settings of a first training, by `wss-monai plan`"
"""How such a file begins."""
WIDTH = 100


def count_of(number: int, what: str) -> str:
    """Give "1 case" or "2 cases"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def plan_text(plan: Plan, name: str, said: str) -> str:
    """Write the settings as YAML, a reason above each.

    Args:
        plan: what to write.
        name: of the file, for the commands in its head.
        said: a line on what the plan was made from.
    """
    lines = [f"{HEAD} {said}.", "# Read it, change what you know better, then:"]
    lines += [f"#   {line}" for line in commands(plan, name)]
    for note in plan.notes:
        lines += _wrapped(f"Note: {note}")
    for setting in plan.settings:
        lines.append("")
        if setting.reason:
            lines += _wrapped(setting.reason)
        lines.append(f"{'' if setting.active else '# '}{setting.name}: {_value(setting.value)}")
    return "\n".join(lines) + "\n"


def commands(plan: Plan, name: str, folder: str = "bundles") -> list[str]:
    """Lines of a shell that train, evaluate and report."""
    configs = f"{folder}/{plan.bundle}/configs"
    files = [f"{configs}/{file}" for file in plan.files]
    scored = [*files, f"{configs}/evaluate.yaml"]
    out = plan.value("output_dir")
    return [
        f'wss-monai run training --config_file "{_list([*files, name])}"',
        f'wss-monai run evaluating --config_file "{_list([*scored, name])}"',
        f"wss-monai report html --runs {out} --out {out}/report.html",
    ]


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _list(files: list[str]) -> str:
    return "[" + ",".join(f"'{file}'" for file in files) + "]"


def _value(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()
    text = text.removesuffix("\n...").removesuffix("...").strip()
    return text if yaml.safe_load(text) == value else json.dumps(value)
