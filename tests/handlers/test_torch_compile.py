# SPDX-License-Identifier: Apache-2.0
"""Losses as one graph that no new t makes anew, and a trainer that alone sees the compiled parts."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch._dynamo import explain, reset
from torch._dynamo.testing import CompileCounter

from wss_monai.functional.descriptors import DESCRIPTORS, Size
from wss_monai.functional.relations import RELATIONS
from wss_monai.handlers import TorchCompile
from wss_monai.losses import (
    ConsistencyLoss,
    ConstraintLoss,
    EntropyLoss,
    ExpansionLoss,
    GatedCRFLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    PartialDiceLoss,
    QuadraticPenalty,
    ReLUPenalty,
    SeedingLoss,
    WeightedSumLoss,
)

SHAPES = {2: (12, 10), 3: (6, 8, 5)}


@pytest.fixture(autouse=True)
def nothing_compiled():
    reset()
    yield
    reset()


def logits(dims: int) -> Tensor:
    return torch.randn(4, 3, *SHAPES[dims], generator=torch.Generator().manual_seed(0)).requires_grad_()


def weak(dims: int) -> Tensor:
    """Scribbles of every class; nothing in the last sample."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(0, 3, (4, 1, *SHAPES[dims]), generator=generator).to(torch.uint8)
    index[torch.rand(index.shape, generator=generator) > 0.3] = 255
    index[-1] = 255
    return index


def trusted(loss: nn.Module) -> nn.Module:
    """After ``TrainingCheck``."""
    for module in loss.modules():
        if hasattr(module, "checked_classes"):
            module.checked_classes = 3
    return loss


def mixed() -> WeightedSumLoss:
    barrier = ConstraintLoss(Size(), LogBarrierExtension(5.0))
    return WeightedSumLoss({"partial": (PartialCrossEntropyLoss(per_sample=True), 1.0), "size": (barrier, 0.3)})


def gradient(loss: nn.Module, dims: int, *target: Tensor | dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    x = logits(dims)
    value = loss(x, *target)
    value.backward()
    assert x.grad is not None
    return value.detach(), x.grad


@pytest.mark.parametrize("trust", [trusted, lambda loss: loss], ids=["checked before", "checked in the graph"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "loss",
    [
        PartialCrossEntropyLoss(),
        PartialCrossEntropyLoss(per_sample=True),
        PartialCrossEntropyLoss(per_sample=True, per_class=True, classes=[0, 2]),
        PartialDiceCELoss(per_sample=True),
    ],
    ids=["plain", "per sample", "per class", "dice"],
)
def test_partial_losses_are_one_graph(loss, dims, trust):
    loss = trust(loss)
    found = explain(loss)(logits(dims), weak(dims))
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for a, b in zip(gradient(compiled, dims, weak(dims)), gradient(loss, dims, weak(dims)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("trust", [trusted, lambda loss: loss], ids=["checked before", "checked in the graph"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("descriptor", "penalty"),
    [
        *((Size(), QuadraticPenalty()), (Size(), ReLUPenalty())),
        *((kind(), LogBarrierExtension()) for kind in DESCRIPTORS),
        *((kind(1), LogBarrierExtension()) for kind in RELATIONS),
    ],
    ids=lambda part: type(part).__name__,
)
def test_constraints_are_one_graph(descriptor, penalty, dims, trust):
    loss = trust(ConstraintLoss(descriptor, penalty))
    bounds = torch.tensor([1.0, 2.0]).repeat(4, 3, descriptor.components(dims), 1)
    spacing = torch.tensor([1.5, 1.0, 2.5][:dims]).repeat(4, 1)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    values = []
    for one in (compiled, loss):
        x = logits(dims)
        value = one(x, bounds, spacing=spacing)
        value.backward()
        values.append((value.detach(), x.grad, loss.violation))
    assert values[0][2] > 0
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # a graph has the plain gradient of length


@pytest.mark.parametrize(
    ("loss", "names", "dims"),
    [
        (EntropyLoss(), (), 3),
        (ConsistencyLoss("mse"), ("teacher",), 3),
        (ConsistencyLoss("kl"), ("teacher",), 3),
        (SeedingLoss(), ("weak",), 3),
        (ExpansionLoss(), ("tags",), 3),
        (GatedCRFLoss(radius=1), ("image",), 2),
        (PartialDiceLoss(reduction="none"), ("weak",), 3),
        (ConstraintLoss(Size(), LogBarrierExtension(), reduction="none"), ("bounds",), 3),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, nn.Module) else "",
)
def test_the_other_losses_are_one_graph(loss, names, dims):
    generator = torch.Generator().manual_seed(3)
    targets = {
        "teacher": torch.randn(4, 3, *SHAPES[dims], generator=generator),
        "weak": weak(dims),
        "tags": torch.tensor([[1, 1, 0], [1, 0, 1], [1, -1, 1], [1, 1, 1]]),
        "image": torch.rand(4, 1, *SHAPES[dims], generator=generator),
        "bounds": torch.tensor([1.0, 2.0]).repeat(4, 3, 1, 1),
    }
    given = [targets[name] for name in names]
    found = explain(loss)(logits(dims), *given)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
    compiled = torch.compile(lambda *args: loss(*args).sum(), backend="eager", fullgraph=True)
    pairs = (gradient(compiled, dims, *given), gradient(lambda *args: loss(*args).sum(), dims, *given))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_bound_on_volumes_in_slices_breaks_the_graph_and_stays_right():
    """How many volumes a batch of slices holds is not known beforehand."""
    loss = trusted(ConstraintLoss(Size(), LogBarrierExtension()))
    bounds, group = torch.tensor([1.0, 20.0]).repeat(4, 3, 1, 1), torch.tensor([0, 0, 1, 1])
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(compiled(logits(2), bounds, group=group), loss(logits(2), bounds, group=group))


def test_a_wrong_label_stops_the_graph_too():
    wrong = weak(2)
    wrong[0, 0, 0, 0] = 3
    with pytest.raises(RuntimeError, match=r"holds other classes than 0\.\.2"):
        torch.compile(PartialCrossEntropyLoss(), backend="eager", fullgraph=True)(logits(2), wrong)
    bounds = torch.ones(4, 3, 1, 2)
    with pytest.raises(RuntimeError, match="bounds of 'size' leave no room"):
        torch.compile(ConstraintLoss(Size(), LogBarrierExtension()), backend="eager", fullgraph=True)(logits(2), bounds)
    with pytest.raises(RuntimeError, match="tags hold other values than 1, 0 and -1"):
        torch.compile(ExpansionLoss(), backend="eager", fullgraph=True)(logits(2), torch.full((4, 3), 2))
    with pytest.raises(RuntimeError, match="image holds NaN"):
        torch.compile(GatedCRFLoss(radius=1), backend="eager", fullgraph=True)(
            logits(2), torch.full((4, 1, 12, 10), torch.nan)
        )


def test_another_t_compiles_nothing():
    """Once for all the values that a run of 200 epochs gives it, and each is used."""
    loss = trusted(mixed())
    target = {"weak_label": weak(2), "bounds_size": torch.tensor([1.0, 20.0]).repeat(4, 3, 1, 1)}
    counter = CompileCounter()
    compiled = torch.compile(loss, backend=counter, fullgraph=True)
    values = []
    for epoch in range(12):
        loss.set_t(5 * 1.1**epoch)
        values.append(compiled(logits(2), target))
        assert torch.equal(values[-1], loss(logits(2), target))
        assert compiled.parts.keys() == {"partial", "size"} and compiled.violations["size"] > 0
    assert counter.frame_count == 1
    assert len({value.item() for value in values}) == 12


def trainer(network: nn.Module, loss: WeightedSumLoss, *handlers: TorchCompile) -> SupervisedTrainer:
    target = {"weak_label": weak(2), "bounds_size": torch.tensor([1.0, 20.0]).repeat(4, 3, 1, 1)}
    images = torch.rand(4, 1, *SHAPES[2], generator=torch.Generator().manual_seed(2))
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=[0, 1, 2],
        prepare_batch=lambda batch, *_, **__: (images, target),
        network=network,
        optimizer=torch.optim.Adam(network.parameters()),
        loss_function=loss,
        train_handlers=list(handlers),
        decollate=False,
    )


def test_the_trainer_alone_sees_what_is_compiled():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    plain.load_state_dict(state)
    counter = CompileCounter()
    loss, seen = trusted(mixed()), []
    engine = trainer(network, loss, TorchCompile({"backend": counter}))

    def raise_t(engine: Engine) -> None:
        loss.set_t(5.0 + engine.state.iteration)
        seen.append((counter.frame_count, {**loss.parts}))

    engine.add_event_handler(Events.ITERATION_COMPLETED, raise_t)
    engine.run()
    engine.state.max_epochs = 3
    engine.run()  # starts once more, and compiles nothing
    assert [count for count, _ in seen] == [2] * len(seen) and len(seen) == 9  # network and loss
    assert engine.network is not network and engine.network._orig_mod is network
    assert network.state_dict().keys() == state.keys()  # as it is saved
    assert {*seen[0][1]} == {"partial", "size"}
    other = trusted(mixed())
    again = trainer(plain, other)
    again.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: other.set_t(5.0 + engine.state.iteration))
    again.run()
    again.state.max_epochs = 3
    again.run()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


@pytest.mark.parametrize("settings", [False, "reduce-overhead", 3])
def test_other_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"compile must be true, false or the arguments of torch.compile, got"):
        TorchCompile(settings)
