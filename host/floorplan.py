"""What a netlist for an ECP5 still lacks behind synthesis: registers go into block RAMs, and these next to one another.

Synthesis leaves a register behind a block RAM in the fabric, though the block RAM has one of its own (FPGA-TN-02204),
and place and route, which begins with everything in one place, spreads the block RAMs of a memory all over the device.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LFE5U_85F", "absorb_registers", "place"]

LFE5U_85F = tuple(
    f"X{first + 2 * number}/Y{row}/EBR{number}"
    for first in (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    for number in range(4)
    for row in (22, 46, 70, 82)
)
"""where block RAMs of an LFE5U-85F are, as nextpnr calls it, column by column"""

_ORDER = ("incoming", "outgoing", "passes", "drains", "input", "activation", "weights", "bank_0", "bank_1", "output",
          "residual")  # fmt: skip
"""memories along the way of the data; what is left comes behind"""


def absorb_registers(module: Mapping[str, Any]) -> int:
    """Make registers that follow a port of a block RAM, and nothing else does, those of the port; returns how many.

    They must have the port's clock, and neither enable nor reset.

    Parameters
    ----------
    module
        The one module of a netlist, as Yosys writes it in JSON; it is changed.
    """
    cells = module["cells"]
    sinks: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    sinks[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            sinks[bit].append(("", ""))

    def follower(bit: Any, clock: Any) -> str | None:
        """The one register that a bit goes to."""
        if len(sinks[bit]) != 1:
            return None
        name, port = sinks[bit][0]
        cell = cells.get(name, {"type": ""})
        if cell["type"] != "TRELLIS_FF" or port != "DI" or cell["connections"]["CLK"] != clock:
            return None
        enabled = cell["parameters"].get("CEMUX") == "1" or cell["connections"].get("CE", ["1"]) == ["1"]
        free = cell["connections"].get("LSR", ["0"]) in (["0"], ["x"])
        return name if enabled and free else None

    absorbed = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        # With words of 36 bits the outputs of both ports are those of the second.
        parameters = ram["parameters"]
        paired = 36 in (int(parameters[f"DATA_WIDTH_{side}"], 2) for side in "AB")
        for sides, clock in [("AB", "CLKB")] if paired else [("A", "CLKA"), ("B", "CLKB")]:
            outputs = {
                port: bits[0]
                for port, bits in ram["connections"].items()
                if re.fullmatch(rf"DO[{sides}]\d+", port) and sinks[bits[0]]
            }
            registers = {port: follower(bit, ram["connections"][clock]) for port, bit in outputs.items()}
            if not registers or not all(registers.values()):
                continue
            for port, name in registers.items():
                ram["connections"][port] = cells.pop(name)["connections"]["Q"]
                absorbed += 1
            for side in sides:
                parameters[f"REGMODE_{side}"] = "OUTREG"
                ram["connections"][f"OCE{side}"] = ["1"]
    return absorbed


def place(module: Mapping[str, Any], sites: Sequence[str]) -> int:
    """Put the block RAMs of each memory next to one another, in the middle of the device; returns how many there are.

    Place and route takes them as given, and what it has still to do is then near its best sooner.

    Parameters
    ----------
    module
        As for `absorb_registers`.
    sites
        Where block RAMs are, in order.
    """
    rams = sorted((name for name, cell in module["cells"].items() if cell["type"] == "DP16KD"), key=_place_of)
    # Whole columns stay free at both ends.
    first = (len(sites) - len(rams)) // 8 * 4
    for name, site in zip(rams, sites[max(0, first) :], strict=False):
        module["cells"][name]["attributes"]["BEL"] = site
    return len(rams)


def _place_of(name: str) -> tuple[Any, ...]:
    """Order of block RAMs by the names of their cells: by memory, then by the bits they hold; their banks together."""
    parts = [re.sub(r"\$\d+$", "", part) for part in name.split(".")]
    memory = next((_ORDER.index(part) for part in parts if part in _ORDER), len(_ORDER))
    element = re.search(r"\.bank_(\d+)_(\d+)\.", name)
    bank = re.search(r"\.bank_(\d+)\.words", name)
    lane = int(parts[-1]) if parts[-1].isdecimal() else 0
    return memory, tuple(map(int, element.groups())) if element else (), lane, int(bank[1]) if bank else 0, name
