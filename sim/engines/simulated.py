"""The Amaranth engine: the gateware in Amaranth's own simulator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.sim import Simulator

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = ["AmaranthEngine"]

_PERIOD = 1e-8


class AmaranthEngine(Engine):
    """An engine that runs the gateware cycle by cycle; slow, but it needs nothing besides Python.

    Parameters
    ----------
    config
        The machine.
    trace
        When the link stalls; by default never.
    progress
        Called with `cycle` after every cycle.
    patience
        Number of cycles without a transfer after which `exchange` raises LinkError.
    machine
        A component with the ports of `Machine(config)` to simulate instead, such as a modified copy.
    vcd
        File for the waveforms of all signals and memories, as a value change dump. It is created when the first word is
        exchanged, and complete after `close`. `vcd_time` gives the time at which to read the values of a cycle. Cycle t
        begins with the clock edge at t - 1/2 periods and ends with the edge at t + 1/2 periods; cycle 0 begins with the
        simulation, without an edge.
    """

    name = "amaranth"

    def __init__(
        self,
        config: Config,
        *,
        trace: LinkTrace | None = None,
        progress: Callable[[int], None] | None = None,
        patience: int = 100_000,
        machine: Machine | None = None,
        vcd: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(config, trace=trace)
        self._machine = machine or Machine(config)
        self._progress, self._patience = progress, patience
        self._vcd, self._files = vcd, ExitStack()
        self._clear()

    def _clear(self) -> None:
        self._cycle = 0
        self._sent: list[int] = []
        self._received: list[int] = []
        self._words: list[int] = []
        self._wanted = 0
        self._results: list[int] = []

    @cached_property
    def _simulator(self) -> Simulator:
        """The simulator, created when the first words are exchanged: an engine without words writes no file."""
        simulator = Simulator(self._machine)
        simulator.add_clock(_PERIOD)
        # Before the testbench, which Python would warn about if the file cannot be written.
        if self._vcd is not None:
            # Amaranth does not close a file that it opened itself if its last words cannot be written.
            file = self._files.enter_context(Path(self._vcd).open("w"))  # noqa: SIM115 - `close` closes it
            self._files.enter_context(simulator.write_vcd(file))
        simulator.add_testbench(self._drive, background=True)
        return simulator

    def reset(self, trace: LinkTrace | None = None) -> None:
        """Return to the state after construction, with another trace: registers, memories, cycle and record.

        This takes far less time than a new engine, whose gateware has to be elaborated.

        Raises
        ------
        ValueError
            The engine writes waveforms, which cannot go back in time.
        """
        if self._vcd is not None:
            raise ValueError("an engine that writes waveforms cannot be reset: make another one")
        if self._cycle:
            self._simulator.reset()
        self.trace = trace or LinkTrace()
        self.was_reset()
        self._clear()

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return self._cycle

    @property
    def record(self) -> LinkTrace:
        """The cycles in which words moved."""
        return LinkTrace.recorded(self._sent, self._received)

    @property
    def machine(self) -> Machine:
        """The component being simulated."""
        return self._machine

    async def _drive(self, ctx: Any) -> None:
        """Offer and take words, cycle after cycle."""
        link_in, link_out = self._machine.link_in, self._machine.link_out
        offers, accepts = self.trace.offers, self.trace.accepts
        offering, sent = False, 0
        while True:
            # Decide shortly after the clock edge, so that words added between two cycles are offered in the next one.
            await ctx.delay(_PERIOD / 4)
            offering = sent < len(self._words) and (offering or self._cycle >= len(offers) or bool(offers[self._cycle]))
            accepting = self._wanted > len(self._results) and (
                self._cycle >= len(accepts) or bool(accepts[self._cycle])
            )
            ctx.set(link_in.valid, offering)
            if offering:
                ctx.set(link_in.payload, self._words[sent])
            ctx.set(link_out.ready, accepting)
            *_, taken, valid, payload = await ctx.tick().sample(link_in.ready, link_out.valid, link_out.payload)
            if offering and taken:
                self._sent.append(self._cycle)
                sent, offering = sent + 1, False
            if accepting and valid:
                self._received.append(self._cycle)
                self._results.append(payload)
            self._cycle += 1

    @staticmethod
    def vcd_time(cycle: int) -> int:
        """Return a time in `vcd`, in femtoseconds (its unit), at which all signals show their values of a cycle.

        From that time to the next clock edge, every signal and memory shows its value of the cycle, inputs included.
        """
        return round(_PERIOD * 1e15 * (cycle + 1 / 4))

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        size = self.config.link_bits // 8
        raw = np.ascontiguousarray(words, dtype="<u4").tobytes()
        self._words.extend(int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size))
        self._wanted += count
        moved, last = (len(self._sent), len(self._received)), self._cycle
        while (len(self._sent), len(self._received)) != (len(self._words), self._wanted):
            self._simulator.advance()
            if moved != (now := (len(self._sent), len(self._received))):
                moved, last = now, self._cycle
            elif self._cycle > last + self._patience:
                raise LinkError(
                    f"nothing moved for {self._patience} cycles: {self._wanted - len(self._results)} of {count} words "
                    f"have not come back, {len(self._words) - len(self._sent)} have not been sent"
                )
            if self._progress is not None:
                self._progress(self._cycle)
        results = self._results[len(self._results) - count :] if count else []
        raw = b"".join(word.to_bytes(size, "little") for word in results)
        return np.frombuffer(raw, dtype="<u4").reshape(-1, size // 4)

    def close(self) -> None:
        """Complete the waveforms."""
        self._files.close()
