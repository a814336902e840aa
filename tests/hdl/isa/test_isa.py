import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Shape
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import configs

from etchnet.hdl.isa import (
    Drain,
    Header,
    InstructionError,
    Parameters,
    Pass,
    Target,
    chunks,
    pack,
    packet,
    unpack,
)
from etchnet.hdl.isa.config import Config


@pytest.mark.parametrize("kind", [Pass, Drain, Parameters, Header])
@given(data=st.data(), config=configs())
def test_decode_reads_what_encode_wrote(kind, data, config):
    values = {}
    for name, f in kind.layout(config):
        signed = Shape.cast(f.shape).signed
        limits = (-(1 << f.width - 1), (1 << f.width - 1) - 1) if signed else (0, (1 << f.width) - 1)
        values[name] = data.draw(st.integers(*limits))
    record = kind(**values)
    word = record.encode(config)
    assert 0 <= word < 1 << kind.layout(config).size
    assert kind.decode(word, config) == record


def test_fields_are_packed_in_the_order_of_the_class():
    for kind in (Pass, Drain, Parameters, Header):
        position = 0
        for (name, first, bits, meaning), f in zip(kind.describe(Config()), dataclasses.fields(kind), strict=True):
            assert (name, first) == (f.name, position)
            assert meaning
            position += bits


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Pass(pixels=2048), "Pass.pixels must be from 0 to 2047 on this machine, not 2048"),
        (Pass(address=-4097), "Pass.address must be from -4096 to 4095 on this machine, not -4097"),
        (Drain(zero_point=128), "Drain.zero_point must be from -128 to 127 on this machine, not 128"),
        (Parameters(multiplier=1 << 31), "Parameters.multiplier must be from 0 to 2147483647 on this machine"),
        (Parameters(left=32), "Parameters.left must be from 0 to 31 on this machine, not 32"),
    ],
)
def test_a_field_that_does_not_fit_is_refused(record, message):
    with pytest.raises(InstructionError, match=message):
        record.encode(Config())


@given(words=st.lists(st.integers(0, (1 << 75) - 1), max_size=5), link_bits=st.sampled_from([32, 64, 96, 512]))
def test_unpack_reads_what_pack_wrote(words, link_bits):
    config = Config(link_bits=link_bits)
    beats = pack(words, 75, config)
    assert beats.shape == (len(words), chunks(75, config), link_bits // 32)
    assert unpack(beats, 75, config) == words


def test_a_packet_begins_with_its_header():
    config = Config(link_bits=64)
    beats = packet(Target.WEIGHTS, pack([5, 6], 128, config), config, address=7, commit=True)
    assert beats.shape == (2 + 2 * 2, 2)
    # Written out: target 3 in bits 3:0, commit in bit 5, address 7 from bit 8.
    assert beats[0, 0] == 0x0000_0723
    assert Header.decode(int(beats[0, 0]), config) == Header(target=Target.WEIGHTS, commit=True, address=7)
    assert beats[1, 0] == 2
    assert np.array_equal(beats[2:, 0], [5, 0, 6, 0])
