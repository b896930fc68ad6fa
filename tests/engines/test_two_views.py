# SPDX-License-Identifier: Apache-2.0
"""Training on two views: what reaches the network and the loss, and that it is the same draw."""

from __future__ import annotations

import copy

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from wss_monai.engines import PrepareViews
from wss_monai.functional.cams.channels import split_channels, tag_logits
from wss_monai.functional.cams.max_norm import max_norm
from wss_monai.handlers import GradientNorms
from wss_monai.inferers import TwoViews
from wss_monai.losses import (
    ClassDistributionExchangeLoss,
    ClassificationLoss,
    CrossModalityEquivarianceLoss,
    EquivariantCAMLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.optimizers import SeveralOptimizers
from wss_monai.transforms import BatchAugment, RandEquivariantTransform


class Pair(nn.Module):
    """Two tiny networks that share nothing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False)) for _ in range(2)
        )

    def forward(self, x):
        return torch.cat([net(x[:, m : m + 1]) for m, net in enumerate(self.networks)], 1)


def make_loss():
    return EquivariantCAMLoss(
        2,
        {
            "classification": (ClassificationLoss(), 1.0),
            "exchange": (ClassDistributionExchangeLoss(), 0.5),
            "within": (WithinModalityEquivarianceLoss("mean"), 1.0),
            "cross": (CrossModalityEquivarianceLoss(), 1.0),
        },
    )


def batches(count=3):
    out = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        image = torch.rand(4, 2, 16, 16, generator=generator)
        tags = torch.tensor([[1, 1], [1, 0], [1, 1], [1, -1]])
        image[tags[:, 1] == 1, :, 4:9, 5:10] += 1.5
        out.append(
            {"image": image, "slice_tags": tags, "spacing": torch.ones(4, 2), "draw": torch.tensor(100 + number)}
        )
    return out


def train(network, optimizer, loss, handlers=(), epochs=1, count=3):
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=batches(count),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        inferer=TwoViews(),
        prepare_batch=PrepareViews(loss, RandEquivariantTransform()),
        decollate=False,
    )
    for handler in handlers:
        handler.attach(trainer)
    trainer.run()
    return trainer


def test_the_loss_knows_the_map_that_moved_the_image():
    loss = make_loss()
    prepare = PrepareViews(loss, RandEquivariantTransform())
    image, targets, args, kwargs = prepare(batches()[0])
    assert args == () and kwargs["view"] is targets["view"]
    outputs = TwoViews()(image, lambda x: x, view=targets["view"])
    assert torch.equal(outputs[0], image) and torch.equal(outputs[1], targets["view"](image))
    again = prepare(batches()[0])[1]["view"]
    assert torch.equal(again.matrix, targets["view"].matrix)
    other = {tuple(prepare(b)[1]["view"].matrix.flatten().tolist()) for b in batches(6)}
    assert len(other) == 6


def test_views_of_another_size_are_a_pair_that_the_loss_compares():
    """Maps of the image, brought to the size of the second view, against those of the resized image: alike here."""
    loss = make_loss()
    views = RandEquivariantTransform("scaling", sizes=[24, 24, 8])
    image, targets, _, _ = PrepareViews(loss, views)(batches()[0])
    network = Pair()
    network.eval()
    first, second = TwoViews()(image, network, view=targets["view"])
    assert first.shape[2:] == (16, 16) and second.shape[2:] == (24, 24)
    total = loss((first, second), targets)
    total.backward()
    assert bool(total.isfinite()) and all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    p = targets["view"](max_norm(split_channels(first, 2)[1], 2).transpose(0, 1)).transpose(0, 1)
    q = max_norm(split_channels(second, 2)[1], 2)
    valid = torch.ones(len(image), 1, 24, 24, dtype=torch.bool)
    within = WithinModalityEquivarianceLoss("mean")(p, q, targets["slice_tags"][:, 1], valid)
    torch.testing.assert_close(loss.parts["within"], within.detach())


def test_augmentation_comes_before_both_views():
    loss = make_loss()
    augment = BatchAugment(2, flips=[0], turns=None, rotation=0, translation=0, scaling=0)
    image, targets, _, kwargs = PrepareViews(loss, RandEquivariantTransform(), augment)(batches()[0])
    assert image.shape == (4, 2, 16, 16) and "slice_tags" in targets and "view" in kwargs
    plain, _ = super(PrepareViews, PrepareViews(loss, RandEquivariantTransform(), augment)).__call__(batches()[0])
    assert torch.equal(image, plain)


def test_several_optimisers_step_exactly_as_one():
    settings = {"lr": 1e-2, "weight_decay": 0.5}
    one, many = Pair(), Pair()
    train(one, torch.optim.AdamW(one.parameters(), **settings), make_loss(), epochs=2)
    optimizer = SeveralOptimizers([torch.optim.AdamW(net.parameters(), **settings) for net in many.networks])
    train(many, optimizer, make_loss(), epochs=2)
    for a, b in zip(one.parameters(), many.parameters(), strict=True):
        assert torch.equal(a, b)
    fresh = Pair()
    assert not torch.equal(next(fresh.parameters()), next(one.parameters()))


def test_several_optimisers_are_saved_and_scheduled():
    network = Pair()
    parts = [
        torch.optim.AdamW(network.networks[0].parameters(), 1e-2),
        torch.optim.SGD(network.networks[1].parameters(), 0.1),
    ]
    optimizer = SeveralOptimizers(parts)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    train(network, optimizer, make_loss())
    schedule.step()
    assert [group["lr"] for part in parts for group in part.param_groups] == [5e-3, 5e-2]
    state = copy.deepcopy(optimizer.state_dict())
    twin = Pair()
    copied = SeveralOptimizers(
        [torch.optim.AdamW(twin.networks[0].parameters(), 1.0), torch.optim.SGD(twin.networks[1].parameters(), 1.0)]
    )
    copied.load_state_dict(state)
    twin.load_state_dict(network.state_dict())
    assert [group["lr"] for group in copied.param_groups] == [5e-3, 5e-2]
    copied.param_groups[0]["lr"] = 1e-3
    assert copied.optimizers[0].param_groups[0]["lr"] == 1e-3  # still the same groups
    for part in (copied, optimizer):
        part.param_groups[0]["lr"] = 5e-3
    train(network, optimizer, make_loss())
    train(twin, copied, make_loss())
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_gradient_norms_are_those_of_the_parts():
    network, loss = Pair(), make_loss()
    norms = GradientNorms(loss, network, interval=2)
    seen = []

    class Watch:
        def attach(self, engine):
            from monai.engines import IterationEvents

            engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.look)

        def look(self, engine):
            seen.append({k: float(v) for k, v in norms.logged.items()})

    parameters = [p.detach().clone() for p in network.parameters()]
    train(network, torch.optim.SGD(network.parameters(), 0.1), loss, [norms, Watch()])
    assert set(seen[0]) == {f"gradient_{part}" for part in ("classification", "exchange", "within", "cross")}
    assert seen[0] == seen[1] != seen[2]  # every second iteration
    assert all(value > 0 for value in seen[0].values())
    fresh = Pair()
    for p, before in zip(fresh.parameters(), parameters, strict=True):
        assert torch.equal(p, before)
    image, _, _, kwargs = PrepareViews(loss, RandEquivariantTransform())(batches()[0])
    maps = [split_channels(v, 2)[0] for v in TwoViews()(image, fresh, **kwargs)]
    value = ClassDistributionExchangeLoss()(*(tag_logits(m) for m in maps))
    gradients = torch.autograd.grad(value, list(fresh.parameters()), allow_unused=True)
    expected = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
    assert abs(float(expected) - seen[0]["gradient_exchange"]) < 1e-5 * float(expected)


def test_training_learns_to_tell_and_to_find():
    """Bright squares: after some steps the tag is told, and the map of the class lies on the square."""
    network, loss = Pair(), make_loss()
    train(network, torch.optim.AdamW(network.parameters(), 2e-2), loss, epochs=60)
    batch = batches()[0]
    maps, shown = split_channels(network(batch["image"]).detach(), 2)
    tags, z = batch["slice_tags"][:, 1], tag_logits(maps)
    evidence = z[..., 1] - z[..., 0]
    assert (evidence[:, tags == 1].amin(1) > evidence[:, tags == 0].amax(1)).all()
    present = shown[:, tags == 1]
    inside = present[..., 4:9, 5:10].mean((2, 3))
    assert (inside > present.mean((2, 3)) + 0.5 * present.std((2, 3))).all()
