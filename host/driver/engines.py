"""Engines by name: the simulators, and boards on a serial port."""

from __future__ import annotations

from typing import Any

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import Engine, LinkTrace

__all__ = ["ENGINES", "SERIAL", "EngineError", "make_engine"]

ENGINES = ("exact", "amaranth", "verilator")
"""names of the simulators"""
SERIAL = "serial:"
"""prefix of the name of a board on a serial port"""


class EngineError(EtchnetError, ValueError):
    """Error for a name that no engine has; the message lists the names."""


def make_engine(name: str, config: Config, *, trace: LinkTrace | None = None, **options: Any) -> Engine:
    """Return the engine called `name` for a machine.

    Parameters
    ----------
    name
        One of `ENGINES`, or ``serial:PORT`` for a board on a serial port. PORT may be followed by options of
        `SerialEngine`, as in ``serial:/dev/ttyUSB0?baud=3000000``.
    trace
        When the link stalls; by default never.
    options
        Further arguments of the engine.

    Raises
    ------
    EngineError
        No engine has that name.
    ValueError
        An option of the port is wrong.
    LinkError
        The board cannot be reached, or has another machine.
    MissingToolError
        A tool or package that the engine needs is not installed.
    """
    if name == "exact":
        return ExactEngine(config, trace=trace, **options)
    if name == "amaranth":
        from etchnet.sim.engines.simulated import AmaranthEngine

        return AmaranthEngine(config, trace=trace, **options)
    if name == "verilator":
        from etchnet.sim.engines.verilated import VerilatorEngine

        return VerilatorEngine(config, trace=trace, **options)
    if name.startswith(SERIAL):
        from etchnet.host.driver.port import parse_port
        from etchnet.host.driver.serial import SerialEngine

        port, found = parse_port(name.removeprefix(SERIAL))
        return SerialEngine(config, port=port, trace=trace, **(found | options))
    raise EngineError(f"engine must be one of {', '.join(ENGINES)} or {SERIAL}PORT, not {name!r}")
