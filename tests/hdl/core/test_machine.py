"""The wiring of the machine: which memory each drain writes, read back through the machine itself."""

import dataclasses

import numpy as np
import pytest
from support.programs import PLAIN, amaranth_engine, execute, input_packet, load, parameter_words, run
from support.strategies import int8

from etchnet.hdl.isa import Destination, Drain, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.weight_tiles import tile_words

MEMORIES = {
    "weight_tiles": 2,
    "activation_words": 16,
    "input_words": 16,
    "output_words": 32,
    "accumulator_rows": 32,
    "passes": 8,
    "drains": 8,
    "parameter_tiles": 2,
}


@pytest.mark.parametrize("residual_words", [0, 16])
def test_a_drain_writes_the_words_of_its_destination_and_no_others(residual_words):
    """Inputs go to the activation memory and to another one; then all words of both are sent.

    Two tiles share a word of the machine without residuals. There the other memory is the output memory.
    """
    rows, columns = (3, 3) if residual_words else (4, 2)
    config = Config(rows=rows, columns=columns, residual_words=residual_words, **MEMORIES)
    tiles, x = config.tiles_per_word, int8(np.random.default_rng(0), (16, rows))
    identity = {"kind": TileKind.IDENTITY, "step": 1}
    passes = [
        Pass(pixels=5, release=True, wait_input=True, wait_output=True, **identity),
        Pass(pixels=5, address=5, bank=1, release=True, release_input=True, **identity),
        Pass(pixels=16, source=Source.ACTIVATION, **identity),
        Pass(pixels=16, source=Source.ACTIVATION, step=1, row=16, release=True),
    ]
    output = {"pixels": 16, "destination": Destination.OUTPUT}
    other = {"address": 2, "destination": Destination.RESIDUAL} if residual_words else {"address": 18} | output
    drains = [
        Drain(pixels=5, address=3, lane=tiles - 1),
        Drain(**other | {"pixels": 5}, bank=1),
        Drain(tiles=tiles, shared=True, commit=not residual_words, **output),
        *[Drain(chained=True, idle=9, residual=True, address=16, commit=True, **output)] * bool(residual_words),
    ]
    passes = [dataclasses.replace(p, idle=60) for p in passes]  # words that were not written are read
    last_channels = tile_words(np.eye(rows, columns, k=columns - rows, dtype=np.int8), config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [PLAIN] * columns), last_channels),
        input_packet(config, x),
        run(config, passes, drains, 32),
    ]
    results, _, _ = execute(amaranth_engine(config), packets, 32)
    wanted = np.zeros((32, tiles, columns), np.int8)
    wanted[3:8, -1], wanted[18:23, 0] = x[:5, :columns], x[5:10, :columns]
    assert np.array_equal(results.view(np.int8).reshape(wanted.shape), wanted)
