# SPDX-License-Identifier: Apache-2.0
"""What the pages say is true: links, commands, settings and names exist, defaults are right, examples run."""

from __future__ import annotations

import argparse
import csv
import functools
import importlib
import inspect
import json
import pkgutil
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ComponentLocator, ConfigComponent
from tiny import ROOT, make_dataset, workflow

from wss_monai.__main__ import make_parser
from wss_monai.data.schema import parse_dataset
from wss_monai.data.splits import read_split_file

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("bundles/*/docs/*.md"))]
PAGES += [ROOT / "data" / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / ".github").rglob("*.md"))
API = ROOT / "docs" / "reference" / "api.md"
NOT_IDS = {
    "args_file",
    "config_file",
    "meta_file",
    "tracking",
    "filepath",
    "ckpt_file",
    "nproc_per_node",
    "net_id",
    "input_shape",
    "converter_kwargs",
}
"""Flags of monai.bundle and torchrun that are no ids of a configuration."""
OF_A_RUN = {"log.txt", "ensemble.txt"}
"""Files that a run's folder holds."""
WRITTEN = {"data", "runs", ".venv", ".git"}
"""Folders of the repository that it does not hold."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced code blocks of a language, unindented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text_of(page), re.M | re.S)
    return ["".join(line.removeprefix(indent) for line in body.splitlines(True)) for indent, body in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks and comments."""
    return re.sub(r"^ *```.*?^ *```$|<!--.*?-->", "", text_of(page), flags=re.M | re.S)


def commands(page: Path) -> list[str]:
    """Shell lines of blocks, continuations joined, and commands in backticks."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    indented = [line.strip() for line in prose(page).replace("\\\n", " ").splitlines() if line.startswith("    ")]
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]
    return [line for line in lines + indented + inline if line]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text_of(page), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_relative_links_resolve(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"\w+:", link)]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link} names no heading of {target.name}"


@each_page
def test_files_of_the_repository_exist(page):
    """Paths in backticks from the root; NAME in one is the reader's, data/ and runs/ are written by commands."""
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name not in WRITTEN)
    names = re.findall(rf"`((?:{folders})/[\w./-]*)`", text_of(page))
    names += re.findall(r"`(data/README\.md|Makefile|[\w-]+\.(?:cfg|toml|cff|txt))`", text_of(page))
    for name in names:
        assert "NAME" in name or name in OF_A_RUN or (ROOT / name).exists(), f"{page.name}: there is no {name}"


@each_page
def test_names_of_code_import(page):
    for name in re.findall(r"`(wss_monai(?:\.\w+)+)`", text_of(page)):
        assert pkgutil.resolve_name(name) is not None


@each_page
def test_verbs_and_their_options_exist(page):
    for command in commands(page):
        match = re.search(r"python -m wss_monai ([a-z].*)", command)
        if not match:
            continue
        parser, words = make_parser(), match[1].split()
        while (choices := subcommands(parser)) and words and not words[0].startswith("-"):
            assert words[0] in choices, f"{page.name}: '{words[0]}' in: {command}"
            parser = choices[words.pop(0)]
        flags = {word for word in words if word.startswith("--")}
        known = {option for action in parser._actions for option in action.option_strings}
        assert flags <= known, f"{page.name}: {flags - known} in: {command}"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})  # type: ignore[return-value]


@each_page
def test_make_targets_and_scripts_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for command in commands(page):
        for target in re.findall(r"(?:^|&& )make ([\w/.-]+)", command):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"{page.name}: make {target}"
        for script in re.findall(r"python ((?:benchmarks|docs)/\S+\.py)", command):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"


def test_experiments_and_their_arms_exist():
    found = runpy.run_path(str(ROOT / "benchmarks" / "run.py"))
    experiments = {name: {*each.arms, *each.tried} for name, each in found["EXPERIMENTS"].items()}
    experiments |= {name: set(module.ARMS) for name, (module, _) in found["OWN"].items()}
    named = set()
    for page in PAGES:
        for name, rest in re.findall(r"benchmarks/run\.py ([a-z][\w-]*)([^\n]*)", "\n".join(commands(page))):
            assert name in experiments, f"{page.name}: benchmarks/run.py {name}"
            arms = re.search(r"--arms ((?:[\w.+]+ ?)+)", rest)
            wrong = set(arms[1].split() if arms else ()) - experiments[name]
            assert not wrong, f"{page.name}: benchmarks/run.py {name} has no arms {wrong}"
            named.add(name)
    assert named | {"phantom"} == set(experiments)  # `make bench-phantom` runs the generated hearts


def bundles_of(page: Path, command: str) -> set[str]:
    """Bundles whose files a command names; else that of the page, or the first one."""
    named = set(re.findall(r"bundles/(\w+)/configs", command))
    folder, name = page.relative_to(ROOT).parts[:2] if page.parent != ROOT else ("", "")
    return named or {name if folder == "bundles" else "acdc_logbarrier"}


def configs(bundle: str, predicts: bool) -> list[Path]:
    """Configuration files of a bundle for prediction, or for training and evaluation; the base file first."""
    folder = ROOT / "bundles" / bundle / "configs"
    assert folder.is_dir(), f"there is no bundle {bundle}"
    files = [file for file in sorted(folder.glob("*.yaml")) if file.stem.startswith("inference") == predicts]
    return sorted(files, key=lambda file: file.stem not in ("train", "inference"))


@functools.cache
def settings(*files: Path) -> dict[str, Any]:
    """Union of the ids of configuration files, paths such as ``a#b`` written out."""
    union: dict[str, Any] = {}
    for file in files:
        for key, value in yaml.safe_load(file.read_text()).items():
            node = union
            *parents, last = key.lstrip("+").split("#")
            for parent in parents:
                node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
            if isinstance(node, list):  # an item in the place of another
                node[int(last)] = value
                continue
            both = isinstance(value, dict) and isinstance(node.get(last), dict)
            more = key.startswith("+") and isinstance(value, list)
            node[last] = {**node[last], **value} if both else [*node.get(last, []), *value] if more else value
    return union


@functools.cache
def locator() -> ComponentLocator:
    """MONAI's table of its own classes, which takes a tenth of a second to make."""
    return ComponentLocator()


def lookup(config: Any, path: str) -> Any:
    """Value at ``a#b#0``; None for an argument that a component takes but the files do not set.

    Raises:
        KeyError: there is no such id.
    """
    head, _, rest = path.partition("#")
    if isinstance(config, list):
        config = {str(number): value for number, value in enumerate(config)}
    if isinstance(config, dict) and head in config:
        return lookup(config[head], rest) if rest else config[head]
    if isinstance(config, dict) and isinstance(config.get("_target_"), str) and not rest:
        name = ConfigComponent(config={"_target_": config["_target_"]}, locator=locator()).resolve_module_name()
        if head in inspect.signature(pkgutil.resolve_name(str(name))).parameters:
            return None
    raise KeyError(path)


def has(config: Any, path: str) -> bool:
    try:
        lookup(config, path)
    except KeyError:
        return False
    return True


def all_options(parser: argparse.ArgumentParser) -> set[str]:
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*(all_options(child) for child in subcommands(parser).values()))


@each_page
def test_files_and_overrides_of_bundle_commands_exist(page):
    ours = all_options(make_parser())
    for command in commands(page):
        bundles = bundles_of(page, command)
        for name in re.findall(r"(?:configs|\$C)/(\w+\.\w+)", command):
            found = [(ROOT / "bundles" / bundle / "configs" / name).is_file() for bundle in bundles]
            assert any(found), f"{page.name}: {name} in: {command}"
        if not ("monai.bundle" in command or command.startswith("--")):
            continue
        predicts = "inference" in command or "ckpt_export" in command
        config = settings(*(file for bundle in bundles for file in configs(bundle, predicts)))
        for flag in re.findall(r"(?<![\w-])--([A-Za-z][\w#-]*)", command.partition("monai.bundle")[2] or command):
            if flag not in NOT_IDS and not (command.startswith("--") and f"--{flag}" in ours):
                assert has(config, flag), f"{page.name}: --{flag} in: {command}"


def test_tables_of_settings_give_the_defaults_of_the_files():
    page = ROOT / "docs" / "reference" / "configuration.md"
    before, after = text_of(page).split("## inference.yaml")
    folder = ROOT / "bundles" / "acdc_logbarrier" / "configs"
    overlays = settings(*(file for file in configs("acdc_logbarrier", False) if file.stem != "train"))
    count = 0
    for text, config in ((before, settings(folder / "train.yaml")), (after, settings(folder / "inference.yaml"))):
        for path, default in re.findall(r"^\| `([\w#]+)` \| (?:`(.*?)`)? \| ", text, re.M):
            found = lookup(config if has(config, path) else overlays, path)
            if default:
                assert found == yaml.safe_load(default), f"{path} is {found!r}, the page says {default!r}"
                count += 1
    assert count > 25


@each_page
def test_examples_of_dataset_json_are_right(page, tmp_path):
    for body in blocks(page, "json"):
        content = json.loads(body)
        if "training" not in content:
            continue
        if isinstance(content["training"][0], str):
            (tmp_path / "split.json").write_text(body)
            assert read_split_file(tmp_path / "split.json").parts
            continue
        for case in content["training"] + content.get("test", []):
            for key in ("image", "label", "weak_label"):
                paths = case.get(key) or []
                case[key] = [Path(path).name for path in ([paths] if isinstance(paths, str) else paths)]
                for path in case[key]:
                    (tmp_path / path).touch()
                if not isinstance(paths, list):
                    case[key] = case[key][0]
                elif not paths:
                    del case[key]
        assert parse_dataset(content, tmp_path / "dataset.json").training


def test_overlays_on_pages_change_ids_that_exist():
    for page in PAGES:
        files = [file for bundle in bundles_of(page, text_of(page)) for file in configs(bundle, False)]
        for body in blocks(page, "yaml"):
            for key in yaml.safe_load(body):
                top = key.lstrip("+").split("#")[0]
                used = f"@{top}'" in body
                assert used or top in NOT_IDS or top in settings(*files), f"{page.name}: '{key}' changes nothing"


def test_the_api_page_lists_all_names_with_their_arguments():
    made = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    listed, right = (re.findall(r"^(?:##.*|- `.*?`:)", text, re.M) for text in (text_of(API), made))
    assert listed == right, "run `python docs/make_api.py`"


def test_the_tables_of_results_are_those_of_their_csv_files():
    made = runpy.run_path(str(ROOT / "docs" / "make_results.py"))
    assert made["stale"]() == [], "run `python docs/make_results.py`"
    assert made["unused"]() == [], "no page shows these files"


def test_pages_of_results_are_short_alike_and_listed():
    folder = ROOT / "docs" / "results"
    index = text_of(folder / "README.md")
    for page in folder.glob("*.md"):
        assert len(text_of(page).splitlines()) <= 80, f"{page.name} is too long: what was tried belongs into log/"
        sections = re.findall(r"^## (.*?)s?$", text_of(page), re.M)
        if page.name not in ("README.md", "gpu.md"):
            assert sections == ["Question", "Command", "Table", "Finding", "Where it break"], page.name
    for page in [*folder.glob("*.md"), *folder.glob("log/*.md")]:
        name = page.relative_to(folder).as_posix()
        assert f"]({name})" in index or name == "README.md", f"docs/results/README.md does not list {name}"


def test_the_tables_of_settings_are_the_comments_of_the_files():
    made = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["page"]()
    assert made == text_of(ROOT / "docs" / "reference" / "configuration.md"), "run `python docs/make_settings.py`"
    assert made.count("<!-- settings: ") == 2


@pytest.fixture
def new_constraint(tmp_path, monkeypatch):
    """The files of the page on new constraints, in a folder that can be imported from."""
    page = ROOT / "docs" / "how-to" / "new-constraint.md"
    module, test = blocks(page, "python")
    overlay = blocks(page, "yaml")[0]
    for name, body in (("share.py", module), ("test_share.py", test), ("share.yaml", overlay)):
        (tmp_path / name).write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("share", "test_share"):
        sys.modules.pop(name, None)


def test_the_new_constraint_passes_the_tests_of_its_page(new_constraint):
    module = importlib.import_module("test_share")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 6
    for test in tests:
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        for argument in marks[0].args[1] if marks else [None]:
            test(argument) if marks else test()


def test_the_new_constraint_trains(new_constraint, monkeypatch):
    monkeypatch.chdir(ROOT)
    data, out = make_dataset(new_constraint / "discs"), new_constraint / "run"
    flow = workflow("train.yaml", str(new_constraint / "share.yaml"), folder=data, out=out)
    flow.initialize()
    flow.run()
    flow.finalize()
    row = next(csv.DictReader((out / "metrics.csv").open()))
    assert {"loss_share", "violation_share"} <= set(row)
