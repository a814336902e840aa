"""The weight memory: its tiles, initial ones and those loaded over the link, arrive along the wavefront."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.isa import Target, TileKind


def tile_of(config, words, kind, address):
    """Return the tile int (rows, columns) that a request names, from the definition of its kind."""
    rows, columns, band = config.rows, config.columns, config.load_cycles
    tile = np.eye(rows, columns, dtype=np.int64)
    for row in range(rows):
        for column in range(columns):
            byte = row // band * columns + column
            if kind in (TileKind.STORED, TileKind.DEPTHWISE):
                tile[row, column] = words[address + row % band, byte]
            elif kind == TileKind.DIAGONAL:
                tile[row, column] *= words[address, byte]
    return tile


@pytest.mark.parametrize(
    ("rows", "columns", "weight_rows", "memory_latency", "link_bits"),
    [(4, 4, 1, 1, 32), (4, 4, 4, 2, 64), (6, 3, 2, 3, 32), (3, 5, 1, 4, 64), (2, 6, 2, 1, 32), (1, 1, 1, 1, 32)],
)
def test_tiles_follow_the_wavefront(rows, columns, weight_rows, memory_latency, link_bits):
    """Tiles of every kind, back to back or not; a weight of row r and column c comes r + c cycles after the first."""
    config = small(
        rows=rows,
        columns=columns,
        weight_rows=weight_rows,
        requantisers=1,
        memory_latency=memory_latency,
        link_bits=link_bits,
        depthwise=0,
        residual_words=0,
    )
    random, band = np.random.default_rng(rows), config.load_cycles
    words = random.integers(-128, 128, (config.weight_words, weight_rows * columns))
    packed = [int.from_bytes(word.astype(np.int8).tobytes(), "little") for word in words]
    assert WeightMemory.latency(config) == memory_latency

    loaded = len(packed) // 2
    init = [*random.permutation(packed[:loaded]).tolist(), *packed[loaded:]]

    def bench():
        yield from rtl.bus_writes(config, Target.WEIGHTS, packed[:loaded])
        # Without a strobe, data on the bus are for another memory.
        yield {"bus.data": 0, "bus.address": 0, "bus.chunk": 0}
        wanted, arrivals, now = {}, set(), 0
        for _ in range(30):
            kind = TileKind(int(random.integers(4)))
            address = int(random.integers(config.weight_words - band + 1))
            tile = tile_of(config, words, kind, address)
            arrivals.add(now + memory_latency)
            for row, column in np.ndindex(rows, columns):
                wanted[now + memory_latency + row + column, row // band, column] = tile[row, column]
            whole = kind in (TileKind.STORED, TileKind.DEPTHWISE)
            gap = int(random.choice([0, 0, 1, 7]))
            for cycle in range(band + gap):
                asked = cycle < band
                seen = yield {
                    "request.valid": int(asked),
                    "request.first": int(cycle == 0),
                    "request.kind": int(kind) if asked else int(random.integers(4)),
                    "request.address": address + whole * cycle if asked else int(random.integers(config.weight_words)),
                }
                assert seen["load"] == (now in arrivals)
                for b, c in np.ndindex(weight_rows, columns):
                    if (now, b, c) in wanted:
                        value = seen[f"weights.{b}.{c}"]
                        assert value == wanted.pop((now, b, c)), (now, b, c)
                now += 1

    rtl.run(WeightMemory(config, init=init), bench())
