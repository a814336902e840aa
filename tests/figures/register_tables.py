"""The tables of docs/buses.md, from the register map.

``python tests/register_tables.py`` writes them into the page.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from figures.isa_tables import bits, table, write

from etchnet.hdl.buses.registers import REGISTERS, Access, Source, parameter_register
from etchnet.hdl.isa.config import Config

PARAMETERS = {parameter_register(f.name) for f in dataclasses.fields(Config)}
PAGE = Path(__file__).parents[2] / "docs" / "buses.md"


def registers() -> str:
    """All of them, with what the default machine holds after reset."""
    rows = []
    for register in REGISTERS:
        known = register.access is not Access.WRITE_ONLY and register.fields[0].source is not Source.STATUS
        # Parameters are numbers, all others are bits.
        shape = "d" if register.name in PARAMETERS else "#x"
        reset = f"{register.reset(Config()):{shape}}" if known else ""
        rows.append((f"0x{register.offset:03x}", f"`{register.name}`", register.access.value, reset, register.doc))
    return table(("offset", "register", "access", "after reset", "meaning"), rows)


def fields() -> str:
    """Those of registers with a field that is not all of what it says."""
    rows = []
    for register in REGISTERS:
        for f in register.fields:
            if f.doc != register.doc:
                doc = f.doc + ("; cleared by writing 1" if f.source is Source.EVENT else "")
                rows.append((f"`{register.name}.{f.name}`", bits(f.first, f.bits), doc))
    return table(("field", "bits", "meaning"), rows)


def tables() -> dict[str, str]:
    """Every table by its name in the page."""
    return {"registers": registers(), "fields": fields()}


if __name__ == "__main__":
    write(PAGE, tables())
