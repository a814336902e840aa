"""The memories on a timeline: what has been written, and how long passes wait for it."""

import numpy as np
import pytest

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import Latencies
from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint
from etchnet.sim.timing.intervals import NEVER, CycleMap
from etchnet.sim.timing.memories import ActivationState, BankState
from etchnet.sim.timing.timeline import Timeline

CONFIG = Config(activation_words=1 << 16, residual_words=1 << 16)
ADDRESS = 100
ROWS = (1 << 16) - ADDRESS
READ = {"residual": True, "destination": Destination.ACTIVATION, "address": ADDRESS, "stride": 1, "shared": True}
"""fields of a drain from the residual memory to the activation memory"""


@pytest.mark.parametrize("row", [0, 1, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, ROWS - 1])
def test_a_pass_waits_for_its_row_of_a_long_residual_drain(row):
    """Row i is readable i times the drain's pace after the first row."""
    drain, first, when = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG), 1000, 7
    pace = CONFIG.columns // CONFIG.requantisers
    activation = ActivationState(np.zeros(0, bool))
    activation.write(drain, ADDRESS + ROWS - 1, first, first + (ROWS - 1) * pace)
    assert activation.earliest_start(np.array([ADDRESS + row]), np.array([when]), 0) == first + row * pace - when


def test_a_pass_waits_for_the_last_of_its_rows_of_a_long_residual_drain():
    """A pass that reads a word in every cycle waits for the largest difference of the two walks."""
    drain, first = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG), 1000
    pace = CONFIG.columns // CONFIG.requantisers
    activation = ActivationState(np.zeros(0, bool))
    activation.write(drain, ADDRESS + ROWS - 1, first, first + (ROWS - 1) * pace)
    words, when = ADDRESS + np.arange(ROWS)[::-1], np.arange(ROWS)
    assert activation.earliest_start(words, when, 0) == first + (ROWS - 1) * pace
    assert activation.earliest_start(words[::-1], when, 0) == first + max(0, (ROWS - 1) * (pace - 1))


def test_a_pass_is_placed_after_the_row_that_it_reads():
    """The wait on a timeline is the sum of the latencies from the pass that starts the drain to the readable row."""
    row, latencies, timeline = 20_000, Latencies.of(CONFIG), Timeline(CONFIG, assume_valid=True)
    before = PassFootprint(Pass(kind=TileKind.IDENTITY, pixels=1, fold=Fold.SET, release=True), CONFIG)
    drain = DrainFootprint(Drain(pixels=ROWS, **READ), CONFIG)
    after = PassFootprint(
        Pass(kind=TileKind.IDENTITY, pixels=1, source=Source.ACTIVATION, address=ADDRESS + row), CONFIG
    )
    start = timeline.earliest(before, [drain])
    timeline.issue(before, [drain], start)
    groups = CONFIG.columns // CONFIG.requantisers
    read = start + latencies.drain_delay + row * groups + groups - 1
    assert timeline.earliest(after, []) == read + latencies.result + 1


def random_drain(config, random):
    """Return a drain to the activation memory, and its footprint."""
    size = config.words_per_pixel()
    while True:
        tiles, pixels = (int(n) for n in random.integers(1, 4, 2))
        drain = Drain(
            tiles=tiles,
            pixels=pixels,
            address=int(random.integers(config.activation_words)),
            stride=int(random.integers(size, size + 2)),
            tile_stride=int(random.integers(1, 8)),
            lane=int(random.integers(config.tiles_per_word)),
        )
        footprint = DrainFootprint(drain, config)
        words = {int(word) + offset for word in footprint.words for offset in range(size)}
        if max(words) < config.activation_words and (size == 1 or len(words) == size * tiles * pixels):
            return footprint


def random_pass(config, random):
    """Return the footprint of a pass that reads a few words, some of them outside the memory."""
    columns = int(random.integers(1, 5))
    p = Pass(
        source=Source.ACTIVATION,
        address=int(random.integers(-2, config.activation_words)),
        pixels=int(random.integers(1, 9)),
        columns=columns,
        step=int(random.integers(3)),
        line=int(random.integers(4)),
        end_column=int(random.integers(columns + 1)),
        first_line=int(random.integers(2)),
    )
    return PassFootprint(p, config)


@pytest.mark.parametrize(("rows", "columns"), [(2, 5), (6, 3), (4, 4)])
def test_the_activation_memory_against_a_list_of_its_words(rows, columns):
    """What has been written and when it can be read, with copies and shifts in between, and new beginnings."""
    config = Config(rows=rows, columns=columns, requantisers=1, activation_words=16, residual_words=0)
    random, size = np.random.default_rng(columns), config.words_per_pixel()
    state, written, readable, writes = ActivationState(np.zeros(16, bool)), set(), {}, []
    now = slot = found = 0
    for _ in range(600):
        drain, p = random_drain(config, random), random_pass(config, random)
        slot = max(slot, now - int(random.integers(60)))
        match int(random.integers(8)):
            case 0:
                first = now + 1
                words = drain.words.tolist()
                for row, word in enumerate(words):
                    for offset in range(size):
                        written.add(word + offset)
                        readable[word + offset] = now = first + row * drain.pace + offset
                state.write(drain, max(words) + size - 1, first, now)
                writes.append((min(words), max(words) + size, now))
            case 1 if random.random() < 0.3:
                state, written, readable, writes = ActivationState(np.zeros(16, bool)), set(), {}, []
            case 2:
                kept, by = state, int(random.integers(-20, 20))
                state = state.shifted(by)
                assert state.state_key(slot + by) == kept.state_key(slot)
                kept.write(drain, drain.last_word + size - 1, now, now)
                readable = {word: cycle + by for word, cycle in readable.items()}
                writes, now = [(a, b, end + by) for a, b, end in writes], now + by
                slot += by
            case _:
                words, when = p.read()
                assert state.is_written(p) == set(words.tolist()).issubset(written)
                found += len(words) > 0 and state.is_written(p)
                pending = [end for a, b, end in writes if end > slot and a < p.words[1] and p.words[0] < b]
                assert state.all_readable(p.words, slot) == max(pending, default=NEVER)
                assert all(end > slot for *_, end, _, _ in state.arriving)
                reads = zip(words.tolist(), when.tolist(), strict=True)
                bounds = [readable[word] - cycle for word, cycle in reads if word in readable]
                assert state.earliest_start(words, when, slot) == max([slot, *bounds])
                writes = [write for write in writes if write[2] > slot]
                readable = {word: cycle for word, cycle in readable.items() if cycle > slot}
    assert found > 20


def test_keys_differ_in_all_that_can_delay_a_pass_and_in_nothing_else():
    slot, banks, timelines = 100, {}, {}
    rows = CycleMap()
    rows.assign((0, 4), 99, 1)
    for delay in (-50, -1, 0, 1, 2):
        for name in ("last_read", "port_free", "fold_free"):
            bank = BankState(**{name: slot + delay})
            banks[name, max(0, delay)] = key = bank.state_key(slot)
            assert bank.shifted(7).state_key(slot + 7) == key
        for name in ("_output_free", "_lines"):
            timeline = Timeline(CONFIG, assume_valid=True)
            timeline.slot, value = slot, slot + delay
            setattr(timeline, name, (8, value) if name == "_lines" else value)
            timelines[name, max(0, delay)] = timeline.state_key
            assert timeline.shifted(7, swap_banks=False).state_key == timeline.state_key
    for name in ("complete", "read"):
        banks[name, 1] = BankState(**{name: rows}).state_key(slot)
        assert BankState(**{name: rows}).shifted(7).state_key(slot + 7) == banks[name, 1]
    for keys in (banks, timelines):
        fresh = {key for (name, delay), key in keys.items() if not delay and name != "_lines"}
        assert len(fresh) == 1
        assert (
            len({key for (name, delay), key in keys.items() if delay or name == "_lines"} | fresh)
            == len([1 for name, delay in keys if delay or name == "_lines"]) + 1
        )


def test_a_key_has_the_writes_that_are_not_finished():
    drain, slot, keys = DrainFootprint(Drain(pixels=3, **READ), CONFIG), 100, []
    for last in (slot - 1, slot, slot + 1, slot + 2):
        state = ActivationState(np.zeros(0, bool))
        state.write(drain, drain.last_word, last - 8, last)
        keys.append(state.state_key(slot))
    assert keys[:2] == [(), ()]
    assert len(set(keys)) == 3


def test_the_banks_of_a_key_are_those_of_the_program():
    """A timeline with exchanged banks is equal to one that names them the other way round."""
    one, other = Timeline(CONFIG, assume_valid=True), Timeline(CONFIG, assume_valid=True)
    one.banks[0].port_free = other.banks[1].port_free = 9
    assert one.state_key != other.state_key
    assert one.shifted(0, swap_banks=True).state_key == other.state_key
    other.banks_swapped = True
    assert one.state_key == other.state_key
