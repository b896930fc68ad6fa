# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/how-to/export.md as they stand there; what they export predicts what the network predicts."""

from __future__ import annotations

import json
import re
import shlex

import fire
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, onnx_export
from monai.utils import set_determinism
from tiny import CONFIGS, ROOT, make_dataset

PAGE = (ROOT / "docs" / "how-to" / "export.md").read_text()
PLACE = "runs/acdc_logbarrier/logbarrier"
TOOLS = {"ckpt_export": ckpt_export, "onnx_export": onnx_export}
FILES = {"2d": ["inference.yaml"], "3d": ["inference.yaml", "inference_3d.yaml"]}
SIZES = {"2d": [(3, 1, 48, 80), (1, 1, 256, 256)], "3d": [(1, 1, 48, 32, 8), (3, 1, 32, 48, 24)]}
pytestmark = pytest.mark.filterwarnings("ignore")


def commands():
    """Shell commands of the page, in its order."""
    found = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines()]


def typed(command, folder):
    """Run a command of the page in this process, with another folder for the run; Fire reads the flags as in MONAI."""
    words = [word.replace(PLACE, str(folder)) for word in shlex.split(command)]
    if words[1] == "-c":
        exec(words[2], {})
    else:
        fire.Fire(TOOLS, command=words[3:])


def parsed(files):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / file) for file in files])
    return parser


@pytest.fixture(scope="module", params=["2d", "3d"])
def exported(request, tmp_path_factory):
    """A folder with the weights and both exports of a network with random weights, and the network."""
    folder = tmp_path_factory.mktemp(request.param)
    set_determinism(0)
    network = parsed(FILES[request.param]).get_parsed_content("network_def").eval()
    set_determinism(None)
    for name, value in network.named_parameters():
        if name.endswith("bias"):  # so that no class wins everywhere
            value.data.zero_()
    with torch.no_grad():  # running statistics of what such networks see
        for _ in range(30):
            network.train()(torch.rand(2, 1, *SIZES[request.param][0][2:]))
    network.eval()
    torch.save(network.state_dict(), folder / "model.pt")
    page = commands()
    first = [i for i, command in enumerate(page) if "export" in command]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for i in first[:2] if request.param == "2d" else first[2:]:
            typed(page[i], folder)
    return request.param, folder, network


def predictors(folder):
    """Exported networks as functions of a tensor."""
    onnxruntime = pytest.importorskip("onnxruntime")
    scripted = torch.jit.load(folder / "model.ts")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [axis.name for axis in (*session.get_inputs(), *session.get_outputs())] == ["image", "logits"]
    return {
        "TorchScript": scripted,
        "ONNX": lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0]),
    }


def test_any_batch_and_size(exported):
    kind, folder, network = exported
    generator = torch.Generator().manual_seed(0)
    for size in SIZES[kind]:
        image = torch.rand(size, generator=generator)
        with torch.no_grad():
            expected = network(image)
            for predict in predictors(folder).values():
                torch.testing.assert_close(predict(image), expected, rtol=0, atol=1e-4)


def compare_on_volume(exported, path, side):
    kind, folder, network = exported
    parser = parsed(FILES[kind])
    parser["field"] = [side, side, -1]
    parser["window"] = [side, side] if kind == "2d" else [side, side, 16]
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    image = data["image"].as_tensor()[None]
    infer = parser.get_parsed_content("inferer")
    with torch.no_grad():
        expected = infer(image, network)
        assert float(expected.std()) > 0.1
        for predict in predictors(folder).values():
            torch.testing.assert_close(infer(image, predict), expected, rtol=0, atol=1e-4)


def test_real_volume(exported, real_data):
    compare_on_volume(exported, sorted((real_data("acdc") / "images").glob("*.nii.gz"))[0], 96)


def test_generated_volume(exported, tmp_path):
    compare_on_volume(exported, make_dataset(tmp_path, patients=1, slices=12) / "images" / "p0_ED.nii.gz", 48)


def test_torchscript_carries_what_other_programs_read(exported):
    kind, folder, _ = exported
    extra = {"inference.json": "", "metadata.json": ""}
    torch.jit.load(folder / "model.ts", _extra_files=extra)
    packed = json.loads(extra["inference.json"])
    assert packed["network_def"]["spatial_dims"] == int(kind[0])
    assert packed["pixdim"] == parsed(FILES[kind])["pixdim"]
    assert packed["inferer"]["_target_"] == ("SliceInferer" if kind == "2d" else "SlidingWindowInferer")


def test_exported_network_takes_the_place_of_the_weights(exported, tmp_path, monkeypatch):
    kind, folder, _ = exported
    if kind == "3d":
        pytest.skip("the command of the page is about 2D")
    monkeypatch.chdir(ROOT)
    command = next(command for command in commands() if " run " in command).replace(PLACE, str(folder))
    words = shlex.split(command)[4:]
    flags = {flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)}
    config, images = flags.pop("config_file"), make_dataset(tmp_path, patients=1) / "images"
    flags |= {"handlers": json.loads(flags["handlers"]), "dataset_dir": str(images), "window": [64, 64]}
    from_weights = {"ckpt_path": str(folder / "model.pt"), "dataset_dir": str(images), "window": [64, 64]}
    for name, settings in (("exported", flags), ("weights", from_weights)):
        out = str(tmp_path / name)
        flow = ConfigWorkflow(config, logging_file=False, workflow_type="infer", output_dir=out, **settings)
        flow.initialize()
        flow.run()
    one, other = (np.asarray(nib.load(tmp_path / n / "p0_ED_seg.nii.gz").dataobj) for n in ("exported", "weights"))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 1
