"""The parts that all states share: packed structs, delayed wires, and memories with delayed writes."""

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from etchnet.sim.state.registers import (
    Layout,
    MemoryView,
    Register,
    as_signed,
    delayed,
    delayed_view,
    pack_lanes,
    read_registers,
)

STRUCT = data.StructLayout(
    {"valid": 1, "row": data.StructLayout({"number": unsigned(5), "offset": signed(4)}), "kind": unsigned(2)}
)


def test_structs_are_packed_as_amaranth_packs_them():
    layout = Layout(STRUCT)
    wanted = STRUCT.const({"valid": 1, "row": {"number": 19, "offset": -3}, "kind": 2})
    word = layout.pack(valid=True, row__number=19, row__offset=-3, kind=2)
    assert word == wanted.as_bits()
    assert layout.width == STRUCT.size
    assert [layout.get(word, name) for name in ("valid", "row.number", "row.offset", "kind")] == [1, 19, -3, 2]
    assert layout.get(layout.pack(row__number=32 + 3), "row.number") == 3


def test_fields_of_a_register_are_registers():
    layout = Layout(STRUCT)
    register = Register(lambda t: layout.pack(row__offset=-t, kind=t), layout.width, layout=layout)
    offset = register.field("row.offset")
    assert (offset.value(5), offset.width, offset.signed) == (-5, 4, True)
    assert register.field("row") is None
    assert Register(lambda t: t, 8).field("kind") is None


@pytest.mark.parametrize(("value", "width", "wanted"), [(7, 3, -1), (3, 3, 3), (8, 3, 0), (-1, 8, -1), (0x80, 8, -128)])
def test_bits_as_twos_complement(value, width, wanted):
    assert as_signed(value, width) == wanted


def test_lanes_are_packed_first_lowest():
    assert pack_lanes(np.array([1, -1, 2], np.int8)) == 0x02FF01
    assert pack_lanes(np.array([1, -2], np.int32)) == 0xFFFFFFFE_00000001


def test_delayed_wires_begin_with_zero():
    wire = delayed(lambda t: t + 10, 3)
    assert [wire(t) for t in range(6)] == [0, 0, 0, 10, 11, 12]


@pytest.mark.parametrize(("latency", "waits", "stages"), [(1, 0, 0), (2, 0, 1), (3, 1, 1), (4, 1, 2)])
def test_a_read_port_has_as_many_registers_as_its_latency(latency, waits, stages):
    """With a latency of three or more, one register is in front of the memory, and delays writes too."""
    registers = read_registers("memory", lambda t: t, 8, latency)
    assert set(registers) == {"memory.memory.read__data", *(f"memory.data_{s}" for s in range(1, stages + 1))}
    assert registers["memory.memory.read__data"].value(20) == 20 - waits
    for stage in range(1, stages + 1):
        assert registers[f"memory.data_{stage}"].value(20) == 20 - waits - stage
    view = delayed_view(MemoryView(lambda row, t: 100 * row + t, 4, 8), latency)
    assert (view.word(2, 9), view.word(2, 0), view.depth, view.width) == (209 - waits, 200, 4, 8)
