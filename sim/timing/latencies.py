"""The latencies of one machine, collected from the gateware's components."""

from __future__ import annotations

from dataclasses import dataclass

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa.config import Config

__all__ = ["Latencies"]


@dataclass(frozen=True)
class Latencies:
    """Latencies of one machine, in cycles.

    Attributes
    ----------
    decide
        From the decision to issue a pixel to its issue.
    fetch
        From taking a RUN command to the decision that issues the first pixel of its first pass.
    fold_delay
        From the issue of a pixel to the cycle that presents its accumulator row to the bank.
    fold_write
        From the issue of a pixel to the write of its accumulator row.
    fold_visible
        From the issue of a pixel to the first cycle that may present its accumulator row again.
    drain_delay
        From the issue of a releasing pass's last pixel to the first read of its drain.
    chain
        From the last cycle of a drain's reads to the first read of the drain chained to it.
    result
        From the last read of an accumulator row to the write of its first result word.
    feedback
        From the last read of an accumulator row to the cycle that presents the row it is folded into.
    accumulate
        From presenting an accumulator row to the write of the folded row.
    commit
        From the write of the last word of an output half to its token.
    """

    decide: int
    fetch: int
    fold_delay: int
    fold_write: int
    fold_visible: int
    drain_delay: int
    chain: int
    result: int
    feedback: int
    accumulate: int
    commit: int

    @classmethod
    def of(cls, config: Config) -> Latencies:
        """Collect the latencies of the machine that `config` describes."""
        return cls(
            decide=Sequencer.latency(config),
            fetch=InstructionMemory.latency(config),
            fold_delay=Machine.fold_delay(config),
            fold_write=Machine.fold_delay(config) + AccumulatorBank.latency(config),
            fold_visible=Machine.fold_visible(config),
            drain_delay=Machine.drain_delay(config),
            chain=DrainWalk.chain_delay(config),
            result=OutputStage.latency(config),
            feedback=OutputStage.fold_latency(config),
            accumulate=AccumulatorBank.latency(config),
            commit=Machine.commit_delay(config),
        )
