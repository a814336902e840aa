"""The tables of docs/buses.md and the recorded register map, both from `etchnet.hdl.buses.registers`.

``nox -s figures`` writes them. A changed map is recorded only under a new version.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from figures.tables import DOCS, bits, table, write

from etchnet.hdl.buses.register import Access, Source
from etchnet.hdl.buses.registers import REGISTERS, VERSION, parameter_register
from etchnet.hdl.isa.config import Config

PARAMETERS = {parameter_register(f.name) for f in dataclasses.fields(Config)}
PAGE = DOCS / "buses.md"
RECORD = Path(__file__).parents[1] / "hdl" / "buses" / "register_map.txt"
"""the map that belongs to its first line's version: names, offsets, access, and fields with their bits"""


def registers() -> str:
    """Return the table of all registers, with the reset values of the default machine."""
    rows = []
    for register in REGISTERS:
        known = register.access is not Access.WRITE_ONLY and register.fields[0].source is not Source.STATUS
        # Parameters are numbers, all others are bits.
        shape = "d" if register.name in PARAMETERS else "#x"
        reset = f"{register.reset(Config()):{shape}}" if known else ""
        rows.append((f"0x{register.offset:03x}", f"`{register.name}`", register.access.value, reset, register.doc))
    return table(("offset", "register", "access", "after reset", "meaning"), rows)


def fields() -> str:
    """Return the table of all fields whose meaning is not that of their register."""
    rows = []
    for register in REGISTERS:
        for f in register.fields:
            if f.doc != register.doc:
                doc = f.doc + ("; cleared by writing 1" if f.source is Source.EVENT else "")
                rows.append((f"`{register.name}.{f.name}`", bits(f.first, f.bits), doc))
    return table(("field", "bits", "meaning"), rows)


def tables() -> dict[str, str]:
    """Return every table by its name in the page."""
    return {"registers": registers(), "fields": fields()}


def map_lines() -> list[str]:
    """Return the register map as plain text: one line for the version, then one for each register."""
    lines = [f"version {'.'.join(map(str, VERSION))}"]
    for register in REGISTERS:
        placed = " ".join(f"{f.name}[{f.first + f.bits - 1}:{f.first}]" for f in register.fields)
        lines.append(f"0x{register.offset:03x} {register.name} {register.access.value} {placed}")
    return lines


def record() -> None:
    """Write the register map to `RECORD`; raise ValueError if it changed and its version did not."""
    lines, recorded = map_lines(), RECORD.read_text().splitlines()
    if lines != recorded and lines[0] == recorded[0]:
        raise ValueError(f"raise VERSION of the register map above that of {RECORD.name}, {recorded[0]}, first")
    RECORD.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record()
    write(PAGE, tables())
