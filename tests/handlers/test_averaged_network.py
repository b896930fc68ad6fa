# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ignite.engine import Engine
from torch import nn

from wss_monai.handlers import AveragedNetwork, UpdateAverage


def one_weight(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def follow(average, network, values):
    for value in values:
        nn.init.constant_(network.weight, value)
        average.update()
    return float(average.network.weight)


def test_average_is_the_mean_at_first_and_then_forgets():
    network = one_weight(100.0)
    average = AveragedNetwork(network, decay=0.75)
    assert follow(average, network, [2.0]) == 2  # the weights before the first update do not count
    assert follow(average, network, [4.0]) == 3
    assert follow(average, network, [6.0]) == pytest.approx(4)
    assert follow(average, network, [8.0]) == pytest.approx(5)  # 3/4 and 1/4 from here on
    assert follow(average, network, [9.0]) == pytest.approx(0.75 * 5 + 0.25 * 9)


def test_a_warmup_forgets_the_first_weights_sooner():
    network = one_weight(100.0)
    average = AveragedNetwork(network, decay=0.75, warmup=2)
    assert follow(average, network, [2.0]) == 2
    assert follow(average, network, [5.0]) == pytest.approx(4)  # 2 / 3 + 10 / 3
    assert follow(average, network, [8.0]) == pytest.approx(6)  # half and half
    with pytest.raises(ValueError, match="warmup must be at least 1"):
        AveragedNetwork(network, warmup=0)


def test_without_decay_the_average_is_the_network():
    network = one_weight(1.0)
    assert follow(AveragedNetwork(network, decay=0.0), network, [2.0, 5.0]) == 5


def test_buffers_are_averaged_and_counters_copied():
    network = nn.BatchNorm1d(1)
    average = AveragedNetwork(network, decay=0.5)
    for mean, count in ((2.0, 5), (4.0, 9)):
        network.running_mean.fill_(mean)
        network.num_batches_tracked.fill_(count)
        average.update()
    assert float(average.network.running_mean) == 3
    assert int(average.network.num_batches_tracked) == 9
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())
    assert all(p.requires_grad for p in network.parameters()) and network.training


def test_saved_state_goes_on_as_if_nothing_had_happened():
    network = one_weight(0.0)
    whole, first, second = (AveragedNetwork(network, decay=0.9) for _ in range(3))
    for average in (whole, first):
        follow(average, network, [1.0, 5.0])
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    assert follow(whole, network, [3.0]) == follow(second, network, [3.0]) == pytest.approx(3)
    with pytest.raises(RuntimeError):
        second.load_state_dict(AveragedNetwork(nn.Linear(2, 1)).state_dict())


def test_update_at_the_end_of_each_iteration():
    network = one_weight(0.0)
    average = AveragedNetwork(network, decay=0.5)
    engine = Engine(lambda _, value: nn.init.constant_(network.weight, value))
    UpdateAverage(average).attach(engine)
    engine.run([2.0, 4.0])
    assert float(average.network.weight) == 3


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be"):
        AveragedNetwork(one_weight(0.0), decay)
