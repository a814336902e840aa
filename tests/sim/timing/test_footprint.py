"""Footprints against an explicit list of everything that a pass or a drain accesses."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.walks import SQUARE

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import ProgramError, drain_words, drains_of, words_read
from etchnet.sim.timing.footprint import DrainFootprint, PassFootprint

DENSE = Config(rows=6, columns=3, weight_tiles=4, activation_words=64, input_words=64, accumulator_rows=24)


@st.composite
def passes(draw):
    """Draw a pass that walks a few lines: plain, held or depthwise."""
    depthwise = draw(st.booleans())
    columns = draw(st.integers(4, 6)) if depthwise else draw(st.integers(0, 5))
    pixels = draw(st.integers(1, 24))
    return Pass(
        kind=TileKind.DEPTHWISE if depthwise else TileKind.STORED,
        pixels=pixels,
        columns=columns,
        address=draw(st.integers(-4, 12)),
        step=draw(st.integers(0, 2)),
        line=draw(st.integers(0, 6)),
        first_column=draw(st.integers(0, 2)),
        end_column=draw(st.integers(0, 5)),
        first_line=draw(st.integers(0, 2)),
        end_line=draw(st.integers(0, 4)),
        row=draw(st.integers(0, 9)),
        fold=draw(st.sampled_from(Fold)),
        hold=Fold.SET if depthwise else draw(st.sampled_from(Fold)),
        dropped=draw(st.integers(0, 2)) if depthwise else 0,
        skip_columns=draw(st.integers(0, 1)) if depthwise else 0,
        skip_lines=draw(st.integers(0, 1)) if depthwise else 0,
    )


def reads(p):
    """Return the word of every pixel that is inside the image, with its cycle, line by line."""
    found, columns = [], p.columns or p.pixels
    for pixel in range(p.pixels):
        line, column = pixel // columns, pixel % columns
        inside = p.first_line <= line < (p.end_line or p.pixels)
        inside &= p.first_column <= column < (p.end_column or p.pixels)
        if inside:
            found.append((p.address + line * p.line + column * p.step, pixel))
    return found


def folds(p):
    """Return the accumulator row and the pixel of every sum that is kept: those of the last pixel of each window."""
    if p.kind != TileKind.DEPTHWISE:
        return [(p.row if p.hold != Fold.SET else p.row + pixel, pixel) for pixel in range(p.pixels)]
    found: list[tuple[int, int]] = []
    lead, trail = SQUARE.window_lead(p.columns), SQUARE.window_trail
    for first in range(p.pixels):
        line, column = divmod(first, p.columns)
        if first + lead >= p.pixels - trail or column >= p.columns - p.dropped:
            continue
        if column % (p.skip_columns + 1) == 0 and line % (p.skip_lines + 1) == 0:
            found.append((p.row + len(found), first + lead))
    return found


@settings(max_examples=200)
@given(passes())
def test_a_pass(p):
    footprint, read, folded = PassFootprint(p, SQUARE), reads(p), folds(p)
    assert list(zip(*(column.tolist() for column in words_read(p)), strict=True)) == read
    first, stop = footprint.words
    assert all(first <= word < stop for word, _ in read)
    assert footprint.slot_cycles == max(p.pixels, SQUARE.rows // SQUARE.weight_rows)
    assert footprint.adds == (p.fold != Fold.SET)
    assert footprint.line_pixels == (p.columns if p.kind == TileKind.DEPTHWISE else 0)
    assert list(range(*footprint.rows)) == sorted({row for row, _ in folded})
    if not folded:
        return
    pixels = {row: [pixel for r, pixel in folded if r == row] for row, _ in folded}
    steps = footprint.steps * np.arange(len(pixels)) if isinstance(footprint.steps, int) else footprint.steps
    assert steps.tolist() == [first for first, *_ in pixels.values()]
    assert {step + footprint.completion for step in steps} == {last for *_, last in pixels.values()}
    assert footprint.first_fold == min(pixel for _, pixel in folded)


@st.composite
def drains(draw):
    """Draw a drain to any memory, or back into either bank."""
    destination = draw(st.sampled_from(Destination))
    return Drain(
        tiles=draw(st.integers(1, 3)),
        pixels=draw(st.integers(1, 4)),
        row=draw(st.integers(0, 6)),
        address=draw(st.integers(0, 9)),
        stride=draw(st.integers(0, 3)),
        tile_stride=draw(st.integers(0, 5)),
        lane=draw(st.integers(0, 1)),
        wide=destination == Destination.OUTPUT and draw(st.booleans()),
        into=draw(st.integers(0, 1)),
        destination=destination,
    )


def writes(d, config):
    """Return the first word, or the accumulator row, that every row of a drain writes, tile after tile."""
    shared = 1 if d.wide or d.destination == Destination.ACCUMULATORS else config.rows // config.columns
    lane = 0 if shared == 1 else d.lane
    return [
        d.address + (lane + tile) // shared * d.tile_stride + pixel * d.stride
        for tile in range(d.tiles)
        for pixel in range(d.pixels)
    ]


@settings(max_examples=200)
@given(drains())
def test_a_drain(d):
    footprint, words = DrainFootprint(d, DENSE), writes(d, DENSE)
    assert footprint.words.tolist() == drain_words(d, DENSE).ravel().tolist() == words
    assert footprint.last_word == max(words)
    assert footprint.rows == (d.row, d.row + len(words))
    # A row of three int32 takes two words of six bytes, and one of three int8 half a word.
    assert footprint.words_per_row == (2 if d.wide else 1)
    assert footprint.pace == (2 if d.wide else 1)


@settings(max_examples=300)
@given(drains())
def test_a_drain_to_the_accumulators_overwrites_nothing_that_it_reads_later(d):
    d = dataclasses.replace(d, destination=Destination.ACCUMULATORS, wide=False)
    rows = writes(d, DENSE)
    allowed = max(rows) < DENSE.accumulator_rows and len(set(rows)) == len(rows)
    if d.into == d.bank:
        allowed &= not any(rows[step] == d.row + later for later in range(len(rows)) for step in range(later))
    if allowed:
        assert [row for run in DrainFootprint(d, DENSE).folded_rows() for row in range(*run)] == rows
    else:
        with pytest.raises(ProgramError, match=r"folds into accumulator row|fold into every row once|yet to read"):
            DrainFootprint(d, DENSE).folded_rows()


def test_each_pass_starts_the_drain_that_it_releases_and_the_chain_after_it():
    program = [Pass(), Pass(release=True), Pass(release=True)]
    three = [Drain(), Drain(chained=True), Drain()]
    assert drains_of(program, three) == [[], [0, 1], [2]]
    for wrong in (three[:2], three[1:], [*three, Drain()]):
        with pytest.raises(ProgramError, match=r"2 passes release . drains"):
            drains_of(program, wrong)
