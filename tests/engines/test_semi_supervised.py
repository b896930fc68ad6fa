# SPDX-License-Identifier: Apache-2.0
"""Training on labelled and unlabelled images: who is seen by whom, and moved by what."""

from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from wss_monai.engines import PrepareSemiSupervised
from wss_monai.handlers import AveragedNetwork, UpdateAverage
from wss_monai.inferers import SemiSupervisedInferer
from wss_monai.losses import (
    ConsistencyLoss,
    EntropyLoss,
    FeatureMutualInformationLoss,
    PartialCrossEntropyLoss,
    SemiSupervisedLoss,
)
from wss_monai.networks import ClusterNetwork
from wss_monai.transforms import BatchAugment, RandEquivariantTransform, RandFlips

N, M, K = 2, 5, 3
FEATURES = {"0": {"scale": "local", "padding": 1}, "2": {"scale": "global"}}
MODES = ("partial", "entropy", "meanteacher", "uda", "iic", "udaiic")
SEEN = {  # images of a call of the network, and of the teacher
    "partial": ([N], []),
    "entropy": ([N + M], []),
    "meanteacher": ([N + M], [M]),
    "uda": ([N + 2 * M], []),
    "iic": ([N + 2 * M], []),
    "udaiic": ([N + 2 * M], []),
}


def make_loss(mode):
    terms = {"labelled": {"supervised": [PartialCrossEntropyLoss(), 1.0]}}
    if mode == "entropy":
        terms["unlabelled"] = {"entropy": [EntropyLoss(), 0.1]}
    if mode in ("meanteacher", "uda", "udaiic"):
        terms["consistency"] = [ConsistencyLoss(), 10.0]
    if mode in ("iic", "udaiic"):
        terms["mutual_information"] = [FeatureMutualInformationLoss(FEATURES, num_heads=2), 0.1]
    return SemiSupervisedLoss(**terms, teacher=mode == "meanteacher")


def make_network(loss, **options):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, K, 3, padding=1))
    features = FEATURES if loss.informative else {}
    return ClusterNetwork(layers, features, num_clusters=4, num_heads=2, probe_size=8, **options)


def make_batch(draw=7, labelled=N, unlabelled=M):
    generator = torch.Generator().manual_seed(draw)
    weak = torch.randint(0, K, (labelled + unlabelled, 1, 12, 10), generator=generator, dtype=torch.uint8)
    weak[labelled:] = 255
    image = torch.rand(labelled + unlabelled, 1, 12, 10, generator=generator)
    count = labelled + unlabelled
    return {"image": image, "weak_label": weak, "spacing": torch.ones(count, 2), "volume": torch.arange(count),
            "labelled": torch.tensor(labelled), "draw": torch.tensor(draw)}  # fmt: skip


class Watched:
    """The images that a network is called with."""

    def __init__(self, network):
        self.images = []
        network.register_forward_pre_hook(lambda module, inputs: self.images.append(inputs[0].detach().clone()))

    @property
    def counts(self):
        return [len(images) for images in self.images]


def outputs_of(mode, batch=None, **options):
    """What the inferer gives for a batch, its targets, and what each network saw."""
    loss = make_loss(mode)
    network = make_network(loss, **options)
    teacher = AveragedNetwork(network.network) if loss.teacher else None
    watched = Watched(network.network), Watched(teacher.network) if teacher else None
    image, targets, args, kwargs = PrepareSemiSupervised(loss, RandFlips())(batch or make_batch(), "cpu")
    inferer = SemiSupervisedInferer(loss, None if teacher is None else teacher.network)
    return inferer(image, network, *args, **kwargs), targets, watched, image


@pytest.mark.parametrize("mode", MODES)
def test_who_sees_how_many_images(mode):
    output, targets, (network, teacher), image = outputs_of(mode)
    assert (network.counts, teacher.counts if teacher else []) == SEEN[mode]
    assert torch.equal(network.images[0][:N], image[:N])
    assert (targets["view"] is None) == (mode in ("partial", "entropy"))
    if mode == "partial":
        assert isinstance(output, torch.Tensor) and len(output) == N
        return
    wanted = {"labelled": N}
    wanted |= {"first": M} if mode != "meanteacher" else {"teacher": M}
    wanted |= {"second": M} if mode != "entropy" else {}
    assert {name: len(value) for name, value in output.items() if name != "clusters"} == wanted
    assert set(output["clusters"]) == (set(FEATURES) if mode in ("iic", "udaiic") else set())
    if teacher:
        assert torch.equal(teacher.images[0], image[N:])
        assert not output["teacher"].requires_grad and output["second"].requires_grad


@pytest.mark.parametrize("mode", ["meanteacher", "uda", "udaiic"])
def test_the_second_view_is_the_image_moved_by_the_map_of_the_targets(mode):
    _, targets, (network, _), image = outputs_of(mode)
    assert torch.equal(network.images[0][-M:], targets["view"](image[N:]))
    assert not torch.equal(network.images[0][-M:], image[N:])


def test_separate_statistics_are_three_forwards():
    _, _, (network, _), image = outputs_of("udaiic", separate_statistics=True)
    assert network.counts == [N, M, M]
    assert torch.equal(network.images[1], image[N:])


def test_the_view_is_a_function_of_the_draw_and_apart_from_the_augmentation():
    prepare = PrepareSemiSupervised(make_loss("uda"), RandFlips(), BatchAugment(num_classes=K, turns=None))
    state = torch.get_rng_state()
    first, same, other = (prepare(make_batch(draw), "cpu") for draw in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], same[0]) and not torch.equal(first[0], make_batch(7)["image"])
    assert torch.equal(first[1]["view"].matrix, same[1]["view"].matrix)
    assert not torch.equal(first[1]["view"].matrix, other[1]["view"].matrix)
    plain = PrepareSemiSupervised(make_loss("uda"), RandFlips())(make_batch(7), "cpu")
    assert torch.equal(plain[1]["view"].matrix, first[1]["view"].matrix)
    assert first[3] == {"labelled": N, "view": first[1]["view"]}


def test_views_that_leave_the_frame_are_refused():
    """A prediction that is moved right would be compared with padding."""
    loss = make_loss("uda")
    with pytest.raises(ValueError, match=r"\['scaling', 'translation'\] do not: give RandFlips"):
        PrepareSemiSupervised(loss, RandEquivariantTransform())
    PrepareSemiSupervised(loss, RandEquivariantTransform(family=["flip", "turn"]))


def test_images_and_their_labels_are_augmented_alike():
    """Labels written into the image come out as the image does, for the labelled rows."""
    augment = BatchAugment(num_classes=K, turns=None, affine_probability=0.0, intensity_probability=0.0)
    batch = make_batch()
    batch["image"] = batch["weak_label"].float() / 255
    image, targets, _, _ = PrepareSemiSupervised(make_loss("udaiic"), RandFlips(), augment)(batch, "cpu")
    torch.testing.assert_close(image[:N] * 255, targets["weak_label"][:N].float())
    assert not torch.equal(targets["weak_label"], batch["weak_label"])


def test_a_batch_of_labelled_images_alone():
    batch = make_batch(unlabelled=0)
    output, targets, (network, _), _ = outputs_of("partial", batch)
    assert len(output) == N and targets["view"] is None and network.counts == [N]
    del batch["labelled"]  # of a loader that knows no unlabelled images
    assert len(outputs_of("partial", batch)[0]) == N
    with pytest.raises(ValueError, match="holds no unlabelled images, which the loss needs"):
        outputs_of("uda", make_batch(unlabelled=0))


def test_partial_never_sees_the_unlabelled_images_of_a_batch():
    """Nor do they change the running statistics of the network."""
    networks = []
    for value in (0.0, float("nan")):
        batch = make_batch()
        batch["image"][N:] = value
        networks.append(train("partial", [batch] * 3)[0].state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_a_teacher_is_asked_for():
    with pytest.raises(ValueError, match="compares with a teacher: give the averaged network"):
        SemiSupervisedInferer(make_loss("meanteacher"))
    assert SemiSupervisedInferer(make_loss("uda"), nn.Identity()).teacher is None


def train(mode, batches):
    loss = make_loss(mode)
    network = make_network(loss)
    average = AveragedNetwork(network.network, 0.9) if loss.teacher else None
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 0.01),
        loss_function=loss,
        inferer=SemiSupervisedInferer(loss, None if average is None else average.network),
        prepare_batch=PrepareSemiSupervised(loss, RandFlips()),
        decollate=False,
    )
    if average:
        UpdateAverage(average).attach(trainer)
    trainer.run()
    return network, average, loss


@pytest.mark.parametrize("mode", MODES)
def test_a_monai_trainer_runs_every_mode(mode):
    network, average, loss = train(mode, [make_batch(draw) for draw in range(3)])
    before = make_network(make_loss(mode))
    for (name, new), (_, old) in zip(network.named_parameters(), before.named_parameters(), strict=True):
        assert not torch.equal(new, old), name
    assert all(bool(value.isfinite()) for value in loss.parts.values())
    if average:  # the teacher learns from the student, not from the loss
        assert not any(p.requires_grad or p.grad is not None for p in average.network.parameters())
        state, start = average.network.state_dict(), before.network.state_dict()
        assert not torch.equal(state["0.weight"], start["0.weight"])
