# SPDX-License-Identifier: Apache-2.0
"""The sum of supervision, consistency and mutual information, and the information of several features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wss_monai.functional.descriptors import Size
from wss_monai.losses import (
    ConsistencyLoss,
    ConstraintLoss,
    EntropyLoss,
    FeatureMutualInformationLoss,
    IICLoss,
    LocalIICLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    SemiSupervisedLoss,
)
from wss_monai.transforms import RandFlips

K, N, M, SHAPE = 3, 2, 4, (6, 5)
FEATURES = {
    "deep": {"scale": "global", "importance": 1.0},
    "fine": {"scale": "local", "importance": 0.5, "padding": 1},
    "finest": {"scale": "local", "importance": 0.5, "padding": [0, 2]},
}


def clusters(dtype=torch.float64, seed=0, heads=2):
    """Assignments of both views by feature, as the network gives them, with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def made(*shape):
        logits = torch.randn(M, heads, 4, *shape, generator=generator, dtype=dtype)
        return logits.softmax(2).flatten(1, 2).requires_grad_()

    return {"deep": (made(), made()), "fine": (made(3, 4), made(3, 4)), "finest": (made(6, 5), made(6, 5))}


def outputs(dtype=torch.float64, seed=0, teacher=False):
    generator = torch.Generator().manual_seed(seed)
    names = {"labelled": N, "first": M, "second": M} | ({"teacher": M} if teacher else {})
    made = {
        name: torch.randn(n, K, *SHAPE, generator=generator, dtype=dtype).requires_grad_() for name, n in names.items()
    }
    return made | {"clusters": clusters(dtype, seed + 1)}


def target():
    """Rows of labelled and then of unlabelled images; the latter hold labels that no term may read."""
    weak = torch.randint(0, K, (N + M, 1, *SHAPE), generator=torch.Generator().manual_seed(9), dtype=torch.uint8)
    return {"weak_label": weak, "view": RandFlips()(M, SHAPE, 3)}


def information(**options):
    return FeatureMutualInformationLoss(FEATURES, num_heads=2, **options)


def whole(**options):
    return SemiSupervisedLoss(
        {"supervised": [PartialCrossEntropyLoss(), 1.0]},
        {"entropy": [EntropyLoss(), 0.3]},
        consistency=[ConsistencyLoss("mse"), 5.0],
        mutual_information=[information(), 0.1],
        **options,
    )


def test_the_sum_by_hand():
    loss, out, wanted = whole(), outputs(), target()
    total = loss(out, wanted)
    supervised = F.cross_entropy(out["labelled"], wanted["weak_label"][:N, 0].long())
    probs = out["first"].softmax(1)
    entropy = -(probs * probs.log()).sum(1).mean()
    moved = wanted["view"](out["first"].detach().float()).softmax(1)
    consistency = ((out["second"].softmax(1) - moved) ** 2).mean()
    shared = out["clusters"]
    mutual = 0.5 * IICLoss(num_heads=2)(*shared["deep"])
    mutual = mutual + 0.25 * LocalIICLoss(padding=1, num_heads=2)(*shared["fine"])
    mutual = mutual + 0.25 * LocalIICLoss(padding=[0, 2], num_heads=2)(*shared["finest"])
    expected = supervised + 0.3 * entropy + 5.0 * consistency + 0.1 * mutual
    torch.testing.assert_close(total, expected.to(total), rtol=1e-6, atol=1e-7)
    parts = {"supervised": supervised, "entropy": entropy, "consistency": consistency, "mutual_information": mutual}
    for name, value in parts.items():
        assert float(loss.parts[name]) == pytest.approx(value.item(), rel=1e-6), name
        assert not loss.parts[name].requires_grad
    assert {f"mutual_information_{name}" for name in FEATURES} <= set(loss.parts)


def gradients(loss, out, wanted):
    loss(out, wanted).backward()
    pairs = {f"{name}{i}": pair[i] for name, pair in out["clusters"].items() for i in (0, 1)}
    leaves = {name: value for name, value in out.items() if name != "clusters"} | pairs
    return {name for name, value in leaves.items() if value.grad is not None and bool((value.grad != 0).any())}


def test_consistency_has_a_gradient_through_the_second_view_alone():
    supervised = {"supervised": [PartialCrossEntropyLoss(), 1.0]}
    loss = SemiSupervisedLoss(supervised, consistency=[ConsistencyLoss("mse"), 1.0])
    assert gradients(loss, outputs(), target()) == {"labelled", "second"}
    loss = SemiSupervisedLoss(supervised, consistency=[ConsistencyLoss("kl"), 1.0], teacher=True)
    assert gradients(loss, outputs(teacher=True), target()) == {"labelled", "second"}


def test_information_has_a_gradient_through_both_views():
    loss = SemiSupervisedLoss({"supervised": [PartialCrossEntropyLoss(), 1.0]}, mutual_information=[information(), 1.0])
    found = gradients(loss, outputs(), target())
    assert found == {"labelled", *(f"{name}{i}" for name in FEATURES for i in (0, 1))}


def test_a_teacher_is_compared_with_instead_of_the_network_itself():
    loss = SemiSupervisedLoss(
        {"supervised": [PartialCrossEntropyLoss(), 1.0]}, consistency=[ConsistencyLoss("mse"), 1.0], teacher=True
    )
    out, wanted = outputs(teacher=True), target()
    loss(out, wanted)
    expected = ((out["second"].softmax(1) - wanted["view"](out["teacher"].detach().float()).softmax(1)) ** 2).mean()
    assert float(loss.parts["consistency"]) == pytest.approx(float(expected), rel=1e-6)
    assert (loss.needs_first, loss.needs_second, loss.needs_unlabelled) == (False, True, True)


def test_the_labels_of_unlabelled_rows_are_never_read():
    loss, out, wanted = whole(), outputs(), target()
    poisoned = wanted["weak_label"].clone()
    poisoned[N:] = 200  # no class: reading it would be an error
    assert float(loss(out, wanted)) == float(loss(out, {**wanted, "weak_label": poisoned}))
    changed = wanted["weak_label"].clone()
    changed[:N] = (changed[:N] + 1) % K
    assert float(loss(out, wanted)) != float(loss(out, {**wanted, "weak_label": changed}))


def test_terms_on_unlabelled_images_get_their_rows():
    """Sizes of two labelled images outside their bounds cost nothing, those of the unlabelled ones do."""
    size = ConstraintLoss(Size(), LogBarrierExtension(t=5.0))
    loss = SemiSupervisedLoss({"supervised": [PartialCrossEntropyLoss(), 1.0]}, {"size": [size, 1.0]})
    out, wanted = outputs(torch.float32), target()
    bounds = torch.tensor([-torch.inf, torch.inf]).repeat(N + M, K, 1, 1)
    wanted["bounds_size"] = bounds.clone()
    loss(out, wanted)
    assert float(loss.parts["size"]) == 0
    bounds[:N, 1, 0, 1] = 0.5
    loss(out, {**wanted, "bounds_size": bounds})
    assert float(loss.parts["size"]) == 0
    bounds[N, 1, 0, 1] = 0.5
    loss(out, {**wanted, "bounds_size": bounds})
    assert float(loss.parts["size"]) > 0 and float(loss.violations["size"]) > 0
    assert loss.t == 5.0 and set(loss.descriptors()) == {"bounds_size"}
    assert (loss.needs_first, loss.needs_second) == (True, False)


def test_what_a_loss_without_unlabelled_terms_needs():
    loss = SemiSupervisedLoss({"supervised": [PartialCrossEntropyLoss(), 1.0]})
    assert not loss.needs_unlabelled and not loss.informative and loss.target_keys() == {"weak_label"}
    out, wanted = outputs(), target()
    logits = out["labelled"]
    expected = F.cross_entropy(logits, wanted["weak_label"][:N, 0].long())
    assert float(loss(logits, {"weak_label": wanted["weak_label"][:N]}).detach()) == pytest.approx(float(expected))


def test_weights_of_zero_and_changed_weights():
    loss, out, wanted = whole(), outputs(), target()
    for name in ("entropy", "consistency", "mutual_information"):
        loss.weights[name] = 0.0  # as a ramp does
    assert float(loss(out, wanted)) == pytest.approx(float(loss.parts["supervised"]))
    assert float(loss.parts["consistency"]) > 0


def test_importance_is_relative():
    pairs = clusters()
    doubled = {name: {**own, "importance": 2 * own["importance"]} for name, own in FEATURES.items()}
    loss, twice = information(), FeatureMutualInformationLoss(doubled, num_heads=2)
    assert loss.importance == twice.importance == {"deep": 0.5, "fine": 0.25, "finest": 0.25}
    assert float(loss(pairs)) == float(twice(pairs))
    even = FeatureMutualInformationLoss(
        {n: {k: v for k, v in o.items() if k != "importance"} for n, o in FEATURES.items()}
    )
    assert list(even.importance.values()) == pytest.approx([1 / 3] * 3)
    none = {**FEATURES, "deep": {"scale": "global", "importance": 0}}
    loss = FeatureMutualInformationLoss(none, num_heads=2)
    values = {name: float(value) for name, value in (loss(pairs), loss.values)[1].items()}
    assert float(loss(pairs)) == pytest.approx(0.5 * values["fine"] + 0.5 * values["finest"])


def test_own_heads_patches_and_the_exact_information():
    pairs = clusters()
    own = {"deep": {**FEATURES["deep"], "num_heads": 2}, "fine": {**FEATURES["fine"], "num_heads": 2, "patch_size": 2}}
    loss = FeatureMutualInformationLoss(own, num_heads=7, subtract_min=False)
    loss({name: pairs[name] for name in own})
    fine = LocalIICLoss(padding=1, patch_size=2, subtract_min=False, num_heads=2)(*pairs["fine"])
    assert float(loss.values["fine"]) == pytest.approx(float(fine))


@pytest.mark.parametrize("precision", ["float32", "autocast"])
def test_in_single_and_in_half_precision(precision):
    loss, wanted = whole(), target()
    exact = float(loss(outputs(), wanted))
    out = outputs(torch.float32)
    out = {name: v if name == "clusters" else v.detach().copy_(outputs()[name].detach()) for name, v in out.items()}
    double = outputs()["clusters"]
    out["clusters"] = {name: tuple(part.detach().float() for part in pair) for name, pair in double.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        value = loss(out, wanted)
    assert value.dtype == torch.float32 and float(value) == pytest.approx(exact, rel=1e-4)


def test_in_3d_and_with_one_image():
    shape = (4, 6, 5)
    out = {name: torch.randn(1, K, *shape) for name in ("labelled", "first", "second")}
    pair = tuple(torch.randn(1, 8, *shape).softmax(1) for _ in range(2))
    out["clusters"] = {"fine": pair}
    features = {"fine": {"scale": "local", "padding": [0, 1, 1]}}
    loss = SemiSupervisedLoss(
        {"supervised": [PartialCrossEntropyLoss(), 1.0]},
        consistency=[ConsistencyLoss("kl"), 1.0],
        mutual_information=[FeatureMutualInformationLoss(features, num_heads=1), 1.0],
    )
    weak = torch.randint(0, K, (2, 1, *shape), dtype=torch.uint8)
    assert bool(loss(out, {"weak_label": weak, "view": RandFlips((0, 2))(1, shape, 0)}).isfinite())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "features is empty"),
        ({"a": {}}, "'a': scale must be 'global' or 'local', got None"),
        ({"a": {"scale": "lokal"}}, "'a': scale must be .* got 'lokal'"),
        ({"a": {"scale": "local", "pading": 1}}, r"'a': unknown settings \['pading'\]"),
        ({"a": {"scale": "global", "importance": -1}}, "'a': importance must be 0 or more, got -1"),
        ({"a": {"scale": "global", "importance": 0}}, "importance of all features is 0"),
        ({"a": {"scale": "local", "padding": -1}}, "padding"),
        ({"a": {"scale": "local", "num_heads": 0}}, "num_heads"),
    ],
)
def test_features_that_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        FeatureMutualInformationLoss(features)


def test_clusters_that_do_not_fit_are_refused_by_name():
    pairs = clusters()
    with pytest.raises(ValueError, match=r"about the features \['deep', 'fine', 'finest'\], but got \['deep'\]"):
        information()({"deep": pairs["deep"]})
    with pytest.raises(ValueError, match="feature 'fine': "):
        information()({**pairs, "fine": (pairs["fine"][0], pairs["fine"][1][:2])})
    small = {"fine": {"scale": "local", "padding": 3}}
    with pytest.raises(ValueError, match=r"feature 'fine': .*padding"):
        FeatureMutualInformationLoss(small, num_heads=2)({"fine": pairs["fine"]})
    alone = {"deep": tuple(part[:1] for part in pairs["deep"])}
    with pytest.raises(ValueError, match="feature 'deep': "):
        FeatureMutualInformationLoss({"deep": {"scale": "global"}}, num_heads=2)(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labelled": {}}, "labelled is empty"),
        ({"unlabelled": {"supervised": [EntropyLoss(), 1.0]}}, "two terms have one name"),
        ({"unlabelled": {"consistency": [EntropyLoss(), 1.0]}, "consistency": [ConsistencyLoss(), 1.0]}, "one name"),
        ({"teacher": True}, "teacher needs a consistency term"),
        ({"consistency": [ConsistencyLoss(), -1.0]}, "term 'consistency' must be"),
    ],
)
def test_terms_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SemiSupervisedLoss(**{"labelled": {"supervised": [PartialCrossEntropyLoss(), 1.0]}, **options})
