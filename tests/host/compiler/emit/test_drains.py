"""Drains: the address of each result of a strip, against the layouts of the tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchnet.hdl.isa import Destination, Drain, Fold, Pass
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.constants import Constants
from etchnet.host.compiler.emit.drains import DrainEmitter, chain
from etchnet.host.compiler.emit.groups import LabelledPasses, PassGroup
from etchnet.host.compiler.emit.strips import Strip
from etchnet.host.compiler.fusion import FusedAddition, FusionGroup
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.parts import Output, Part, Region, identity_output

SHAPE, IMAGES = (5, 6, 10), 2


def emitter(config, *, residual=None):
    """Return a drain emitter for tensor 0 (10 channels), which is in the activation memory and the residual memory."""
    layout = TensorLayout.written(SHAPE, IMAGES, config)
    layout = TensorLayout(SHAPE, IMAGES, layout.words, layout.channels, base=7)
    memory = MemoryMap({0: layout}, shapes={0: SHAPE, 1: SHAPE}, residual=residual or {}, images=IMAGES)
    return DrainEmitter(config, memory, Constants(config, memory)), layout


def group(**options):
    """Return a fusion group that writes tensor 0, and its part."""
    part = Part(Region(0, 0, *SHAPE[:2]), SHAPE[2], [], identity_output("tflite-double"))
    return FusionGroup(0, 0, [part], **options), part


@given(
    st.sampled_from([(4, 4), (8, 4), (8, 3), (4, 6)]),
    st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(1, 2), st.integers(1, 3)),
    st.data(),
)
def test_each_result_goes_to_its_word_and_lane(shape, rectangle, data):
    """Row t x count + i of the bank holds column tile t of pixel i: each is written once, to its words."""
    config = Config(rows=shape[0], columns=shape[1], depthwise=0, residual_words=0, accumulator_rows=64)
    drains, layout = emitter(config)
    image, y, x, lines, columns = rectangle
    strip = Strip((image * 5 + y) * 6 + x, lines * columns, image, y, x, lines, columns)
    all_tiles = -(-SHAPE[2] // config.columns)
    tile = data.draw(st.integers(0, all_tiles - 1))
    tiles = data.draw(st.integers(1, all_tiles - tile))
    written = {}
    for fields, write in drains.results(*group(), identity_output(config.contract), strip, tile, tiles, bank=1, row=3):
        drain = Drain(**fields)
        assert (drain.bank, drain.destination) == (1, Destination.ACTIVATION)
        assert (write.layer, write.tiles * write.pixels) == (0, drain.tiles * drain.pixels)
        for t, i in np.ndindex(drain.tiles, drain.pixels):
            lane = drain.lane + t
            word = drain.address + i * drain.stride + lane // config.tiles_per_word * drain.tile_stride
            written[drain.row + t * strip.count + i] = word, lane % config.tiles_per_word * config.columns
    expected = {}
    for t in range(tile, tile + tiles):
        position = layout.channels[t * config.columns]
        for i in range(strip.count):
            address = layout.address(image, y + i // columns, x + i % columns, position // config.rows)
            expected[3 + (t - tile) * strip.count + i] = address, position % config.rows
    assert written == expected


def test_tensors_stored_in_two_memories_are_written_twice():
    """The residual memory stores column tile after column tile, each with the pixels of all images."""
    config = Config(rows=4, columns=4)
    drains, _ = emitter(config, residual={0: 100})
    found = [
        Drain(**f) for f, _ in drains.results(*group(), identity_output(config.contract), Strip(6, 5), 1, 2, bank=0)
    ]
    assert [d.destination for d in found] == [Destination.ACTIVATION, Destination.RESIDUAL]
    pixels = IMAGES * 5 * 6
    assert (found[1].address, found[1].tile_stride, found[1].stride) == (100 + 1 * pixels + 6, pixels, 1)


def test_a_fused_addition_is_a_chain_of_four_drains():
    config = Config(rows=4, columns=4)
    outputs = [Output(identity_output(config.contract).records, zero_point=z) for z in (1, 2, 3)]
    drains, _ = emitter(config, residual={1: 40})
    fusion, part = group(addition=FusedAddition(0, 1, *outputs))
    own, scaled, residual, result = (Drain(**f) for f, _ in drains.of_group(fusion, part, Strip(6, 5), 2, 1, bank=1))
    assert [d.destination.name for d in (own, scaled, residual, result)] == [*["ACCUMULATORS"] * 3, "ACTIVATION"]
    assert [d.zero_point for d in (scaled, residual, result)] == [1, 2, 3]
    assert (residual.residual, residual.row, residual.fold) == (True, 40 + 2 * 60 + 6, Fold.ADD)
    assert (own.into, scaled.into, residual.into) == (1, 1, 1)
    # The layer's clamp applies to its own requantisation; the sums that follow are int32.
    assert (own.low, own.high, scaled.low, residual.high) == (-128, 127, -(1 << 31), (1 << 31) - 1)


@pytest.mark.parametrize("count", [1, 3])
def test_drains_of_a_group_are_chained_to_the_last_pass(count):
    passes = LabelledPasses([Pass(), Pass()], [None, None])
    found = chain(PassGroup(passes), [({"pixels": i + 1}, None) for i in range(count)])
    assert [d.chained for d in found.drains] == [False, *[True] * (count - 1)]
    assert [p.release for p in found.passes] == [False, True]
    assert found.writes == [None] * count
