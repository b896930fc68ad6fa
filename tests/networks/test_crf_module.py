# SPDX-License-Identifier: Apache-2.0
"""The dense CRF as a module: its settings reach the function, and nothing else happens."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

from wss_monai.functional.crf import dense_crf
from wss_monai.networks import DenseCRF

PUBLISHED = {
    "iterations": 10,
    "w_bilateral": 10.0,
    "w_spatial": 3.0,
    "theta_alpha": 80 / 12,
    "theta_beta": 13.0,
    "theta_gamma": 3 / 12,
    "method": "auto",
}
OTHER = {
    "iterations": 3,
    "w_bilateral": 4.0,
    "w_spatial": 2.0,
    "theta_alpha": [3.0, 5.0],
    "theta_beta": [9.0, 20.0],
    "theta_gamma": 1.5,
    "method": "lattice",
}


def sample(*shape, classes=3, channels=1, batch=1):
    """Logits and an image of two halves with noise."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, classes, *shape, generator=generator)
    image = 40 + 100 * (torch.arange(shape[-1]) >= shape[-1] // 2).float()
    image = image + 8 * torch.randn(batch, channels, *shape, generator=generator)
    return logits, image.clamp(0, 255)


def test_defaults_are_the_published_ones():
    crf = DenseCRF()
    assert {name: getattr(crf, name) for name in PUBLISHED} == PUBLISHED
    assert list(inspect.signature(DenseCRF).parameters) == list(PUBLISHED)
    function = inspect.signature(dense_crf).parameters
    assert {name: function[name].default for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("settings", [{}, OTHER])
def test_equals_the_function(settings):
    logits, image = sample(9, 11, channels=2, batch=2)
    assert torch.equal(DenseCRF(**settings)(logits, image), dense_crf(logits, image, **settings))


@pytest.mark.parametrize("name", [name for name in OTHER if name != "method"])
def test_each_setting_counts(name):
    logits, image = sample(9, 11, channels=2)
    changed = DenseCRF(**{name: OTHER[name]})(logits, image)
    assert torch.equal(changed, dense_crf(logits, image, **{name: OTHER[name]}))
    assert not torch.allclose(changed, DenseCRF()(logits, image), atol=1e-6)


def test_spacing_in_mm_is_handed_on():
    logits, image = sample(9, 11, batch=2)
    crf = DenseCRF(theta_alpha=8.0, theta_gamma=4.0)
    spacing = torch.tensor([[4.0, 2.0], [1.0, 1.0]])
    mm = crf(logits, image, spacing=spacing)
    assert torch.equal(mm, crf(logits, image, spacing))
    first = DenseCRF(theta_alpha=[2.0, 4.0], theta_gamma=[1.0, 2.0])(logits[:1], image[:1])
    torch.testing.assert_close(mm[:1], first, atol=1e-6, rtol=0)
    torch.testing.assert_close(mm[1:], crf(logits[1:], image[1:]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("shape", "method"), [((64, 64), "exact"), ((4097,), "lattice"), ((16, 16, 17), "lattice")])
def test_auto_is_exact_up_to_4096_voxels_and_the_lattice_above(shape, method):
    logits, image = sample(*shape)
    auto = DenseCRF(iterations=2)(logits, image)
    assert torch.equal(auto, DenseCRF(iterations=2, method=method)(logits, image))
    if method == "exact":
        assert not torch.allclose(auto, DenseCRF(iterations=2, method="lattice")(logits, image), atol=1e-5)


def test_auto_counts_the_voxels_of_a_sample_not_of_the_batch():
    logits, image = sample(40, 40, batch=3)
    crf = DenseCRF(iterations=2)
    assert torch.equal(crf(logits, image), DenseCRF(iterations=2, method="exact")(logits, image))


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"method must be one of.*'gauss'"):
        DenseCRF(method="gauss")
    logits, image = sample(6, 6)
    with pytest.raises(ValueError, match="grid of the logits"):
        DenseCRF()(logits, image[..., :5])
    with pytest.raises(ValueError, match="theta_alpha"):
        DenseCRF(theta_alpha=-1.0)(logits, image)
    with pytest.raises(ValueError, match="spacing"):
        DenseCRF()(logits, image, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="image holds NaN"):
        DenseCRF()(logits, image * float("nan"))


@pytest.mark.parametrize("settings", [PUBLISHED, OTHER])
def test_repr_shows_the_settings(settings):
    shown = repr(DenseCRF(**settings))
    for name, value in settings.items():
        assert f"{name}={value}" in shown


def test_a_copy_gives_the_same_and_holds_no_state():
    logits, image = sample(9, 11, channels=2)
    crf = DenseCRF(**OTHER)
    again = copy.deepcopy(crf)
    assert torch.equal(again(logits, image), crf(logits, image))
    again.theta_alpha[0] = 99.0
    assert crf.theta_alpha == [3.0, 5.0]
    assert not crf.state_dict() and not list(crf.parameters())


@pytest.mark.parametrize("method", ["exact", "lattice"])
def test_no_gradient_and_input_untouched(method):
    logits, image = sample(8, 9)
    before = logits.clone(), image.clone()
    q = DenseCRF(method=method)(logits.requires_grad_(), image.requires_grad_())
    assert not q.requires_grad and torch.is_grad_enabled()
    assert torch.equal(logits, before[0]) and torch.equal(image, before[1])
    torch.testing.assert_close(q.sum(1), torch.ones(1, 8, 9))
