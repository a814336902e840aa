"""The tops of the machine, and which of their ports may carry data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amaranth.lib import wiring

from etchnet.hdl.buses.axi import Axi
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.tinytapeout import TinyTapeout
from etchnet.host.proofs.netlist import Netlist

if TYPE_CHECKING:  # the names of the tops are known without the solver
    from bitwuzla import Term

    from etchnet.host.proofs.terms import Frame

__all__ = ["BOUNDARIES", "Boundary"]


@dataclass(frozen=True)
class Boundary:
    """A top, and what an observer outside is not to learn of data from.

    Attributes
    ----------
    name
        Its name on the command line.
    title
        Its name in sentences.
    wrap
        Builds the top around a machine.
    path
        Path of the machine within the top.
    data_inputs
        Inputs that carry link words, or parts of them.
    data_outputs
        Outputs that may depend on data; all others must not.
    trace
        Returns the nets of the top that are taken as given, because data reach them on their way to the machine:
        the statement is about the machine for any sequence of their values.
    reset
        Returns whether the machine is in reset in a cycle.
    caveat
        The assumption that `trace` makes, as a sentence; empty if there is none.
    """

    name: str
    title: str
    wrap: Callable[[Machine], wiring.Component]
    path: str
    data_inputs: tuple[str, ...]
    data_outputs: tuple[str, ...]
    reset: Callable[[Frame, wiring.Component], Term]
    trace: Callable[[Netlist, wiring.Component], tuple[int, ...]] = lambda netlist, top: ()
    caveat: str = ""


def _reset_input(frame: Frame, top: wiring.Component) -> Term:
    return frame.holds(frame.netlist.inputs["rst"][0])


def _axi_reset(frame: Frame, top: wiring.Component) -> Term:
    """Return whether the bus or CONTROL.RESET holds the machine in reset."""
    bus = frame.terms.negation(frame.holds(frame.netlist.inputs["aresetn"][0]))
    stored = frame.holds(frame.netlist.find("registers", "control_reset")[0])
    return frame.terms.any([bus, stored])


def _uart_reset(frame: Frame, top: wiring.Component) -> Term:
    """Return whether `rst` or a HELLO frame holds the machine in reset."""
    assert isinstance(top, Uart)
    hello = frame.holds(frame.netlist.nets(top.framed_link.reset_machine)[0])
    return frame.terms.any([_reset_input(frame, top), hello])


def _uart_trace(netlist: Netlist, top: wiring.Component) -> tuple[int, ...]:
    assert isinstance(top, Uart)
    machine = top.machine
    signals = (machine.link_in.valid, machine.link_out.ready, top.framed_link.reset_machine)
    return tuple(netlist.nets(signal)[0] for signal in signals)


BOUNDARIES = {
    boundary.name: boundary
    for boundary in (
        Boundary(
            "link",
            "the machine with its two links",
            lambda machine: machine,
            "",
            ("link_in_payload",),
            ("link_out_payload",),
            _reset_input,
        ),
        Boundary(
            "axi",
            "the machine on AXI4-Stream and AXI4-Lite",
            Axi,
            "machine",
            ("s_axis_tdata",),
            ("m_axis_tdata",),
            _axi_reset,
        ),
        Boundary(
            "tinytapeout",
            "the machine on the pins of a Tiny Tapeout tile",
            TinyTapeout,
            "machine",
            ("ui_in",),
            ("uo_out",),
            _reset_input,
        ),
        Boundary(
            "uart",
            "the machine on a serial port",
            lambda machine: Uart(machine, clock_hz=25e6),
            "machine",
            ("rx",),
            ("tx", "activity"),
            _uart_reset,
            _uart_trace,
            "the framing offers and takes link words, and resets the machine, in the same cycles of both runs: bytes "
            "on the line are escaped, so that their number depends on data",
        ),
    )
}
"""all tops by name"""
