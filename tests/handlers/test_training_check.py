# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import re

import pytest
import torch
from ignite.engine import Engine

from wss_monai.data import BatchLoader, PatchStore, SliceStore
from wss_monai.functional.descriptors import Size
from wss_monai.functional.relations import SizeRatio
from wss_monai.handlers import TrainingCheck
from wss_monai.losses import (
    ClassificationLoss,
    ConstraintLoss,
    EqualVolumeLoss,
    EquivariantCAMLoss,
    ExpansionLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    QuadraticPenalty,
    SeedingLoss,
    WeightedSumLoss,
)

NAMES = ["background", "RV", "LV"]
FREE = [-math.inf, math.inf]


def case(name="a", drawn=(), bounds=None, label=None):
    """A volume of 4 x 4 x 2 voxels; ``bounds`` are (lower, upper) of the classes of each slice."""
    weak = torch.full((1, 4, 4, 2), 255, dtype=torch.uint8)
    for number, index in enumerate(drawn):
        weak[0, 0, number, 0] = index
    out = {"case": name, "image": torch.zeros(1, 4, 4, 2), "weak_label": weak}
    if label is not None:
        out["label"] = torch.full_like(weak, label)
    if bounds is not None:
        out["bounds_size"] = torch.tensor(bounds).reshape(1, 3, 1, 2).repeat(2, 1, 1, 1)
    return out


def loss(penalty=None, **constraint):
    terms = {"partial": (PartialCrossEntropyLoss(), 1.0)}
    if penalty is not None:
        terms["size"] = (ConstraintLoss(Size(), penalty, **constraint), 1.0)
    return WeightedSumLoss(terms)


def check(cases, made, store=SliceStore, names=NAMES):
    engine = Engine(lambda *_: None)
    TrainingCheck(BatchLoader(store(cases)), made, names).attach(engine)
    engine.run([0], max_epochs=1)


def test_classes_that_are_drawn_in_some_case_pass():
    check([case("a", (0, 1)), case("b", (2,))], loss())


def test_class_that_nobody_drew_is_named():
    with pytest.raises(ValueError, match=r"classes \['RV', 'LV'\] have no labelled voxel in 'weak_label' of any of"):
        check([case("a", (0,)), case("b", (0,))], loss())


def test_nothing_drawn_at_all():
    with pytest.raises(ValueError, match="there is no labelled voxel in 'weak_label' of any of the 2 training cases"):
        check([case("a"), case("b")], loss())


def test_equal_volumes_teach_no_class():
    equal = {"partial": (PartialCrossEntropyLoss(), 1.0), "size": (EqualVolumeLoss(QuadraticPenalty()), 1.0)}
    bounds = [*FREE, *FREE, 1.0, 2.0]
    cases = [{**case("a", (0, 1), bounds=bounds), "patient": "p"}, {**case("b", (0,), bounds=bounds), "patient": "p"}]
    with pytest.raises(ValueError, match=r"classes \['LV'\] have no labelled voxel"):
        check(cases, WeightedSumLoss(equal))


def test_a_lower_bound_teaches_a_class_and_an_upper_one_the_background():
    lower = [*FREE, 1.0, math.inf, 1.0, 5.0]
    check([case("a", bounds=[*FREE] * 3), case("b", bounds=lower)], loss(LogBarrierExtension()))
    with pytest.raises(ValueError, match=r"\['background'\]"):
        check([case("a", (1, 2), bounds=[*FREE, 1.0, math.inf, *FREE])], loss(QuadraticPenalty()))
    with pytest.raises(ValueError, match=r"\['LV'\]"):
        check([case("a", (1,), bounds=[*FREE, *FREE, -math.inf, 5.0])], loss(QuadraticPenalty()))


def test_only_classes_that_the_constraint_acts_on_count():
    bounds = [*FREE, 1.0, 4.0, 1.0, 4.0]
    check([case("a", (0,), bounds=bounds)], loss(QuadraticPenalty(), classes=[1, 2]))
    with pytest.raises(ValueError, match=r"\['LV'\]"):
        check([case("a", (0,), bounds=bounds)], loss(QuadraticPenalty(), classes=[1]))


def test_bounds_without_room_name_case_and_class():
    cases = [case("a", (0, 1, 2), bounds=[*FREE, 1.0, 4.0, *FREE]), case("b", bounds=[*FREE, *FREE, 3.0, 3.0])]
    with pytest.raises(ValueError, match=r"case 'b', class 'LV': .* \[3.0, 3.0\]"):
        check(cases, loss(LogBarrierExtension()))
    check(cases, loss(QuadraticPenalty()))
    check(cases, loss(LogBarrierExtension(), classes=[1]))


def test_constraint_without_any_bound_is_refused():
    with pytest.raises(ValueError, match="constraint 'size' has no bound in any of the 1 training cases"):
        check([case("a", (0, 1, 2), bounds=[*FREE] * 3)], loss(QuadraticPenalty()))


def test_a_relation_teaches_no_class_and_needs_both():
    terms = {
        "partial": (PartialCrossEntropyLoss(), 1.0),
        "size": (ConstraintLoss(SizeRatio(1), QuadraticPenalty()), 1.0),
    }
    bounds = [*FREE, *FREE, 0.5, 5.0]
    check([case("a", (0, 1, 2), bounds=bounds)], WeightedSumLoss(terms))
    with pytest.raises(ValueError, match=r"\['background', 'LV'\] have no labelled voxel"):
        check([case("a", (1,), bounds=bounds)], WeightedSumLoss(terms))
    with pytest.raises(ValueError, match=r"'size' has no bound in any .* Draw or tag both classes that it relates"):
        check([case("a", (0, 1, 2), bounds=[*FREE] * 3)], WeightedSumLoss(terms))


def test_full_supervision_looks_at_the_dense_label():
    dense = WeightedSumLoss({"dense": (PartialCrossEntropyLoss(target_key="label"), 1.0)})
    with pytest.raises(ValueError, match=r"\['LV'\] have no labelled voxel in 'label'"):
        check([case("a", (2,), label=0), case("b", label=1)], dense)


def test_patches_are_checked_by_volume():
    def patches(cases):
        return PatchStore(cases, (4, 4, 2))

    cases = [case("a", (0, 1)), case("b", (2,))]
    check(cases, loss(), patches)
    with pytest.raises(ValueError, match=r"\['LV'\]"):
        check(cases[:1], loss(), patches)
    for entry in cases:
        entry["bounds_size"] = torch.tensor([[*FREE], [*FREE], [3.0, 2.0]]).reshape(3, 1, 2)
    with pytest.raises(ValueError, match="case 'a', class 'LV'"):
        check(cases, loss(QuadraticPenalty()), patches)


@pytest.mark.parametrize(("tags", "missing"), [([1, 1, 0], ["LV"]), ([0, 1, 1], None), ([-1, -1, -1], ["RV", "LV"])])
def test_tags_teach_what_they_say_is_there(tags, missing):
    cases = [{**case("a", (0,)), "slice_tags": torch.tensor([tags, [1, -1, -1]])}]
    made = WeightedSumLoss({"seed": (SeedingLoss(), 1.0), "expand": (ExpansionLoss(), 1.0)})
    if missing is None:
        check(cases, made)
        return
    with pytest.raises(ValueError, match=re.escape(str(missing))):
        check(cases, made)


def tag_loss(key="slice_tags"):
    return EquivariantCAMLoss(1, {"classification": (ClassificationLoss(key), 1.0)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 1], [1, 0]], None),
        ([[1, 1], [1, -1]], r"'slice_tags'\) of all 1 training cases never say that organ is absent"),
        ([[1, 0], [1, 0]], r"nothing in \['slice_tags'\] of any of the 1 training cases says that there is organ:"),
        ([[-1, -1], [-1, -1]], "that there is background or organ: nothing can be learnt of it. Tag images"),
    ],
)
def test_tags_alone_have_to_know_both_sides(rows, message):
    volume = {"case": "a", "image": torch.zeros(1, 4, 4, 2), "slice_tags": torch.tensor(rows)}
    if message is None:
        check([volume], tag_loss(), names=["background", "organ"])
        return
    with pytest.raises(ValueError, match=message):
        check([volume], tag_loss(), names=["background", "organ"])


@pytest.mark.parametrize("absent", [True, False])
def test_slabs_have_both_sides_where_their_slices_do(absent):
    volume = {
        "case": "a",
        "image": torch.zeros(1, 4, 4, 3),
        "slice_tags": torch.tensor([[1, 1], [1, 1], [1, 1 - absent]]),
    }

    def slabs(cases):
        return PatchStore(cases, (4, 4, 1))

    if absent:
        check([volume], tag_loss("tags"), slabs, ["background", "organ"])
        return
    with pytest.raises(ValueError, match="never say that organ is absent"):
        check([volume], tag_loss("tags"), slabs, ["background", "organ"])


def test_tags_that_the_samples_lack_are_named():
    volume = {"case": "a", "image": torch.zeros(1, 4, 4, 2), "slice_tags": torch.tensor([[1, 1], [1, 0]])}
    with pytest.raises(ValueError, match="the loss reads 'tags', which the training samples lack: slices have"):
        check([volume], tag_loss("tags"), names=["background", "organ"])


@pytest.mark.parametrize("store", [SliceStore, lambda cases: PatchStore(cases, (4, 4, 2))])
@pytest.mark.parametrize("wrong", [3, 254])
def test_values_that_are_no_class_are_named(store, wrong):
    with pytest.raises(ValueError, match=rf"case 'b': 'weak_label' holds \[{wrong}\], but there are 3 classes"):
        check([case("a", (0, 1, 2)), case("b", (wrong,))], loss(), store)


def test_tags_that_are_none_are_named():
    rows = torch.tensor([[1, 1, 0], [1, 0, 7]])
    made = WeightedSumLoss({"seed": (SeedingLoss(), 1.0), "expand": (ExpansionLoss(), 1.0)})
    made.terms["expand"].target_keys = {"tags": "slice_tags"}
    with pytest.raises(ValueError, match="case 'b', 'slice_tags': tags must be 1, 0 or -1"):
        check([{**case("b", (0, 1, 2)), "slice_tags": rows}], made)


def test_what_was_checked_once_is_not_looked_for_in_each_batch():
    """Only terms all of whose maps, tags and bounds were looked at, and only for as many classes."""
    bounds = [FREE, [1.0, 9.0], [1.0, 9.0]]
    made = WeightedSumLoss(
        {
            "partial": (PartialDiceCELoss(), 1.0),
            "size": (ConstraintLoss(Size(), LogBarrierExtension()), 1.0),
            "pseudo": (PartialCrossEntropyLoss(target_key="pseudo_label"), 1.0),
        }
    )
    assert made.terms["partial"].dice.checked_classes == 0
    check([case("a", (0, 1, 2), bounds)], made)
    assert made.terms["partial"].dice.checked_classes == made.terms["partial"].cross_entropy.checked_classes == 3
    assert made.terms["size"].checked_classes == 3
    assert made.terms["pseudo"].checked_classes == 0
    wrong = torch.full((1, 1, 2, 2), 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="holds class 2, but there are 2 classes"):  # a network with fewer classes
        made.terms["partial"](torch.zeros(1, 2, 2, 2), wrong)


def test_other_terms_of_the_class_still_look():
    check([case("a", (0, 1, 2))], loss())
    with pytest.raises(ValueError, match="holds class 3"):
        PartialCrossEntropyLoss()(torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 3))
