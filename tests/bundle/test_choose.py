# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from wss_monai.bundle import choose, choose_some, resolve

MODES = {"full": 1, "partial": 2, "quadratic": 3, "logbarrier": 4}


@pytest.mark.parametrize(
    ("value", "chosen"), [("full", 1), ("logbarrier", 4), ("unconstrained", 2), ("constrained", 3)]
)
def test_choice_by_name_or_by_the_tutorials_word(value, chosen):
    assert choose("mode", value, MODES) == chosen
    assert MODES[resolve("mode", value, MODES)] == chosen


def test_a_choice_of_that_very_name_is_taken_before_an_alias():
    assert choose("mode", "constrained", {"constrained": 5, "quadratic": 3}) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("logbarier", r"mode must be one of \['full', .*\], got 'logbarier'; did you mean 'logbarrier'\?"),
        ("Partial", r"did you mean 'partial'\?"),
        ("xyz", r"got 'xyz'$"),
        (None, r"got 'None'"),
        (3, r"got '3'"),
        (["full"], r"mode must be one of"),
    ],
)
def test_others_are_refused_with_the_nearest(value, message):
    with pytest.raises(ValueError, match=message):
        choose("mode", value, MODES)


def test_an_alias_of_what_is_not_offered_is_refused():
    with pytest.raises(ValueError, match="method must be one of"):
        choose("method", "constrained", {"partial": 1})


def test_a_choice_that_other_settings_rule_out_is_refused_with_the_reason():
    assert choose("scored", "student", {"student": 1, "average": 2}, {"average": "there is none."}) == 1
    assert choose("scored", "average", {"student": 1, "average": 2}, None) == 2
    with pytest.raises(ValueError, match=r"^scored cannot be 'average': there is none\.$"):
        choose("scored", "average", {"student": 1, "average": 2}, {"average": "there is none."})


def test_some_of_several_words():
    words = ["ratio", "contact", "pieces"]
    assert choose_some("anatomy", ["contact", "ratio"], words) == ["contact", "ratio"]
    assert choose_some("anatomy", [], words) == []
    with pytest.raises(ValueError, match=r"anatomy must be one of \['ratio', .*\], got 'piece'; did you mean 'pieces'"):
        choose_some("anatomy", ["ratio", "piece"], words)
    for wrong in ("contact", 3, None):
        with pytest.raises(ValueError, match=r"anatomy must be a list of \['ratio', 'contact', 'pieces'\]"):
            choose_some("anatomy", wrong, words)
    assert choose_some("anatomy", ["ratio"], words, "pseudo", ["pseudo"]) == ["ratio"]
    assert choose_some("anatomy", ["ratio"], words, "constrained", ["quadratic"]) == ["ratio"]
    assert choose_some("anatomy", [], words, "partial", ["pseudo"]) == []
    with pytest.raises(ValueError, match=r"anatomy acts in the modes \['pseudo'\] and does nothing in 'partial'"):
        choose_some("anatomy", ["ratio"], words, "partial", ["pseudo"])
