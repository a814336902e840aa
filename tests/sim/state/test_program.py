"""The tables of a timed program against loops over its instructions."""

import numpy as np
import pytest
from support.walks import SQUARE, walk_program

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, RunCommand
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.history import RunHistory
from etchnet.sim.state.program import TimedProgram
from etchnet.sim.timing import Latencies, drain_pace


def timed(passes, drains, config):
    return TimedProgram(RunHistory(passes, drains, 0, RunCommand()), config)


@pytest.fixture(scope="module", params=range(3))
def program(request):
    _, passes, drains, *_ = walk_program((SQUARE, [[5, 1], [4, 2], [0, 3]]), np.random.default_rng(request.param))
    return timed(passes, drains, SQUARE)


def test_first_pixels_and_rows_of_passes(program):
    for index, p in enumerate(program.passes):
        read = [i for i, word in enumerate(p.walk()) if word != OUTSIDE]
        kept = p.kept(SQUARE).tolist()
        assert program.read(index).tolist() == read
        assert program.first_read[index] == (read[0] if read else -1)
        assert program.first_kept[index] == (kept[0] if kept else -1)
        rows = p.rows(SQUARE)
        assert (program.rows[0][index], program.rows[1][index]) == (rows.min(), len(set(rows.tolist())))
        assert program.slots[index] == max(p.pixels, SQUARE.load_cycles)


def test_drains_begin_after_the_last_pixel_of_their_pass(program):
    """The first of a chain does; each other begins `chain` plus its idle cycles after the end of the one before."""
    latencies = Latencies.of(SQUARE)
    releasing = [i for i, p in enumerate(program.passes) if p.release]
    for index, drain in enumerate(program.drains):
        assert program.pace[index] == drain_pace(drain, SQUARE)
        assert program.count[index] == drain.tiles * drain.pixels
        if not drain.chained:
            releaser = releasing.pop(0)
            begin = latencies.decide + program.passes[releaser].pixels - 1 + latencies.drain_delay
        else:
            before = index - 1
            last = program.delay[before] + program.pace[before] * program.count[before] - 1
            begin = last + latencies.chain + drain.idle
        assert (program.releasing[index], program.delay[index]) == (releaser, begin)


@pytest.mark.parametrize("config", [SQUARE, Config(rows=4, columns=2), Config(rows=2, columns=5)], ids=str)
def test_writes_are_the_words_of_every_row(config):
    """The drains have column tiles that share words, rows of several words, and wide results."""
    words, wide = config.words_per_pixel(), config.words_per_pixel(wide=True)
    passes = [Pass(pixels=6, release=True)]
    drains = [
        Drain(tiles=2, pixels=3, address=5, stride=words, tile_stride=3 * words, lane=config.tiles_per_word - 1),
        Drain(chained=True, pixels=3, address=5, stride=words),
        Drain(chained=True, tiles=2, pixels=2, destination=Destination.OUTPUT, wide=True, stride=wide, tile_stride=40),
        Drain(chained=True, pixels=3, destination=Destination.ACCUMULATORS, address=9, stride=2, fold=Fold.ADD),
    ]
    program = timed(passes, drains, config)
    lanes = config.tiles_per_word
    wanted = {Destination.ACTIVATION: [], Destination.OUTPUT: [], Destination.RESIDUAL: []}
    for number, drain in enumerate(drains[:3]):
        for row in range(drain.tiles * drain.pixels):
            tile, pixel = divmod(row, drain.pixels)
            word, lane = (tile, None) if drain.wide else divmod(drain.lane + tile, lanes)
            for part in range(wide if drain.wide else words):
                mask = (1 << lanes) - 1 if drain.wide else 1 << lane
                address = drain.address + word * drain.tile_stride + pixel * drain.stride + part
                when = row * drain_pace(drain, config) + config.groups - 1 + part
                wanted[drain.destination].append((address, number, when, mask, row, part))
    for destination, entries in wanted.items():
        table = program.writes[destination]
        columns = (table[name].tolist() for name in ("address", "drain", "when", "lanes", "row", "word"))
        assert list(zip(*columns, strict=True)) == sorted(entries)
    assert {n: rows.tolist() for n, rows in program.accumulator_rows.items()} == {3: [9, 11, 13]}
