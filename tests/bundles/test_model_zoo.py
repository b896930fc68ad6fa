# SPDX-License-Identifier: Apache-2.0
"""What the continuous integration of the MONAI model zoo asks of a bundle with weights: MONAI's verbs, no option given.

The calls are those of its `ci/verify_bundle.py`, here made directly. WSS_MONAI_META_SCHEMA names a copy of the official
metadata schema, `meta_schema_20240725.json` of https://project-monai.github.io/schema/ (MONAI Consortium, Apache-2.0).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, create_workflow, verify_metadata, verify_net_in_out
from this_process import as_if_started
from tiny import ROOT, command_here

from wss_monai.__main__ import main
from wss_monai.io.shipped_bundles import copy_bundle, shipped_bundles

NAMES = [bundle.name for bundle in shipped_bundles()]
OFFICIAL = os.environ.get("WSS_MONAI_META_SCHEMA")
GENERATED = {"toy_size", "toy_logbarrier"}
"""Bundles whose data are generated: nobody's terms apply."""
OWN = {"weak_2d", "weak_3d"}
"""Bundles for data of one's own."""
SECTIONS = ("Authors", "Tags", "Model Description", "Data", "Preprocessing", "Performance", "System Configuration")
SECTIONS += ("Limitations", "References")
"""Headings of the zoo's template of a page."""
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=NAMES)
def bundle(request, tmp_path) -> Path:
    """A bundle in the zoo's folder, with weights: its own, or random ones."""
    root = copy_bundle(request.param, tmp_path / "models" / request.param)
    if not (root / "models" / "model.pt").is_file():
        parser = ConfigParser()
        parser.read_config(root / "configs" / "inference.yaml")
        (root / "models").mkdir()
        torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models" / "model.pt")
    return root


@pytest.mark.slow
def test_the_checks_of_a_bundle_with_weights(bundle):
    meta, config = bundle / "configs" / "metadata.json", bundle / "configs" / "inference.yaml"
    about = json.loads(meta.read_text())
    assert (bundle / "LICENSE").is_file() and about["version"] in about["changelog"]
    with as_if_started(bundle.parents[1]):
        verify_net_in_out(net_id="network_def", meta_file=str(meta), config_file=str(config), bundle_root=str(bundle))
        exported = bundle / "models" / "verify_model.ts"
        ckpt_export(
            net_id="network_def",
            filepath=str(exported),
            ckpt_file=str(bundle / "models" / "model.pt"),
            meta_file=str(meta),
            config_file=str(config),
            bundle_root=str(bundle),
        )
        assert exported.is_file()
        flow = create_workflow(
            workflow_type="inference",
            bundle_root=str(bundle),
            config_file=str(config),
            logging_file=str(bundle / "configs" / "logging.conf"),
            meta_file=str(meta),
            init_id="nothing",
        )
        assert flow.check_properties() == []


@pytest.mark.skipif(not OFFICIAL, reason="WSS_MONAI_META_SCHEMA does not name a copy of MONAI's official schema")
@pytest.mark.parametrize("name", NAMES)
def test_the_official_schema(name, tmp_path):
    file = ROOT / "bundles" / name / "configs" / "metadata.json"
    verify_metadata(meta_file=str(file), filepath=str(OFFICIAL))
    about = json.loads(file.read_text())
    del about["schema"]
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="schema"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(OFFICIAL))


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_the_data_are_told(name):
    """The zoo asks for `docs/data_license.txt` where the data have terms."""
    file = ROOT / "bundles" / name / "docs" / "data_license.txt"
    assert file.is_file() == (name not in GENERATED | OWN)
    if file.is_file():
        text = file.read_text(encoding="utf-8")
        assert text.startswith("Third Party Licenses\n---") and "https://" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_sections_of_the_template(name):
    page = (ROOT / "bundles" / name / "docs" / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.S), re.M)
    found = [section for section in SECTIONS if any(heading.startswith(section) for heading in headings)]
    assert found == list(SECTIONS)
    assert [heading for heading in headings if heading in SECTIONS] == sorted(
        (heading for heading in headings if heading in SECTIONS), key=SECTIONS.index
    )


WITH_WEIGHTS = [bundle.name for bundle in shipped_bundles() if bundle.weights]


def test_a_bundle_comes_with_weights():
    assert WITH_WEIGHTS == ["hippocampus_logbarrier"]


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_are_small_and_told_with_command_scores_and_terms(name):
    folder = ROOT / "bundles" / name / "models"
    assert (folder / "model.pt").stat().st_size < 3e6
    weights = torch.load(folder / "model.pt", weights_only=True)
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles" / name / "configs" / "inference.yaml")
    parser.get_parsed_content("network_def").load_state_dict(weights)
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    page = (folder / "README.md").read_text(encoding="utf-8")
    for word in ("configs/train.yaml", "--seed 0", "| Dice |", "CC BY-SA 4.0", "none of them seen"):
        assert word in page
    about = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text())
    assert f"| Dice | {about['eval_metrics']['mean_dice']} |" in page


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_copy_with_weights_predicts_out_of_the_box(name, tmp_path, capsys):
    """By MONAI's command and by ours, which agree; the image is a generated one."""
    assert main(["synthesize", "ellipsoids", "--out", str(tmp_path / "data"), "--patients", "1"]) == 0
    images = tmp_path / "data" / "images"
    root = copy_bundle(name, tmp_path / "copy")
    settings = {
        "config_file": root / "configs" / "inference.yaml",
        "dataset_dir": images,
        "output_dir": tmp_path / "one",
    }
    done = command_here("run", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert f"with the weights of {root / 'models' / 'model.pt'}" in done.stdout
    words = ["predict", "--run", str(root / "models"), "--input", str(images), "--out", str(tmp_path / "other")]
    assert main(words) == 0
    masks = sorted((tmp_path / "one").glob("*_seg.nii.gz"))
    assert len(masks) == len(list(images.iterdir())) > 0
    for mask in masks:
        found = np.asarray(nib.load(mask).dataobj)
        assert len(np.unique(found)) == 3
        np.testing.assert_array_equal(found, np.asarray(nib.load(tmp_path / "other" / mask.name).dataobj))
