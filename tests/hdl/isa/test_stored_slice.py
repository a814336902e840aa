"""The slice of a packet word that a memory stores."""

import pytest

from etchnet.hdl.isa import stored_slice
from etchnet.hdl.isa.config import Config


@pytest.mark.parametrize("link_bits", [32, 64])
@pytest.mark.parametrize("first", [0, 1, 31, 32, 40, 70])
@pytest.mark.parametrize("bits", [1, 8, 24, 32, 33, 100])
def test_a_slice_is_whole_chunks_or_part_of_a_single_one(link_bits, first, bits):
    held = stored_slice(Config(link_bits=link_bits), bits=bits, first=first)
    chunks = range(first // link_bits, (first + bits - 1) // link_bits + 1)
    assert held.chunk == chunks[0]
    assert len(held.parts) == len(chunks)
    if len(chunks) == 1:
        assert (held.first, held.bits, held.parts) == (first, bits, (bits,))
    else:
        assert (held.first, held.bits) == (chunks[0] * link_bits, len(chunks) * link_bits)
        # All parts but the last are whole chunks, and together they reach up to the last bit.
        assert set(held.parts[:-1]) == {link_bits}
        assert held.first + sum(held.parts) == first + bits
