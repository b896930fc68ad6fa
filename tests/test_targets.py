# SPDX-License-Identifier: Apache-2.0
"""What a configuration names by a dotted path is what the package exports under it, in any version of Python."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import wss_monai

PACKAGES = sorted(module.name for module in pkgutil.walk_packages(wss_monai.__path__, "wss_monai.") if module.ispkg)


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_is_named_as_a_module_beside_it(name):
    """``pydoc.locate``, by which MONAI finds a ``_target_``, gives the module of that name from Python 3.12 on."""
    package = importlib.import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    shown = {key for key in getattr(package, "__all__", vars(package)) if not key.startswith("_")}
    shadowed = {key for key in shown & modules if getattr(package, key) is not importlib.import_module(f"{name}.{key}")}
    assert shadowed == set()
