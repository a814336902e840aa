"""Fusion groups: which additions are fused, and in what order groups are computed."""

import dataclasses

import numpy as np
import pytest

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.compile import compile_stages
from etchnet.host.compiler.fusion import fusible_additions
from etchnet.host.network.layers import Add, Conv, MaxPool
from etchnet.host.network.network import INPUT, Network

CONFIG = Config(rows=4, columns=4, depthwise=0, residual_words=256)
ADD = Add.from_scales((0.5, 0.3), 0.7, zero_points=(3, -4))


def conv(channels, kernel=1):
    """Return a convolution that keeps the size of the image."""
    pad = kernel // 2, kernel // 2
    return Conv.from_scale(np.ones((kernel, kernel, channels, channels), np.int8), scale=0.01, padding=(pad, pad))


def groups_of(network, config=CONFIG):
    """Return the fusion groups as (layer, result, residual)."""
    groups = compile_stages(network, config)["fuse"].groups
    return [(g.layer, g.result, g.addition.residual if g.addition else None) for g in groups]


def test_an_addition_is_fused_into_the_layer_with_more_multiplications():
    layers = [conv(4), conv(4, 3), conv(4, 1), ADD]
    assert groups_of(Network(layers, (4, 4, 4), [[INPUT], [0], [0], [1, 2]])) == [(0, 0, None), (2, 2, None), (1, 3, 2)]


@pytest.mark.parametrize(
    ("layers", "sources", "why"),
    [
        ([conv(4), ADD], [[INPUT], [0, INPUT]], "the input is not in the residual memory"),
        ([conv(4), MaxPool((1, 1)), MaxPool((1, 1)), ADD], [[INPUT], [0], [0], [1, 2]], "pools have no sums to add to"),
        ([conv(4), conv(4), MaxPool((1, 1)), ADD, ADD], [[INPUT], [0], [1], [1, 2], [2, 3]], "two layers read it"),
        ([conv(4), ADD], [[INPUT], [0, 0]], "a tensor is added to itself"),
    ],
)
def test_additions_that_cannot_be_fused(layers, sources, why):
    assert not fusible_additions(Network(layers, (4, 4, 4), sources), CONFIG), why


def test_the_largest_additions_are_the_first_not_to_be_fused():
    """The two additions of 16 pixels need 16 words each at different times; the one of 36 pixels needs 36."""
    layers = [conv(4), conv(4), ADD, MaxPool((2, 2), (1, 1)), conv(4), ADD]
    network = Network(layers, (5, 5, 4), [[INPUT], [0], [0, 1], [2], [3], [3, 4]])
    assert [result for _, result, residual in groups_of(network) if residual is not None] == [2, 5]
    for words, fused in ((25, [2, 5]), (24, [5]), (16, [5]), (15, []), (0, [])):
        config = dataclasses.replace(CONFIG, residual_words=words)
        assert [result for _, result, residual in groups_of(network, config) if residual is not None] == fused


def test_groups_come_after_those_that_they_read():
    layers = [conv(4), conv(4), conv(4), ADD, conv(4), ADD]
    network = Network(layers, (4, 4, 4), [[INPUT], [0], [1], [0, 2], [3], [3, 4]])
    done = {INPUT}
    for group in compile_stages(network, CONFIG)["fuse"].groups:
        assert set(group.sources) <= done
        if group.addition:
            assert group.addition.residual in done
        done.add(group.result)
    assert done >= {5}
