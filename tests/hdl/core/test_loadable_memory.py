"""Memories that are written over the link."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.loadable_memory import LoadableMemory, load_bus
from etchnet.hdl.isa import chunks


@pytest.mark.parametrize("link_bits", [32, 64])
@pytest.mark.parametrize(("first", "bits"), [(0, 20), (0, 100), (5, 20), (40, 60), (70, 9)])
@pytest.mark.parametrize("latency", [1, 2])
def test_words_are_written_in_chunks_and_read_as_a_slice(link_bits, first, bits, latency):
    """A memory holds `bits` bits of every word, from bit `first` on; chunks arrive in any order, some of them twice."""
    config, random = small(link_bits=link_bits), np.random.default_rng(first)
    depth, total = 6, first + bits + 7
    words = [int.from_bytes(random.bytes(16), "little") & (1 << total) - 1 for _ in range(depth)]
    memory = LoadableMemory(
        config, bits=bits, depth=depth, first=first, init=[words[0]], name="tested", latency=latency
    )

    def bench():
        writes = [(address, chunk) for address in range(1, depth) for chunk in range(chunks(total, config))]
        for address, chunk in random.permutation(writes + writes[:3]).tolist():
            data = words[address] >> chunk * link_bits & (1 << link_bits) - 1
            yield {"write": 1, "bus.address": address, "bus.chunk": chunk, "bus.data": data}
            # Data on the bus without a strobe are for another memory.
            yield {"write": 0, "bus.address": int(random.integers(depth)), "bus.data": 0}
        for address, word in enumerate(words):
            seen = yield {"write": 0, "enable": 1, "address": address}
            for _ in range(latency):
                seen = yield {"enable": 0, "address": 0}
            assert seen["data"] == word >> first & (1 << bits) - 1

    rtl.run(memory, bench())


def test_the_bus_has_the_address_of_a_packet_and_a_link_word():
    """Chunks are counted within the longest word, which here has the parameters of 20 requantisers: 23 chunks."""
    bus = load_bus(small(link_bits=64, columns=20, requantisers=20))
    assert {name: field.width for name, field in bus} == {"address": 24, "chunk": 5, "data": 64}
