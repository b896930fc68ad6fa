# SPDX-License-Identifier: Apache-2.0
"""The files about the project agree with each other: version, metadata, licence, citation, workflow, templates."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys

import pytest
import yaml
from tiny import ROOT

from wss_monai import __version__

METADATA = sorted(ROOT.glob("bundles/*/configs/metadata.json"))


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    made = configparser.ConfigParser()
    made.read(ROOT / "setup.cfg")
    return made


def test_the_version_stands_in_the_package_alone(setup):
    assert setup["metadata"]["version"] == "attr: wss_monai.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_version_can_be_read_where_nothing_is_installed():
    """As setuptools does before any requirement is there: -S leaves out what is installed."""
    code = "import wss_monai; print(wss_monai.__version__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (f"{__version__}\n", "")


@pytest.mark.parametrize("file", METADATA, ids=lambda file: file.parts[-3])
def test_bundles_name_the_version_of_the_package_or_none(file):
    meta = json.loads(file.read_text(encoding="utf-8"))
    assert meta["version"] in meta["changelog"]
    assert meta.get("required_packages_version", {}).get("wss_monai", __version__) == __version__


def test_there_are_bundles():
    assert len(METADATA) > 5


def test_metadata_of_the_package(setup):
    meta = setup["metadata"]
    classifiers = meta["classifiers"].split("\n")
    assert meta["author"] == "wss_monai developers"
    assert meta["keywords"].strip()
    least = tuple(map(int, re.findall(r"\d+", setup["options"]["python_requires"])))
    named = [tuple(map(int, found.groups())) for c in classifiers if (found := re.search(r":: (\d+)\.(\d+)$", c))]
    assert named and all(version >= least for version in named)


def test_the_citation_is_valid_and_agrees_with_the_package(setup):
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    assert cited["authors"] == [{"name": setup["metadata"]["author"]}]
    assert cited["license"] == setup["metadata"]["license_expression"] == "Apache-2.0"
    assert cited["version"] == __version__


def test_the_citation_lists_the_papers_of_the_readme():
    """Its form is that of the Citation File Format 1.2.0; ``cffconvert --validate`` says the same."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    entries = re.findall(r"^@article\{(.*?)^\}$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(entries) == len(cited["references"]) == 5
    for entry, reference in zip(entries, cited["references"], strict=True):
        title = re.search(r"title\s*= \{(.*)\},?$", entry, re.M)[1].replace("{", "").replace("}", "")
        authors = re.search(r"author\s*= \{(.*)\},?$", entry, re.M)[1].split(" and ")
        assert reference["title"] == title
        assert [_name(author) for author in reference["authors"]] == authors
        assert str(reference["year"]) == re.search(r"year\s*= \{(\d+)\}", entry)[1]
        doi = re.search(r"doi\s*= \{(.*)\}", entry)
        assert reference.get("doi") == (doi and doi[1])
        for key, value in (("journal", "journal"), ("volume", "volume"), ("number", "issue")):
            found = re.search(rf"{key}\s*= \{{(.*?)\}}", entry)
            assert str(reference.get(value)) == str(found and found[1]), title
        assert {*reference} <= {"type", "title", "authors", "journal", "volume", "issue", "start", "end", "year", "doi",
                                "identifiers", "notes"}  # fmt: skip


def _name(author: dict[str, str]) -> str:
    return author.get("name") or f"{author['family-names']}, {author['given-names']}"


def test_the_changelog_begins_with_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_the_workflow_runs_our_script_with_every_version_that_we_claim(setup):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    events = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert set(events) == {"push", "pull_request"}
    (job,) = workflow["jobs"].values()
    claimed = re.findall(r":: (3\.\d+)$", setup["metadata"]["classifiers"], re.M)
    assert job["strategy"]["matrix"]["python-version"] == claimed
    script = next(step["run"] for step in job["steps"] if "run" in step)
    assert (ROOT / script).is_file() and (ROOT / script).stat().st_mode & 0o100
    assert not [step for step in job["steps"] if "upload" in step.get("uses", "")]


def test_templates_ask_for_what_is_needed():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    for file in sorted(folder.glob("*.md")):
        front = yaml.safe_load(file.read_text(encoding="utf-8").split("---\n")[1])
        assert front["name"] and front["about"], file.name
    asked = (folder / "bug_report.md").read_text(encoding="utf-8")
    assert all(what in asked for what in ("The command", "dataset.json", "last line of the error"))
    assert (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").is_file()


def test_pre_commit_hooks_download_nothing():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0] in (".venv/bin/ruff", ".venv/bin/mypy")
