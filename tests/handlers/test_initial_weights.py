# SPDX-License-Identifier: Apache-2.0
"""Weights of a file as a start: what fits is taken, what does not is named, a resumed run keeps its own."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from wss_monai.handlers import InitialWeights, take_weights
from wss_monai.networks import LargeFOV


def network(inputs: int = 1, outputs: int = 2, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(inputs, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, outputs, 1)))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"objects": {"network": s}}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_fits_is_taken_and_the_rest_is_named(tmp_path, wrap, prefix):
    other, ours = network(outputs=5, seed=1), network()
    before = state(ours)
    weights = {**state(other), "extra.bias": torch.zeros(2)}
    del weights["1.bias"]
    torch.save(wrap({prefix + name: value for name, value in weights.items()}), tmp_path / "w.pt")
    taken = take_weights(ours, tmp_path / "w.pt")
    assert taken.other_shape == ["2.0.weight", "2.0.bias"] and taken.missing == ["1.bias"]
    assert taken.unused == ["extra.bias"]
    after = state(ours)
    assert torch.equal(after["0.weight"], other.state_dict()["0.weight"])
    assert all(torch.equal(after[name], before[name]) for name in taken.other_shape + taken.missing)
    text = str(taken)
    assert "6 of 9 tensors" in text and "of another shape in the file, start anew: 2.0.weight, 2.0.bias" in text


def test_a_part_of_a_network(tmp_path):
    donor = nn.Conv2d(4, 2, 1)
    torch.save(donor.state_dict(), tmp_path / "head.pt")
    ours = network()
    first = ours[0].weight.detach().clone()
    take_weights(ours, tmp_path / "head.pt", "2.0")
    assert torch.equal(ours[2][0].weight, donor.weight) and torch.equal(ours[0].weight, first)
    with pytest.raises(ValueError, match=r"the part 'encoder', which the network does not have: 0, 1, 2"):
        take_weights(ours, tmp_path / "head.pt", "encoder")


def test_three_input_channels_are_summed_for_a_grey_image(tmp_path):
    coloured, grey = network(3, seed=1).eval(), network(1).eval()
    torch.save(coloured.state_dict(), tmp_path / "w.pt")
    assert take_weights(grey, tmp_path / "w.pt").summed == ["0.weight"]
    image = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(grey(image), coloured(image.expand(1, 3, 8, 8)))


@pytest.mark.parametrize("names", ["torchvision", "caffe"])
def test_weights_of_vgg_16_go_into_large_fov(tmp_path, names):
    """By the names of both: 13 convolutions; of caffe's file fc6 and fc7 too."""
    ours, donor = (LargeFOV(2, channels, 3, width=2, hidden=4, dilation=1) for channels in (1, 3))
    convolutions = [m for m in donor.stages.modules() if isinstance(m, nn.Conv2d)]
    if names == "torchvision":
        numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
        layers = {f"features.{n}": conv for n, conv in zip(numbers, convolutions, strict=True)}
        layers["classifier.0"] = nn.Linear(7, 4)
    else:
        depths = [(stage, layer) for stage, depth in enumerate((2, 2, 3, 3, 3), 1) for layer in range(1, depth + 1)]
        layers = {f"conv{s}_{k}": conv for (s, k), conv in zip(depths, convolutions, strict=True)}
        layers |= {"fc6": donor.fc6.conv, "fc7": donor.fc7.conv}
    weights = {f"{name}.{kind}": getattr(m, kind) for name, m in layers.items() for kind in ("weight", "bias")}
    torch.save(weights, tmp_path / "vgg.pth")
    taken = take_weights(ours, tmp_path / "vgg.pth")
    fc8 = ["fc8.weight", "fc8.bias"]
    whole = ["fc6.conv.weight", "fc6.conv.bias", "fc7.conv.weight", "fc7.conv.bias"]
    assert taken.missing == (whole + fc8 if names == "torchvision" else fc8)
    assert taken.summed == ["stages.0.0.conv.weight"] and not taken.other_shape
    image = torch.rand(1, 1, 17, 17)
    torch.testing.assert_close(ours.stages(image), donor.stages(image.expand(1, 3, 17, 17)))


def test_the_weights_of_vgg_16_as_torchvision_ships_them_have_the_shapes_of_large_fov():
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    own = LargeFOV(2, 3, 21).state_dict()
    numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = LargeFOV(2, 3, 21, width=1, hidden=1).own_names([f"features.{n}.weight" for n in numbers])
    for n, inputs, outputs in zip(numbers, [3, *widths], widths, strict=False):
        assert own[names[f"features.{n}.weight"]].shape == (outputs, inputs, 3, 3)


def test_a_training_starts_from_them_and_a_resumed_one_does_not(tmp_path, capsys):
    donor, ours, teacher = network(seed=1), network(), network(seed=2)
    torch.save(donor.state_dict(), tmp_path / "w.pt")
    engine = Engine(lambda *_: None)
    InitialWeights(ours, str(tmp_path / "w.pt"), [teacher]).attach(engine)
    engine.run([0], max_epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(state(ours).values(), state(donor).values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state(teacher).values(), state(donor).values(), strict=True))
    assert "gives 9 of 9 tensors" in capsys.readouterr().out
    with torch.no_grad():
        ours[0].weight.zero_()
    engine.run([0], max_epochs=2)  # goes on
    assert not ours[0].weight.any()


def test_files_that_are_none_are_refused(tmp_path):
    ours = network()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.pt: give a file of weights"):
        take_weights(ours, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"cannot read .*text\.pt \(torch.save did not write it, or"):
        take_weights(ours, tmp_path / "text.pt")
    torch.save(ours.state_dict(), tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*: give a file .*, such as .*model\.pt\."):
        take_weights(ours, tmp_path)
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    with pytest.raises(ValueError, match="holds no network's weights but"):
        take_weights(ours, tmp_path / "epoch.pt")
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"holds nothing that fits Sequential: the file has \['weight', 'bias'\]"):
        take_weights(ours, tmp_path / "other.pt")
    torch.save({"0.bias": torch.full((4,), float("nan"))}, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match="not finite"):
        take_weights(ours, tmp_path / "nan.pt")
    for source in (3, {}, {"": 3}):
        with pytest.raises(ValueError, match="initialize_from must be a file"):
            InitialWeights(ours, source)
