"""The scheduler and the checker on random programs, against the rules of timing written out cycle by cycle."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.programs import any_machines, chain_program, chains
from support.strategies import randoms
from support.timing_rules import Replay
from support.walks import SQUARES, programs, squares, walk_program

from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.sim.timing import (
    GroupFootprint,
    InterleavedPasses,
    ProgramError,
    Timeline,
    check,
    drains_of,
    run_counts,
    schedule,
    words_read,
)
from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint


def random_program(parts, random):
    """Return the config, passes and drains of a random program, with its idle cycles."""
    make = chain_program if isinstance(parts[1][0], tuple) else walk_program
    return make(parts, random)[:3]


any_program = st.builds(random_program, st.one_of(chains(any_machines()), programs(squares())), randoms())


def in_any_order(random):
    """Return the config, passes and drains of a program that accesses rows in another order than it has set them.

    A drain sets rows of bank 1, and the next one folds into them; or it writes words of the residual memory. The last
    one reads the rows, or the words, and writes the output memory.
    """
    config = SQUARES[int(random.integers(len(SQUARES)))]
    (tiles, pixels), first = (int(n) for n in random.integers(1, 5, 2)), int(random.integers(9))
    count = tiles * pixels

    def order():
        shapes = [
            {"tiles": 1, "pixels": count},
            {"tiles": tiles, "pixels": pixels, "stride": tiles, "tile_stride": 1},
            {"tiles": tiles, "pixels": pixels, "tile_stride": pixels},
        ]
        return shapes[int(random.integers(3))]

    into = {"address": first, "shared": True}
    last = {"row": first, "pixels": count, "chained": True, "destination": Destination.OUTPUT, "commit": True}
    wide = bool(random.integers(2))
    last |= {"wide": wide, "stride": config.words_per_pixel(wide=wide)}
    passes = [Pass(pixels=count, step=0, wait_input=True, wait_output=True, release_input=True, release=True)]
    if config.residual_words and random.integers(2):
        drains = [Drain(destination=Destination.RESIDUAL, **into, **order()), Drain(residual=True, **last)]
    else:
        into |= {"destination": Destination.ACCUMULATORS, "into": 1}
        fold = Fold(int(random.integers(3)))
        drains = [Drain(**into, **order()), Drain(**into, **order(), chained=True, fold=fold), Drain(bank=1, **last)]
    return config, *schedule(passes, drains, config)


def of_lines(random):
    """Return the config, passes and drains of a program of depthwise passes, some of them over lines of one length."""
    config = SQUARES[int(random.integers(4))]
    passes, rows = [], 0
    for _ in range(int(random.integers(2, 4))):
        columns = int(random.integers(config.shortest_line, config.shortest_line + 2))
        pixels = config.window_lead(columns) + config.window_trail + int(random.integers(1, 4))
        p = Pass(kind=TileKind.DEPTHWISE, step=0, row=rows, pixels=pixels, columns=columns)
        passes.append(p)
        rows += p.sums(config)
    passes[0] = dataclasses.replace(passes[0], wait_input=True, wait_output=True)
    passes[-1] = dataclasses.replace(passes[-1], release_input=True, release=True)
    drains = [Drain(pixels=rows, destination=Destination.OUTPUT, commit=True)]
    return config, *schedule(passes, drains, config)


def accepted(passes, drains, config):
    """Return whether the checker accepts a program."""
    try:
        check(passes, drains, config, repeats=2)
    except ProgramError:
        return False
    return True


@settings(max_examples=100)
@given(any_program)
def test_a_schedule_breaks_no_rule(program):
    config, passes, drains = program
    assert not Replay(passes, drains, config, repeats=3).broken
    assert accepted(passes, drains, config)


def needs_its_idle_cycles(program):
    """Check that one cycle less in any pass or drain breaks a rule, and that the checker says how many are needed.

    It may name a later pass: one that was late enough in the first repeat only because the changed pass waited for the
    second.
    """
    config, passes, drains = program
    for index, p in enumerate(passes):
        for name in ("idle", "idle_requantise"):
            if getattr(p, name):
                less = [*passes]
                less[index] = dataclasses.replace(p, **{name: getattr(p, name) - 1})
                assert Replay(less, drains, config, repeats=2).broken
                idle = p.idle + p.idle_requantise
                with pytest.raises(ProgramError, match=r"starts \d+ cycles too early") as refused:
                    check(less, drains, config, repeats=2)
                if f"pass {index} " in str(refused.value):
                    assert f"it needs {idle} idle cycles, not {idle - 1}" in str(refused.value)
    for index, d in enumerate(drains):
        if d.idle:
            less = [*drains]
            less[index] = dataclasses.replace(d, idle=d.idle - 1)
            assert Replay(passes, less, config, repeats=2).broken
            assert not accepted(passes, less, config)


@settings(max_examples=60)
@given(any_program)
def test_no_idle_cycle_can_be_removed(program):
    needs_its_idle_cycles(program)


@pytest.mark.parametrize("make", [in_any_order, of_lines])
def test_programs_that_random_ones_hardly_contain(make):
    random = np.random.default_rng(0)
    for _ in range(60):
        config, passes, drains = program = make(random)
        assert not Replay(passes, drains, config, repeats=3).broken
        assert accepted(passes, drains, config)
        needs_its_idle_cycles(program)


def test_a_chained_drain_waits_as_long_as_it_is_told_and_must():
    random, waits = np.random.default_rng(1), 0
    for _ in range(40):
        config, passes, drains = in_any_order(random)
        placed = PassFootprint(passes[0], config), [DrainFootprint(d, config) for d in drains]
        told = [None, [0] * len(drains), [*(d.idle for d in drains[:-1]), drains[-1].idle + 5]]
        timelines = [Timeline(config) for _ in told]
        needed = [t.issue(*placed, 0, 0, idle) for t, idle in zip(timelines, told, strict=True)]
        assert needed[0] == needed[1] == needed[2] == [d.idle for d in drains]
        least, *others = (t.busy_until for t in timelines)
        assert others == [least, least + 5]
        waits += sum(needed[0]) > 0
    assert waits > 10


@settings(max_examples=100)
@given(any_program, randoms())
def test_the_checker_accepts_programs_that_break_no_rule(program, random):
    config, passes, drains = program
    for _ in range(3):
        changed = [
            dataclasses.replace(p, idle=max(0, p.idle + int(change)))
            for p, change in zip(passes, random.choice([0, 0, 0, 0, -2, -1, 1, 5], len(passes)), strict=True)
        ]
        later = [
            dataclasses.replace(d, idle=max(0, d.idle + int(change)) if d.chained else 0)
            for d, change in zip(drains, random.choice([0, 0, 0, -1, 1, 30], len(drains)), strict=True)
        ]
        assert accepted(changed, later, config) == (not Replay(changed, later, config, repeats=2).broken)


@settings(max_examples=60)
@given(any_program)
def test_idle_cycles_are_of_two_classes(program):
    """Idle cycles in which the output stage reads are counted as requantising, all others as fill and drain."""
    config, passes, drains = program
    passes, drains = schedule(passes, drains, config, once=True)
    replay = Replay(passes, drains, config, repeats=1)
    assert not replay.broken
    for p, idle in zip(passes, replay.idle, strict=True):
        assert p.idle_requantise == len(replay.reading.intersection(idle))
        assert p.idle == len(idle) - p.idle_requantise


@settings(max_examples=30)
@given(any_program)
def test_a_timeline_knows_when_the_last_word_is_written(program):
    config, passes, drains = program
    passes, drains = schedule(passes, drains, config, once=True)
    timeline, started = Timeline(config), drains_of(passes, drains)
    for p, footprints in zip(passes, started, strict=True):
        timeline = timeline.copy()
        timeline.place(PassFootprint(p, config), [DrainFootprint(drains[i], config) for i in footprints])
    replay = Replay(passes, drains, config, repeats=1)
    assert (timeline.slot, timeline.busy_until) == (replay.slot, replay.busy_until)


@settings(max_examples=60)
@given(any_program, st.integers(1, 4))
def test_counters_add_up_to_all_cycles(program, repeats):
    config, passes, drains = program
    counts = run_counts(passes, drains, config, repeats=repeats)
    replay = Replay(passes, drains, config, repeats=repeats)
    assert counts[Counter.ISSUE] == repeats * sum(p.pixels for p in passes)
    assert counts[Counter.USEFUL] == repeats * sum(len(p.kept(config)) * p.useful for p in passes)
    assert counts[Counter.USEFUL] <= counts[Counter.ISSUE] * config.multipliers
    classes = (Counter.ISSUE, Counter.WAIT_IN, Counter.WAIT_OUT, Counter.WEIGHT_LOAD, Counter.REQUANTISE)
    assert counts[Counter.CYCLES] == sum(counts[c] for c in (*classes, Counter.FILL_DRAIN))
    # A run that is taken in cycle 0 decides on its first pass in cycle `fetch`; the last cycle writes the last word.
    lat, last = replay.lat, drains[-1]
    finish = replay.last_output_use + 1 - replay.pace_of(last) + config.groups - 1 + lat.result
    finish += config.words_per_pixel(wide=last.wide) - 1
    tail = [drains[i] for i in drains_of(passes, drains)[-1]]
    requantise = repeats * sum(p.idle_requantise for p in passes)
    requantise += sum(d.tiles * d.pixels * replay.pace_of(d) for d in tail)
    assert counts[Counter.REQUANTISE] == requantise
    assert counts[Counter.CYCLES] == lat.fetch + lat.decide + finish


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), any_machines(), randoms())
def test_interleaved_passes_are_placed_like_single_ones(pixels, tiles, rounds, config, random):
    """Whole rounds are placed at once, with the same idle cycles as passes placed one after another.

    Each of three groups writes activation words, reads those of the group before, and uses the other bank. Before it, a
    drain folds into one of the banks, and some cycles pass.
    """
    pixels = min(pixels, config.accumulator_rows // tiles)
    order, round_robin = [tile for _ in range(rounds) for tile in range(tiles)], tiles
    if random.integers(2):
        order, round_robin = [0, *random.permutation(order).tolist()], 0
    single = [
        Pass(
            kind=TileKind.IDENTITY,
            source=Source.ACTIVATION,
            address=int(random.integers(pixels)),
            pixels=pixels,
            row=tile * pixels,
            fold=Fold.ADD if tile in order[:index] else Fold.SET,
        )
        for index, tile in enumerate(order)
    ]
    group = InterleavedPasses(0, pixels, order, round_robin, (0, 2 * pixels), lambda index: words_read(single[index]))
    drain = Drain(tiles=tiles, pixels=pixels, destination=Destination.ACTIVATION, tile_stride=pixels)
    one, other = Timeline(config, assume_valid=True), Timeline(config, assume_valid=True)
    for swapped in (False, True, False):
        one.banks_swapped = other.banks_swapped = swapped
        bank, fold, count = int(random.integers(2)), Fold(int(random.integers(3))), int(random.integers(1, pixels + 1))
        into = int(random.integers(2)) if fold == Fold.SET else 1 - bank
        feedback = Drain(pixels=count, bank=bank, destination=Destination.ACCUMULATORS, into=into, fold=fold)
        before = GroupFootprint.of([Pass(kind=TileKind.IDENTITY, pixels=count, bank=bank)], [feedback], config)
        assert one.place_group(before) == other.place_group(before)
        one.slot = other.slot = one.slot + int(random.choice([0, *random.integers(40, size=3)]))
        found = one.place_group(GroupFootprint.of([group], [drain], config))
        assert found == other.place_group(GroupFootprint.of(single, [drain], config))
        assert (one.slot, one.busy_until) == (other.slot, other.busy_until)
        assert one.state_key == other.state_key


@settings(max_examples=50)
@given(any_program, st.integers(0, 100))
def test_a_shifted_timeline_continues_like_the_original(program, by):
    config, passes, drains = program
    group = GroupFootprint.of([dataclasses.replace(p, release=False) for p in passes], drains[-1:], config)
    timeline = Timeline(config, assume_valid=True)
    timeline.place_group(group)
    later = timeline.shifted(by, swap_banks=False)
    assert later.state_key == timeline.state_key
    assert later.place_group(group) == timeline.place_group(group)
    assert (later.slot, later.busy_until) == (timeline.slot + by, timeline.busy_until + by)
