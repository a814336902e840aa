"""Leaky machines: machines broken on purpose, so that their timing depends on data. Every proof must reject them."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config

__all__ = ["LEAKS", "Leak"]


@dataclass(frozen=True)
class Leak:
    """A way in which a machine could reveal data by its timing, and the machine that does."""

    name: str
    """a few words, different for every leak"""
    description: str
    """what the machine does wrong, as a sentence without a full stop"""
    machine: type[Machine]
    """the class of the machine, whose parameters and ports are those of `Machine`"""

    def build(self, config: Config, *, status: bool = True) -> Machine:
        """Return the leaky machine for `config`; `status` adds the port `status`."""
        return self.machine(config, status=status)


def _late_if(m: Module, event: Value, late: Value, *, name: str) -> Value:
    """Return a one-cycle event that comes a cycle later if `late` is high when it happens."""
    held = Signal(name=name)
    m.d.sync += held.eq(event & late)
    return (event & ~late) | held


class LeakyReady(Machine):
    """Shows the lowest bit of an activation on `link_in.ready`."""

    def _connect_links(self, m: Module) -> None:
        super()._connect_links(m)
        bit = self.sequencer.running & self.pixel_reader.activations[0][0]
        m.d.comb += self.link_in.ready.eq(self.loader.link.ready | bit)


class LeakyValid(Machine):
    """Offers negative results a cycle late."""

    def _connect_links(self, m: Module) -> None:
        super()._connect_links(m)
        sent, out = self.sender.link, self.link_out
        waited, wait = Signal(), Signal()
        m.d.comb += [
            wait.eq(sent.valid & self.results.read.data[-1] & ~self.sender.counters & ~waited),
            out.valid.eq(sent.valid & ~wait),
            sent.ready.eq(out.ready & ~wait),
        ]
        m.d.sync += waited.eq((wait | waited) & ~out.ready)


class LeakyFraming(Machine):
    """Drops link words that are zero."""

    def _connect_links(self, m: Module) -> None:
        super()._connect_links(m)
        m.d.comb += self.loader.link.valid.eq(self.link_in.valid & self.link_in.payload.any())


class LeakyAnswer(Machine):
    """Mixes a bit of a result into the counters that it sends."""

    def _connect_links(self, m: Module) -> None:
        super()._connect_links(m)
        bit = self.sender.counters & self.results.read.data[0]
        m.d.comb += self.link_out.payload.eq(self.sender.link.payload | bit)


class LeakyUseful(Machine):
    """Does not count multiplications by zero activations."""

    def _connect_counters(self, m: Module) -> None:
        super()._connect_counters(m)
        nonzero = self.pixel_reader.activations.as_value().any()
        m.d.comb += self.counters.increments.USEFUL.eq(Mux(nonzero, self.sequencer.useful, 0))


class LeakyToken(Machine):
    """Gives a half of the input memory back a cycle earlier if a bit of an input is set."""

    def _connect_tokens(self, m: Module) -> None:
        super()._connect_tokens(m)
        late = ~self.input.data[0]
        m.d.comb += self.tokens.input_free.put.eq(_late_if(m, self.sequencer.input_release, late, name="release"))


class LeakyPass(Machine):
    """Skips pixels where a weight is zero."""

    def _connect_runs(self, m: Module) -> None:
        super()._connect_runs(m)
        skip = self.weights.weights[0][0] == 0
        derived, shortened = self.passes.instructions.payload.derived, self.sequencer.passes.payload.derived
        m.d.comb += shortened.one_pixel.eq(derived.one_pixel | skip)


class LeakyDrain(Machine):
    """Starts a drain a cycle late if a sum is negative."""

    def _connect_accumulators(self, m: Module) -> None:
        super()._connect_accumulators(m)
        router, output, late = self.fold_router, self.output, self.array.sums[0][-1]
        m.d.comb += [
            output.start.eq(_late_if(m, router.release, late, name="start")),
            output.start_last.eq(_late_if(m, router.release_last, late, name="start_last")),
        ]


class LeakyCommit(Machine):
    """Commits a half of the output memory a cycle late if its last result is negative."""

    def _connect_results(self, m: Module) -> None:
        super()._connect_results(m)
        output = self.output
        m.d.comb += self.results.commit.eq(_late_if(m, output.commit, output.write.data[-1], name="commit"))


class LeakyDone(Machine):
    """Ends a run a cycle late if its last result is saturated."""

    def _connect_runs(self, m: Module) -> None:
        super()._connect_runs(m)
        saturated = self.output.write.data[:8] == 127
        m.d.comb += self.sequencer.done.eq(_late_if(m, self.output.done, saturated, name="done"))


class LeakyStatus(Machine):
    """Shows a bit of a parameter on its way to memory in the status."""

    def _connect_status(self, m: Module) -> None:
        super()._connect_status(m)
        bit = self.loader.writes.PARAMETERS & self.loader.bus.data[0]
        m.d.comb += self.status.run_done.eq(self.output.done | bit)


LEAKS = (
    Leak("ready", "a bit of an activation is ORed into link_in.ready during a run", LeakyReady),
    Leak("valid", "a result whose sign bit is set is offered on link_out a cycle late", LeakyValid),
    Leak("framing", "link words that are zero are dropped", LeakyFraming),
    Leak("answer", "a bit of a result is ORed into the counters on link_out", LeakyAnswer),
    Leak("useful", "the counter USEFUL does not count multiplications by zero activations", LeakyUseful),
    Leak("token", "a half of the input memory is free a cycle earlier if a bit of an input is set", LeakyToken),
    Leak("pass", "a pass issues only its first pixel if the weight that was read last is zero", LeakyPass),
    Leak("drain", "a drain starts a cycle late if a sum is negative", LeakyDrain),
    Leak("commit", "a half of the output memory is committed a cycle late if its last result is negative", LeakyCommit),
    Leak("done", "a run ends a cycle late if its last result is saturated", LeakyDone),
    Leak("status", "a bit of a parameter that is being loaded is ORed into the status", LeakyStatus),
)
"""all leaks; each exists in every machine"""
