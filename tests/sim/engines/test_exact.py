"""The parts of the exact engine: programs are decoded once, and results are computed late."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.programs import SMALL, any_machines, chain_program, chains, parameter_words
from support.strategies import int8, randoms
from support.timing_rules import Replay
from support.walks import programs, squares, walk_program

from etchnet.hdl.isa import (
    Counter,
    Destination,
    Drain,
    Parameters,
    Pass,
    RunCommand,
    Target,
    TileKind,
    pack,
    pack_bytes,
)
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.engines.exact.program import DecodedProgram, ProgramMemory
from etchnet.sim.engines.exact.results import DataMemories
from etchnet.sim.timing import ProgramError, run_counts, schedule


def stored(memory, passes, drains, config, address=0):
    """Write a program at an address, and return the command that runs it."""
    for target, kind, program in ((Target.PASSES, Pass, passes), (Target.DRAINS, Drain, drains)):
        words = pack([instruction.encode(config) for instruction in program], kind.layout(config).size, config)
        memory.write(target, address, words)
    return RunCommand(first_pass=address, passes=len(passes), first_drain=address, drains=len(drains))


def copy_program(pixels):
    """Return a program that copies the first pixels of its input to its output."""
    p = Pass(kind=TileKind.IDENTITY, pixels=pixels, wait_input=True, wait_output=True, release=True)
    drain = Drain(pixels=pixels, destination=Destination.OUTPUT, raw=True, commit=True)
    return schedule([dataclasses.replace(p, release_input=True)], [drain], SMALL)


def test_a_program_is_decoded_once_wherever_it_is_stored():
    memory = ProgramMemory(SMALL)
    first = memory.program(stored(memory, *copy_program(3), SMALL))
    assert memory.program(stored(memory, *copy_program(3), SMALL, address=4)) is first
    other = memory.program(stored(memory, *copy_program(5), SMALL))
    assert (first.passes[0].pixels, other.passes[0].pixels) == (3, 5)
    assert memory.program(stored(memory, *copy_program(3), SMALL)) is first


def test_a_program_is_checked_before_it_is_run():
    memory = ProgramMemory(SMALL)
    passes, drains = copy_program(3)
    command = stored(memory, passes, [dataclasses.replace(drains[0], address=31)], SMALL)
    with pytest.raises(ProgramError, match="writes output word 33; the last is 31"):
        memory.program(command)


@settings(max_examples=40)
@given(st.one_of(chains(any_machines()), programs(squares())), randoms(), st.integers(1, 3))
def test_a_decoded_program_knows_every_decision(parts, random, repeats):
    make = chain_program if isinstance(parts[1][0], tuple) else walk_program
    config, passes, drains = make(parts, random)[:3]
    program = DecodedProgram.of(passes, drains, config, repeats=repeats)
    replay = Replay(passes, drains, config, repeats=1)
    assert program.starts == [idle.stop for idle in replay.idle]
    assert program.length == replay.slot
    assert program.counts(repeats) == run_counts(passes, drains, config, repeats=repeats)
    # The only output is committed by the last pass, in the cycle after its last word is written.
    last = len(passes) - 1
    assert list(program.commits) == [last]
    assert program.barriers[-1] == last
    finish = program.length - 1 + program.tail
    assert program.starts[last] + program.commits[last] == finish + 1 + replay.lat.commit
    assert program.counts(1)[Counter.CYCLES] == finish + replay.lat.fetch


def test_results_are_those_of_the_weights_that_a_run_found():
    """Results are computed only when they are needed, or before a write would change them."""
    data, random = DataMemories(SMALL), np.random.default_rng(0)
    tile, x = int8(random, (4, 4)), int8(random, (16, 4))
    passes = [Pass(pixels=2, wait_input=True, wait_output=True, release=True, release_input=True)]
    drains = [Drain(pixels=2, destination=Destination.OUTPUT, raw=True, wide=True, stride=4, commit=True)]
    drains = [dataclasses.replace(drains[0], low=-(1 << 31), high=(1 << 31) - 1)]
    program = DecodedProgram.of(*schedule(passes, drains, SMALL), SMALL, repeats=1)
    parameters = parameter_words(SMALL, [Parameters(multiplier=1)] * 4)
    data.write(Target.PARAMETERS, 0, pack(parameters, word_bits(Target.PARAMETERS, SMALL), SMALL))
    data.write(Target.WEIGHTS, 0, pack_bytes(tile, SMALL))
    data.write(Target.INPUT, 0, pack_bytes(x, SMALL))
    run = data.begin(program, 8)
    data.read_input(run)
    run.tiles.append(None)
    run.ready, run.finished = 1, True
    data.write(Target.WEIGHTS, 0, pack_bytes(np.zeros((4, 4), np.int8), SMALL))
    got = data.take(8).view("<i4").reshape(2, 4)
    assert np.array_equal(got, x[:2].astype(int) @ tile)
