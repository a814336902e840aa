"""A short run of a small machine, from its first link word to the last of its counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Pass, RunCommand, Target, chunks, packet, word_bits
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing.schedule import schedule

__all__ = ["TinyRun", "tiny_run"]


@dataclass(frozen=True)
class TinyRun:
    """A program in a machine's memories from the start, and what is sent to the machine."""

    init: dict[Target, list[int]]
    """the memories of the program"""
    words: list[int]
    """link words: parameters, weights, two inputs, a run command, and the request for the counters"""
    cycles: int
    """cycles from power-up in which all is received and sent, if the receiver is ready in three of four cycles"""


def tiny_run(config: Config) -> TinyRun:
    """Return a run for a machine of at least as many rows as columns, with memories of any size.

    Two passes, of two pixels each, add to the same two accumulator rows, and a drain writes them to the output memory.
    All data are zero: `miter` puts others in their place.
    """
    walked = Pass(pixels=2, useful=config.multipliers, wait_input=True)
    first, last = (
        replace(walked, wait_output=True, wait_weights=True),
        replace(walked, fold=Fold.ADD, release_input=True, release_weights=True, release=True),
    )
    drain = Drain(pixels=2, destination=Destination.OUTPUT, commit=True)
    passes, drains = schedule([first, last], [drain], config, once=True)
    init = {Target.PASSES: [p.encode(config) for p in passes], Target.DRAINS: [d.encode(config) for d in drains]}
    command = RunCommand(passes=2, drains=1, output_words=2)

    def zeros(target: Target, words: int, **options: bool) -> np.ndarray:
        shape = words, chunks(word_bits(target, config), config), config.link_bits // 32
        return packet(target, np.zeros(shape, dtype=np.uint32), config, **options)

    sent = [
        zeros(Target.PARAMETERS, config.parameter_words),
        zeros(Target.WEIGHTS, config.weight_words, commit=True),
        zeros(Target.INPUT, 2, acquire=True, commit=True),
        packet(Target.RUN, command.words(config), config),
        zeros(Target.INPUT, 2, acquire=True, commit=True),
        zeros(Target.COUNTERS, 0),
    ]
    words = [int.from_bytes(word.astype("<u4").tobytes(), "little") for part in sent for word in part]
    return TinyRun(init, words, len(words) + _run_cycles(config, passes) + 2 * (2 + 2 * len(Counter)))


def _run_cycles(config: Config, passes: Sequence[Pass]) -> int:
    """Return the cycles from the last word of the run command to the last result in memory, or a few more."""
    return (
        InstructionMemory.latency(config)
        + sum(p.idle + p.idle_requantise + config.pass_cycles(p.pixels) for p in passes)
        + Machine.drain_delay(config)
        + 2 * config.drain_cycles_per_row()
        + OutputStage.latency(config)
        + Machine.commit_delay(config)
    )
