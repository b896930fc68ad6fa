# SPDX-License-Identifier: Apache-2.0
"""What all bundles share: how their files are made, their properties and refusals."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import make
import pytest
import yaml
from commented_yaml import write
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig
from tiny import ROOT, user_error

BUNDLES = sorted(path.parent for path in (ROOT / "bundles").glob("*/bundle.yaml"))
FIRST = ROOT / "bundles" / "acdc_logbarrier"
CONFIGS = ("metadata.json", "train.yaml", "evaluate.yaml", "inference.yaml", "multi_gpu_train.yaml", "logging.conf")
SCHEMA = Path(__file__).with_name("schema.json")
SOURCES = {
    "acdc_mutual_information": "Peng",
    "acdc_sec": "Kolesnikov",
    "prostate_cross_modality": "Patel",
    "brats_cross_modality": "Patel",
}
MISSING = object()
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


@functools.cache
def content(bundle: Path, file: str) -> dict:
    return yaml.safe_load((bundle / "configs" / file).read_text().replace(f"bundles/{bundle.name}", "bundles/NAME"))


def value(config: dict, path: str):
    """What a file says at ``a#b``; MISSING where it says nothing."""
    if path in config:
        return config[path]
    for part in path.split("#"):
        if not isinstance(config, dict) or part not in config:
            return MISSING
        config = config[part]
    return config


@each_bundle
def test_the_files_of_the_zoo_are_there(bundle):
    assert {path.name for path in (bundle / "configs").iterdir()} >= set(CONFIGS)
    assert (bundle / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert not (bundle / "scripts").exists()  # custom code is the installed package


def kept(config: Any) -> Any:
    """A configuration without what is said to be removed."""
    if isinstance(config, dict):
        return {key: kept(value) for key, value in config.items() if value != "REMOVED"}
    return [kept(value) for value in config if value != "REMOVED"] if isinstance(config, list) else config


def merged(*files: Path) -> Any:
    """What MONAI makes of configuration files."""
    return kept(ConfigParser.load_config_files([str(file) for file in files]))


@each_bundle
def test_what_is_assembled_is_what_monai_makes_of_the_layers(bundle, tmp_path):
    """With the file that an overlay changes before it. MONAI can take nothing away: that is done here."""
    for shipped in sorted((bundle / "configs").glob("*.yaml")):
        base = bundle / "configs" / ("inference.yaml" if shipped.stem.startswith("inference") else "train.yaml")
        below = [] if shipped == base else [base]
        whole = make.assemble(bundle.name, shipped.stem)
        gone = {path for path, item in whole.items() if below and item.value == "REMOVED"}
        files = []
        for name, _, items in make.layers(bundle.name, shipped.stem):
            items = {path: item for path, item in items.items() if path not in gone}
            said = {path: item for path, item in items.items() if item.value != "REMOVED" or path not in whole}
            files.append(tmp_path / f"{shipped.stem}_{name}.yaml")
            text = "\n".join(write(said if below else items)) or "{}"
            files[-1].write_text(text.replace("SETTINGS", make.settings(whole)))
        assert merged(*below, shipped) == merged(*below, *files), shipped.name


@pytest.fixture
def copied(tmp_path) -> Path:
    """The bundles and their sources in a folder of their own."""
    shutil.copy(ROOT / "LICENSE", tmp_path)
    return Path(shutil.copytree(ROOT / "bundles", tmp_path / "bundles"))


def run_make(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, folder / "make.py", *flags], capture_output=True, text=True)


def test_no_file_of_a_bundle_is_stale():
    done = run_make(ROOT / "bundles", "--check")
    assert (done.returncode, done.stdout) == (0, ""), f"run `make bundles`:\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_stale_files_are_named_and_written_anew(copied):
    changed = copied / "acdc_size" / "configs" / "train.yaml"
    before = changed.read_text()
    changed.write_text(before.replace("learning_rate: 0.0005", "learning_rate: 0.0006"))
    (copied / "acdc_size" / "configs" / "left_over.yaml").touch()
    (copied / "toy_size" / "LICENSE").unlink()
    names = ("acdc_size/configs/left_over.yaml", "acdc_size/configs/train.yaml", "toy_size/LICENSE")
    done = run_make(copied, "--check")
    assert (done.returncode, done.stdout.splitlines()) == (1, [f"stale: bundles/{name}" for name in names])
    assert run_make(copied).returncode == run_make(copied, "--check").returncode == 0
    assert changed.read_text() == before and not changed.with_name("left_over.yaml").exists()


@pytest.mark.slow
def test_a_setting_of_the_frame_reaches_the_bundles_that_have_no_other(copied):
    frame = copied / "frame" / "train.yaml"
    frame.write_text(frame.read_text().replace("\nbatch_size: 8 ", "\nbatch_size: 9 "))
    files = sorted(copied.glob("*/configs/train.yaml"))
    have_its = [f"bundles/{file.relative_to(copied)}" for file in files if "\nbatch_size: 8 " in file.read_text()]
    assert run_make(copied).stdout.split()[1::2] == have_its
    assert {"acdc_logbarrier", "acdc_sec"} <= {name.split("/")[1] for name in have_its}
    assert len(have_its) < len(files)


@each_bundle
def test_a_resumed_run_shares_the_settings_under_their_title(bundle):
    """What is learned is compared as it ends up; where and how as it is written, see whole_configuration."""
    text = (bundle / "configs" / "train.yaml").read_text()
    free, same = (part.split("# ----")[0] for part in text.split("# ---- what a user sets: ")[1:])
    compared = set(re.findall(r"(\w+)=@\1\b", yaml.safe_load(text)["same_when_resumed"]))
    assert compared == set(re.findall(r"^(\w+):", same, re.M)) > {"mode", "seed", "class_names"}
    assert not compared & {"output_dir", "resume", "device", "learning_rate", *re.findall(r"^(\w+):", free, re.M)}


def test_comments_follow_the_values():
    """A value keeps the comments of what it replaces; one with its own comments does not."""
    text = (ROOT / "bundles" / "promise12_logbarrier" / "configs" / "train.yaml").read_text()
    assert "\npixdim: [0.75, 0.75, -1.0]  # mm; -1 keeps the file's own\n" in text
    assert "chosen on fold 2" not in text


@each_bundle
def test_metadata_fits_schema_classes_and_versions(bundle, tmp_path):
    file = bundle / "configs" / "metadata.json"
    verify_metadata(meta_file=str(file), filepath=str(SCHEMA))
    meta, train = json.loads(file.read_text()), content(bundle, "train.yaml")
    first = json.loads((FIRST / "configs" / "metadata.json").read_text())
    formats = meta["network_data_format"]
    classes = formats.get("post_processed_outputs", formats["outputs"])["pred"]["channel_def"]
    assert list(classes.values()) == train["class_names"]
    given = formats["outputs"]["pred"]
    assert given["num_channels"] == len(given["channel_def"])
    for key in ("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"):
        assert meta[key] == first[key], key


@each_bundle
def test_training_and_inference_configure_the_same_network(bundle):
    configs = bundle / "configs"
    pairs = [(["train.yaml"], ["inference.yaml"])]
    if (configs / "cpu.yaml").exists():
        pairs.append((["train.yaml", "cpu.yaml"], ["inference.yaml", "inference_cpu.yaml"]))
    for names in pairs:
        networks = []
        for files in names:
            parser = ConfigParser()
            parser.read_config([str(configs / file) for file in files])
            parser.parse()
            networks.append(parser.get_parsed_content("network_def"))
        shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in networks]
        assert shapes[0] == shapes[1]


@each_bundle
@pytest.mark.parametrize(
    ("files", "properties"),
    [
        (["train.yaml"], TrainProperties),
        (["train.yaml", "evaluate.yaml"], TrainProperties),
        (["inference.yaml"], InferProperties),
    ],
)
def test_ids_that_monai_asks_for(bundle, files, properties):
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / file) for file in files])
    for name, said in properties.items():
        if said[BundleProperty.REQUIRED] and not said[BundlePropertyConfig.ID].startswith(ConfigParser.meta_key):
            assert said[BundlePropertyConfig.ID] in parser, name


@each_bundle
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rte": 0.1}, r"unknown setting '--learning_rte'; did you mean '--learning_rate'\?"),
        ({"train#trainer#max_epoch": 3}, r"did you mean '--train#trainer#max_epochs'\?"),
    ],
)
def test_misspelt_settings_are_refused(bundle, overrides, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    flow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.yaml"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **overrides,
    )
    with pytest.raises(Exception) as caught:
        flow.initialize()
    assert re.search(message, user_error(caught.value))


@each_bundle
def test_the_page_names_modes_commands_and_sources(bundle):
    page = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for mode in value(content(bundle, "train.yaml"), "loss#choices"):
        assert f"`{mode}`" in page, mode
    assert f"bundles/{bundle.name}/configs/train.yaml" in page
    assert f"bundles/{bundle.name}/configs/evaluate.yaml" in page
    assert SOURCES.get(bundle.name, "Kervadec") in page
