"""Registers that go into block RAMs, places of large cells, and pictures of them, on netlists written by hand."""

import json
import re
from functools import partial
from xml.etree import ElementTree

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.boards import BOARDS
from etchnet.hdl.targets.verilog import generate
from etchnet.host.fpga.floorplan import (
    LFE5U_85F,
    MEMORIES,
    Sites,
    absorb_registers,
    place_block_rams,
    place_multipliers,
)
from etchnet.host.fpga.placement import PARTS, part_of, placement_svg

CLOCK, OTHER_CLOCK = 2, 3


def ram(*, width=9, **connections):
    """A block RAM whose port B is read; bits are numbers of wires."""
    ports = {"CLKA": [CLOCK], "CLKB": [CLOCK], **{name: [bit] for name, bit in connections.items()}}
    return {
        "type": "DP16KD",
        "parameters": {"DATA_WIDTH_A": f"{width:b}", "DATA_WIDTH_B": f"{width:b}"},
        "attributes": {},
        "port_directions": {name: "output" if name.startswith("DO") else "input" for name in ports},
        "connections": ports,
    }


def register(before, after, *, clock=CLOCK, **ports):
    connections = {"CLK": [clock], "DI": [before], "Q": [after], **ports}
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1"} if "CE" not in ports else {"CEMUX": "CE"},
        "attributes": {},
        "port_directions": {name: "output" if name == "Q" else "input" for name in connections},
        "connections": connections,
    }


def netlist(ports=(), **cells):
    return {"cells": cells, "ports": {f"port_{bit}": {"bits": [bit]} for bit in ports}}


def test_registers_that_follow_a_port_become_its_own():
    module = netlist(ram=ram(DOB0=10, DOB1=11), first=register(10, 20), second=register(11, 21), after=register(20, 30))
    assert absorb_registers(module) == 2
    assert set(module["cells"]) == {"ram", "after"}
    cell = module["cells"]["ram"]
    assert (cell["connections"]["DOB0"], cell["connections"]["DOB1"]) == ([20], [21])
    assert cell["parameters"]["REGMODE_B"] == "OUTREG"
    assert cell["connections"]["OCEB"] == ["1"]
    assert "REGMODE_A" not in cell["parameters"]


@pytest.mark.parametrize(
    "second",
    [
        register(11, 21, clock=OTHER_CLOCK),
        register(11, 21, CE=[40]),
        register(11, 21, LSR=[40]),
    ],
    ids=["of another clock", "with an enable", "with a reset"],
)
def test_registers_of_another_kind_stay(second):
    module = netlist(ram=ram(DOB0=10, DOB1=11), first=register(10, 20), second=second)
    assert absorb_registers(module) == 0
    assert set(module["cells"]) == {"ram", "first", "second"}
    assert module["cells"]["ram"]["connections"]["DOB0"] == [10]
    assert "REGMODE_B" not in module["cells"]["ram"]["parameters"]


def test_a_word_that_something_else_reads_keeps_its_registers():
    for others in ({"ports": [11]}, {"reader": register(11, 31)}):
        module = netlist(**others, ram=ram(DOB0=10, DOB1=11), first=register(10, 20), second=register(11, 21))
        assert absorb_registers(module) == 0


def test_ports_count_by_themselves_but_for_the_widest_words():
    """Words of 36 bits come from both ports, by the clock of the second."""
    cells = {"first": register(10, 20), "second": register(11, 21, CE=[40])}
    module = netlist(ram=ram(DOA0=10, DOB0=11), **cells)
    assert absorb_registers(module) == 1
    assert module["cells"]["ram"]["parameters"]["REGMODE_A"] == "OUTREG"
    assert absorb_registers(netlist(ram=ram(width=36, DOA0=10, DOB0=11), **cells)) == 0
    both = netlist(ram=ram(width=36, DOA0=10, DOB0=11), first=register(10, 20), second=register(11, 21))
    assert absorb_registers(both) == 2
    assert {both["cells"]["ram"]["parameters"][f"REGMODE_{side}"] for side in "AB"} == {"OUTREG"}


def large(kind, *names):
    return netlist(**{name: {"type": kind, "attributes": {}, "connections": {}} for name in names})


def places(module):
    return {name: cell["attributes"].get("BEL") for name, cell in module["cells"].items()}


SITES = Sites(multipliers=tuple("ABCDEFGH"), near=tuple("abcd"), far=tuple("wxyz"))


def test_block_rams_of_columns_lie_along_the_device_and_others_apart():
    """Of a column weights and both banks; other memories in one piece, in the middle."""
    weights, banks = (
        [f"machine.weights.bank_0_{column}.words.0.0" for column in range(2)],
        [f"machine.bank_0.memory.words.0.{lane}" for lane in range(2)],
    )
    names = ["machine.passes.memory.words.0.0", "machine.input.memory.words.0.1"]
    module = large("DP16KD", *names, *weights, *banks)
    assert place_block_rams(module, SITES) == 6
    expected = {banks[0]: "a", weights[0]: "b", banks[1]: "c", weights[1]: "d", names[0]: "x", names[1]: "y"}
    assert places(module) == expected
    # Multipliers that fill the device spread them.
    for multipliers, expected in ((0, "bc"), (4, "bc"), (8, "ac")):
        few = large("DP16KD", *weights)
        few["cells"] |= large("MULT18X18D", *(f"{number}" for number in range(multipliers)))["cells"]
        assert place_block_rams(few, SITES) == 2
        assert [places(few)[name] for name in weights] == list(expected)


@pytest.mark.parametrize("counts", [(6, 2), (2, 6), (8, 0), (0, 8), (5, 1), (1, 6)])
def test_block_rams_that_find_no_place_on_one_side_take_the_other(counts):
    near, far = (
        [f"machine.{name}.{i}" for i in range(n)]
        for name, n in zip(("bank_0.memory.words.0", "input.memory.words.0"), counts, strict=True)
    )
    module = large("DP16KD", *near, *far)
    assert place_block_rams(module, SITES) == sum(counts)
    taken = list(places(module).values())
    assert None not in taken
    assert len(set(taken)) == len(taken)


def test_multipliers_lie_by_columns_where_nearly_all_are_used():
    """Column by column of the array, each from the first row on; requantisers behind them."""
    elements = [f"array.element_{row}_{column}.product" for row in range(3) for column in range(2)]
    module = large("MULT18X18D", "output.requantiser_0.scaler", *elements)
    assert place_multipliers(module, SITES) == 7
    by_column = [f"array.element_{row}_{column}.product" for column in range(2) for row in range(3)]
    assert places(module) == dict(zip([*by_column, "output.requantiser_0.scaler"], "ABCDEFG", strict=True))
    few = large("MULT18X18D", *elements)
    assert place_multipliers(few, SITES) == 0
    assert set(places(few).values()) == {None}


def test_too_many_cells_are_left_to_place_and_route():
    module = large("DP16KD", *(f"input.words.{i}.0" for i in range(9)))
    assert place_block_rams(module, SITES) == 0
    assert set(places(module).values()) == {None}
    assert place_multipliers(large("MULT18X18D", *(f"array.element_{i}_0.product" for i in range(9))), SITES) == 0


def test_an_lfe5u_85f_has_its_block_rams_and_multipliers():
    board = BOARDS["ulx3s-85f"]
    assert len({*LFE5U_85F.near, *LFE5U_85F.far}) == len(LFE5U_85F.near) + len(LFE5U_85F.far) == board.block_rams
    assert len(set(LFE5U_85F.multipliers)) == board.technology.multipliers


def test_memories_and_parts_are_called_as_in_the_gateware():
    """A name that nothing has any more would be found by nobody: places would only be worse."""
    config = Config(**BOARDS["ulx3s-85f"].machine)
    verilog = generate(config, wrapper=partial(Uart, clock_hz=12e6, baud=1e6)).verilog
    names = set(re.findall(r"^  (?:\w+|\)) \\?([\w$]+) +\($", verilog, re.MULTILINE))
    names = {name.split("$")[0] for name in names}
    assert set(MEMORIES) <= names
    assert {part_of(f"inner.machine.{name}.x") for name in names} == set(PARTS) - {"requantisers"}
    assert {part_of(f"inner.machine.output.requantisers.{name}.x") for name in names} == {
        "requantisers",
        "output stage",
    }


def test_a_picture_has_every_part_and_every_tile(tmp_path):
    cells = {
        "inner.machine.array.element_0_0.sum": "X1/Y2/SLICEA.LUT0",
        "inner.machine.array.element_0_1.sum": "X1/Y2/SLICEA.LUT1",
        "inner.machine.weights.data": "X1/Y2/SLICEB.LUT0",
        "inner.machine.output.requantisers.requantiser_0.scaler.low": "X3/Y0/MULT18_0",
        "inner.uart.bit": "X3/Y1/SLICEA.FF0",
        "not placed": "",
    }
    module = {"cells": {name: {"attributes": {"NEXTPNR_BEL": bel} if bel else {}} for name, bel in cells.items()}}
    (tmp_path / "placed.json").write_text(json.dumps({"modules": {"top": module}}))
    text = placement_svg(tmp_path / "placed.json", (4, 3), "a <machine>")
    root = ElementTree.fromstring(text)
    tag = "{http://www.w3.org/2000/svg}"
    said = [element.text for element in root.iter(f"{tag}text")]
    assert said == ["a <machine>", "array: 2", "weights: 1", "requantisers: 1", "links: 1"]
    # The tile of two parts has the colour of the one with more cells: weights have no tile of their own.
    drawn = [re.findall(r"M(\d+) (\d+)", path.attrib["d"]) for path in root.iter(f"{tag}path")]
    assert drawn == [[("1", "2")], [], [("3", "0")], [("3", "1")]]
