# SPDX-License-Identifier: Apache-2.0
"""What all bundles share: their files, the blocks that are the same in each, their properties and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig
from tiny import ROOT, user_error

BUNDLES = sorted(path for path in (ROOT / "bundles").iterdir() if path.is_dir())
FIRST = ROOT / "bundles" / "acdc_logbarrier"
FILES = ("LICENSE", "configs/logging.conf")
CONFIGS = ("metadata.json", "train.yaml", "evaluate.yaml", "inference.yaml", "multi_gpu_train.yaml", "logging.conf")
SCHEMA = Path(__file__).with_name("schema.json")
SAME = {
    "train.yaml": (
        "imports", "home", "network", "memory_format", "initialize", "run", "training", "data", "optimizer",
        "train#dataset", "train#trainer#_target_", "train#trainer#train_data_loader", "train#trainer#loss_function",
        "train#trainer#amp", "train#trainer#amp_kwargs", "validate#dataset", "validate#dataloader",
        "validate#evaluator", "scored_network", "resume", "seed", "device", "amp_dtype",
    ),
    "evaluate.yaml": (
        "ckpt_path", "validate#dataset", "validate#evaluator#network", "validate#evaluator#decollate",
        "validate#handlers", "validate#key_metric", "run", "evaluating", "cases",
    ),
    "inference.yaml": (
        "imports", "files", "dataset", "dataloader", "handlers", "evaluator", "excepthook", "initialize", "run",
        "inferring", "finalize", "device", "amp_dtype",
    ),
}  # fmt: skip
"""Ids that mean the same everywhere; a bundle may lack one, or say in OTHERWISE that it differs."""
OTHERWISE = {
    ("toy_logbarrier", "train.yaml", "data"): "no weak labels, so no dense ones in their place",
    ("hippocampus_logbarrier", "train.yaml", "memory_format"): "3D only",
    **{
        (f"{data}_cross_modality", file, path): why
        for data in ("prostate", "brats")
        for file, path, why in (
            ("train.yaml", "data", "the modalities are chosen by name"),
            ("train.yaml", "optimizer", "AdamW, as published, joint or one a network"),
            ("evaluate.yaml", "validate#handlers", "classification scores and maps are written too"),
            ("inference.yaml", "files", "folders in folders, as BraTS has them"),
            ("inference.yaml", "dataset", "a file a modality"),
            ("inference.yaml", "handlers", "maps are written too"),
        )
    },
    **{
        ("acdc_mutual_information", "train.yaml", path): why
        for path, why in (
            ("data", "who is labelled and who is not"),
            ("network", "trained with heads on its features"),
            ("optimizer", "Adam with weight decay, as published"),
            ("scored_network", "the teacher's weights in mode meanteacher"),
            ("train#dataset", "labelled cases alone where the mode needs no others"),
            ("validate#evaluator", "the teacher is validated in mode meanteacher"),
        )
    },
}
PROCESSES = {
    "acdc_mutual_information": {
        "module: $@training_network.to": "module: $@network_def.to",
        '"$@network.module if @average is None else @scored_network" ': "$@network.module ",
    }
}
"""What a bundle has in its overlays for many processes -> what the others have in its place."""
SOURCES = {
    "acdc_mutual_information": "Peng",
    "acdc_sec": "Kolesnikov",
    "prostate_cross_modality": "Patel",
    "brats_cross_modality": "Patel",
}
MISSING = object()
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


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
    for file in FILES:
        assert (bundle / file).read_text() == (FIRST / file).read_text(), file
    assert not (bundle / "scripts").exists()  # custom code is the installed package


@each_bundle
@pytest.mark.parametrize("file", SAME)
def test_common_blocks_are_the_same(bundle, file):
    here, first = content(bundle, file), content(FIRST, file)
    for path in SAME[file]:
        assert value(first, path) is not MISSING, f"{path} is not in {file} of {FIRST.name}"
        if (bundle.name, file, path) in OTHERWISE:
            assert value(here, path) != value(first, path), f"{path} needs no exception"
        elif value(here, path) is not MISSING:
            assert value(here, path) == value(first, path), f"{file}: {path}"


@each_bundle
def test_many_processes_are_set_up_alike(bundle):
    for file in ("multi_gpu_train.yaml", "multi_gpu_evaluate.yaml"):
        here, first = bundle / "configs" / file, FIRST / "configs" / file
        if here.exists() or file in CONFIGS:
            text = here.read_text().replace(bundle.name, "NAME")
            for own, others in PROCESSES.get(bundle.name, {}).items():
                assert (own in text) == (file == "multi_gpu_train.yaml"), own
                text = text.replace(own, others)
            assert text == first.read_text().replace(FIRST.name, "NAME")


@each_bundle
def test_metadata_fits_schema_classes_and_versions(bundle, tmp_path):
    file = bundle / "configs" / "metadata.json"
    verify_metadata(meta_file=str(file), filepath=str(SCHEMA))
    meta, train = json.loads(file.read_text()), content(bundle, "train.yaml")
    first = json.loads((FIRST / "configs" / "metadata.json").read_text())
    out = meta["network_data_format"]["outputs"]["pred"]
    assert list(out["channel_def"].values()) == train["class_names"]
    assert out["num_channels"] == len(train["class_names"])
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
    page = (bundle / "docs" / "README.md").read_text()
    for mode in value(content(bundle, "train.yaml"), "loss#choices"):
        assert f"`{mode}`" in page, mode
    assert f"bundles/{bundle.name}/configs/train.yaml" in page
    assert f"bundles/{bundle.name}/configs/evaluate.yaml" in page
    assert SOURCES.get(bundle.name, "Kervadec") in page
