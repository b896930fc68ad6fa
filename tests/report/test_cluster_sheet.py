# SPDX-License-Identifier: Apache-2.0
"""The figure of clusters under two views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.networks import ClusterNetwork
from wss_monai.report.cluster_sheet import agreement, cluster_colours, cluster_sheet

LAS = np.diag([-2.0, 1.0, 8.0, 1.0])  # the first axis runs to the left of the patient, the second one to the front
SCORES = {"partial": np.array([[1, 0.1], [2, 0.3]]), "udaiic": np.array([[2, 0.6]])}


def probabilities(index: torch.Tensor, clusters: int) -> torch.Tensor:
    return one_hot(index, clusters).movedim(-1, 0).float()


@pytest.fixture
def sheet_of():
    """A 4 x 6 slice, and a map of 2 x 3 cells with three clusters; the second view has another one in one cell."""
    image = torch.arange(24.0).reshape(4, 6)
    first = torch.tensor([[0, 1, 2], [2, 2, 1]])
    second = first.clone()
    second[0, 2] = 0

    def make(**more):
        pairs = {"low": (probabilities(first, 3), probabilities(second, 3))}
        pairs |= {"high": (probabilities(first, 12), probabilities(first, 12))}
        arguments = {"views": (image, image.flip(0)), "assignments": pairs, "scores": SCORES} | more
        return cluster_sheet(**arguments)

    return make


def panels(figure):
    """Axes of slices and maps, row by row, three rows; and the chart."""
    axes = figure.subfigs[0].axes
    columns = len(axes) // 3
    return [axes[i * columns : (i + 1) * columns] for i in range(3)], figure.subfigs[1].axes[0]


def test_agreement_and_what_chance_gives():
    first = np.array([[0, 0, 1, 1]])
    assert agreement(first, first) == (1.0, 0.5)
    assert agreement(first, np.array([[0, 1, 1, 2]])) == pytest.approx((0.5, 0.5 * 0.25 + 0.5 * 0.5))
    assert agreement(first * 0, first * 0) == (1.0, 1.0)


@pytest.mark.parametrize("clusters", [1, 10, 20, 33])
def test_colours_differ(clusters):
    colours = cluster_colours(clusters)
    assert colours.shape == (clusters, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert len(np.unique(colours.round(3), axis=0)) == clusters
    np.testing.assert_array_equal(colours, cluster_colours(40)[:clusters] if clusters <= 20 else colours)


def test_no_colours_for_no_clusters():
    with pytest.raises(ValueError, match="clusters must be 1 or more, got 0"):
        cluster_colours(0)


def test_both_views_have_the_colours_of_one_head_as_radiologists_read_them(sheet_of):
    rows, _ = panels(sheet_of(affine=LAS))
    first, second = (rows[i][1].images[0].get_array() for i in (0, 1))
    colours = cluster_colours(3)
    # the first axis to the right of the screen, the second one, which runs to the front, up
    np.testing.assert_allclose(first, colours[np.array([[2, 1], [1, 2], [0, 2]])])
    np.testing.assert_allclose(second, colours[np.array([[0, 1], [1, 2], [0, 2]])])
    shown = rows[0][0].images[0].get_array()
    np.testing.assert_array_equal(shown, np.arange(24.0).reshape(4, 6).T[::-1])
    assert [text.get_text() for text in rows[0][0].texts] == ["R", "A"]
    assert [text.get_text() for text in panels(sheet_of())[0][0][0].texts] == ["", ""]


def test_cells_that_differ_are_coloured_and_counted(sheet_of):
    rows, _ = panels(sheet_of())
    cover = rows[2][1].images[1].get_array()
    np.testing.assert_array_equal(cover[..., 3] > 0, [[False, False], [False, False], [True, False]])
    assert rows[2][1].get_title(loc="left") == "83 % agree\nby chance 33 %"  # 5 of 6; (1*2 + 2*2 + 3*2) / 36
    assert rows[2][2].get_title(loc="left").startswith("100 % agree")
    assert not rows[2][2].images[1].get_array()[..., 3].any()


def test_titles_proportions_key_and_chart(sheet_of):
    figure = sheet_of(spacing=(2.0, 1.0), affine=LAS, moved="swapped", score="Dice")
    rows, chart = panels(figure)
    assert [row[0].get_title(loc="left") for row in rows] == ["first view: the slice", "swapped", ""]
    assert rows[0][1].get_title(loc="left") == "low\n3 x 2 cells\nfirst view, moved"
    for axis in (rows[0][0], rows[0][1], rows[2][1]):
        assert axis.images[-1].get_extent() == [0, 8, 6, 0]  # 4 x 2 mm across, 6 x 1 mm down
    key = [text.get_text() for legend in rows[2][0].findobj(type(chart.get_legend())) for text in legend.get_texts()]
    assert key == ["the views differ", *map(str, range(1, 13))] or key == [*map(str, range(1, 13)), "the views differ"]
    assert [text.get_text() for text in chart.get_legend().get_texts()] == ["partial", "udaiic"]
    np.testing.assert_allclose(chart.lines[0].get_xydata(), SCORES["partial"])
    assert chart.get_title(loc="left") == "Dice"
    figure.canvas.draw()


def test_long_names_are_broken_at_their_dots(sheet_of):
    cells = torch.eye(3)[..., None]
    rows, _ = panels(sheet_of(assignments={"model.1.submodule.1.submodule.2": (cells, cells)}))
    assert rows[0][1].get_title(loc="left").startswith("model.1.submodule.1.\nsubmodule.2\n1 x 3 cells")


def test_assignments_of_a_network_in_one_frame():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 1), torch.nn.Conv2d(4, 2, 1))
    clustered = ClusterNetwork(network, {"0": {"scale": "local"}}, num_clusters=3, num_heads=2)
    generator = torch.Generator().manual_seed(0)
    for weight in clustered.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    image = 4 * torch.rand(1, 1, 6, 5, generator=generator) - 2
    matrix = torch.tensor([[-1.0, 0, 5], [0, 1, 0], [0, 0, 1]]).double()[None]
    view = SpatialMap(matrix, (6, 5))
    both = torch.cat((image, view(image)))
    first, second = clustered(both, parts=(0, 1, 1), view=view)["clusters"]["0"]
    figure = cluster_sheet((both[0, 0], both[1, 0]), {"0": (first[0, :3], second[0, :3])}, SCORES)
    title = panels(figure)[0][2][1].get_title(loc="left")
    assert title.startswith("100 % agree")  # features of single pixels move with them
    assert "chance 100" not in title


def test_messages(sheet_of):
    flat, cells = torch.zeros(4, 6), torch.zeros(3, 2, 2)
    with pytest.raises(ValueError, match=r"views must be two slices \(H, W\) of one shape"):
        sheet_of(views=(flat, flat.T))
    with pytest.raises(ValueError, match="assignments must hold a local feature"):
        sheet_of(assignments={})
    with pytest.raises(ValueError, match=r"assignments\['a'\] must be two tensors"):
        sheet_of(assignments={"a": (cells, cells[:, :1])})
    with pytest.raises(ValueError, match="scores must hold a run"):
        sheet_of(scores={})
    with pytest.raises(ValueError, match=r"scores\['a'\] must be \(N, 2\)"):
        sheet_of(scores={"a": np.zeros((0, 2))})
    with pytest.raises(ValueError, match="spacing must be two numbers"):
        sheet_of(spacing=(1.0, 1.0, 1.0))
