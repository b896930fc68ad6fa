# SPDX-License-Identifier: Apache-2.0
"""Settings as plain data: what references and expressions say, without building anything."""

from __future__ import annotations

import pytest

from wss_monai.bundle.plain_settings import NotPlain, PlainSettings

CONFIG = {
    "imports": ["$import math"],
    "names": ["background", "LV"],
    "keep": False,
    "network": {"_target_": "BasicUNet", "out_channels": "$len(@names)", "act": "@act", "scale": "$math.sqrt(4)"},
    "act": "relu",
    "steps": {"_target_": "Compose", "transforms": ["@first", {"_target_": "B", "_disabled_": "$not @keep"}]},
    "first": {"_target_": "A", "network": "@network", "cases": "$open('nowhere')"},
    "which": {"_target_": "wss_monai.bundle.choose", "name": "mode", "value": "@mode", "choices": {"x": "@act"}},
    "mode": "x",
    "order": "$[@first, @network] if @keep else [@network]",
    "lazy": "$@broken if @keep else 3",
    "broken": "$1 / 0",
    "function": "$lambda x: x",
    "itself": "@again",
    "again": "$@itself",
    "far": "$float('inf')",
}


def test_references_expressions_and_choices():
    settings = PlainSettings(CONFIG, {"network": "@net"}, {"A": ["cases"]})
    plain = PlainSettings(CONFIG)
    assert plain["network"] == {"_target_": "BasicUNet", "out_channels": 2, "act": "relu", "scale": 2.0}
    assert plain["network#act"] == "relu" and plain["steps#transforms#0#network#act"] == "relu"
    assert settings["steps"] == {"_target_": "Compose", "transforms": [{"_target_": "A", "network": "@net"}]}
    assert plain["which"] == "relu" and plain["lazy"] == 3
    assert plain["order"] == [plain["network"]], "components are passed on by an expression, not built"
    assert [path for path, _ in plain.items("steps#transforms")] == ["steps#transforms#0", "steps#transforms#1"]
    assert "network#act" in plain and "network#other" not in plain


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("function", "'function' is an object of builtins.function"),
        ("broken", "'broken' is the expression '1 / 0', which needs more than settings"),
        ("steps", "needs more than settings"),
        ("itself", "refers to itself"),
        ("nothing", "there is no setting 'nothing'"),
        ("far", "'far' is an object of builtins.float"),
    ],
)
def test_what_no_file_can_hold(name, message):
    with pytest.raises(NotPlain, match=message):
        PlainSettings(CONFIG)[name]
