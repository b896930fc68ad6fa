# SPDX-License-Identifier: Apache-2.0
"""What terms declare, what stands in for what they leave out, and the softmax that they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wss_monai.functional.descriptors import Size
from wss_monai.functional.wide import wide
from wss_monai.losses import ConstraintLoss, PartialDiceCELoss, QuadraticPenalty, WeightedSumLoss
from wss_monai.losses.term import Key, NamedTerm, probabilities


class OnlyKeys(nn.Module):
    """All that a term has to declare."""

    target_keys = {"maps": "maps_{term}", "spacing": "spacing?"}

    def forward(self, logits: Tensor, maps: Tensor, spacing: Tensor | None = None, probs: Tensor | None = None):
        return (logits * maps).sum()


def test_keys_are_those_of_the_name():
    term = NamedTerm("hearts", OnlyKeys())
    assert term.keys == [Key("maps", "maps_hearts", False), Key("spacing", "spacing", True)]
    assert (term.key_of("maps"), term.key_of("spacing"), term.key_of("bounds")) == ("maps_hearts", "spacing", None)


def test_what_a_term_leaves_out_has_a_default():
    term = NamedTerm("hearts", OnlyKeys())
    assert term.declares_keys
    assert (term.uses_probs, term.two_sided, term.descriptor, term.violation) == (False, False, None, None)
    term.trust(4)
    assert not hasattr(term.loss, "checked_classes")


def test_a_module_of_others_declares_nothing_and_gets_the_label():
    loss = WeightedSumLoss({"ce": (nn.CrossEntropyLoss(), 1.0), "hearts": (OnlyKeys(), 1.0)}, label_key="dense")
    assert not loss.named_terms()[0].declares_keys
    assert loss.named_terms()[0].keys == []
    assert loss.target_keys() == {"dense", "maps_hearts", "spacing"}
    assert loss.keys_of(["hearts"]) == {"maps_hearts", "spacing"}


def test_a_constraint_says_what_it_measures_and_where():
    term = NamedTerm("volume", ConstraintLoss(Size(), QuadraticPenalty(), region_key="boxes"))
    assert term.descriptor == Size()
    assert term.uses_probs
    assert [term.key_of(of) for of in ("bounds", "region", "group")] == ["bounds_volume", "boxes", "group_volume"]
    assert NamedTerm("volume", ConstraintLoss(Size(), QuadraticPenalty())).key_of("region") == "region_volume"


def test_trust_reaches_the_terms_that_a_term_is_made_of():
    loss = PartialDiceCELoss()
    NamedTerm("ce", loss).trust(3)
    assert loss.dice.checked_classes == loss.cross_entropy.checked_classes == 3
    assert not hasattr(loss, "checked_classes")


@pytest.mark.parametrize(
    ("given", "kept"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_float32_or_wider(given, kept):
    values = torch.tensor([0.5, 2.0], dtype=given)
    assert wide(values).dtype == kept
    assert wide(values).tolist() == [0.5, 2.0]


def test_what_is_wide_enough_is_not_copied():
    for dtype in (torch.float32, torch.float64):
        values = torch.rand(3, dtype=dtype)
        assert wide(values) is values


def test_probabilities_are_the_ones_at_hand_or_the_softmax():
    logits = torch.randn(2, 3, 4, 4).bfloat16()
    made = probabilities(logits)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, logits.float().softmax(1), rtol=0, atol=0)
    assert probabilities(logits, made) is made
