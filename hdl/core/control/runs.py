"""Runs: when the next one starts, and its command."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa import RunCommand
from etchnet.hdl.isa.config import Config

__all__ = ["Runs"]


class Runs(wiring.Component):
    """Starts the pending run as soon as no other run is in progress, and holds its command.

    `start` is combinational: it is high in the first cycle with `pending` and without `running`, for one cycle, because
    `running` follows it. A further command waits in the loader meanwhile.

    =========  =========  ============  ============================================================================
    port       direction  shape         meaning
    =========  =========  ============  ============================================================================
    pending    in         1             the loader holds the command of a run that has not started
    requested  in         `RunCommand`  command of the pending run
    running    in         1             a run is in progress: from the cycle after `start` to that of its last write
    unsent     in         1             halves of the output memory are in use or not yet sent
    start      out        1             the pending run starts in this cycle; the loader drops it
    current    out        `RunCommand`  command of the run that starts in this cycle or is in progress
    held       out        `RunCommand`  `current` a cycle later: in a cycle with `start`, still the previous command
    quiet      out        1             a cycle ago there was nothing to run and nothing to send
    =========  =========  ============  ============================================================================
    """

    def __init__(self, config: Config) -> None:
        command = RunCommand.layout(config)
        super().__init__(
            {
                "pending": In(1),
                "requested": In(command),
                "running": In(1),
                "unsent": In(1),
                "start": Out(1),
                "current": Out(command),
                "held": Out(command),
                "quiet": Out(1, init=1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Start a run, hold its command."""
        m = Module()
        command = Signal.like(self.held, reset_less=True)
        m.d.comb += [
            self.start.eq(self.pending & ~self.running),
            self.current.eq(Mux(self.start, self.requested, command)),
            self.held.eq(command),
        ]
        with m.If(self.start):
            m.d.sync += command.eq(self.requested)
        m.d.sync += self.quiet.eq(~self.pending & ~self.running & ~self.unsent)
        return m
