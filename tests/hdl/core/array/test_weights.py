"""The weight memory: the arrival of a tile, and loading over the link."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.isa import Target, TileKind, chunks, word_bits


@pytest.mark.parametrize("memory_latency", [1, 2, 4])
def test_a_tile_is_announced_in_the_cycle_of_its_first_weight(memory_latency):
    config, random = small(memory_latency=memory_latency), np.random.default_rng(0)

    def bench():
        firsts = [0] * WeightMemory.latency(config)
        for _ in range(60):
            first = int(random.random() < 0.3)
            seen = yield {"request.valid": 1, "request.first": first}
            firsts.append(first)
            assert seen["load"] == firsts.pop(0)

    assert WeightMemory.latency(config) == memory_latency
    rtl.run(WeightMemory(config), bench())


@pytest.mark.parametrize(("weight_rows", "link_bits"), [(1, 32), (2, 32), (4, 64)])
def test_words_loaded_over_the_link_reach_their_elements(weight_rows, link_bits):
    """The weight of row b * load_cycles + j and column c is byte b * columns + c of word j of the tile."""
    config = small(weight_rows=weight_rows, link_bits=link_bits)
    random, load_cycles = np.random.default_rng(weight_rows), config.load_cycles
    tiles = random.integers(-128, 128, (2, config.rows, config.columns)).astype(np.int8)
    latency = WeightMemory.latency(config)

    def bench():
        for number, tile in enumerate(tiles):
            words = tile.reshape(weight_rows, load_cycles, config.columns).transpose(1, 0, 2)
            for j, word in enumerate(words):
                packed = int.from_bytes(word.tobytes(), "little")
                for chunk in range(chunks(word_bits(Target.WEIGHTS, config), config)):
                    data = packed >> chunk * link_bits & (1 << link_bits) - 1
                    address = number * load_cycles + j
                    yield {"write": 1, "bus.address": address, "bus.chunk": chunk, "bus.data": data}
        yield {"write": 0}
        for number, tile in enumerate(tiles):
            seen_weights = np.zeros_like(tile)
            for cycle in range(load_cycles + config.rows + config.columns + latency):
                asked = cycle < load_cycles
                seen = yield {
                    "request.valid": int(asked),
                    "request.first": int(cycle == 0),
                    "request.kind": int(TileKind.STORED),
                    "request.address": number * load_cycles + (cycle if asked else 0),
                }
                for row in range(config.rows):
                    if 0 <= (column := cycle - latency - row) < config.columns:
                        seen_weights[row, column] = seen[f"weights.{row // load_cycles}.{column}"]
            assert np.array_equal(seen_weights, tile)

    rtl.run(WeightMemory(config), bench())
