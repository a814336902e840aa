"""Passes that walk images, hold a row or are depthwise, and chained drains: both engines agree."""

import dataclasses

import numpy as np
import pytest
from support.programs import PLAIN, input_packet, load, on_both, parameter_words, run
from support.strategies import int8
from support.walks import INT32, SQUARE, depthwise_pass

from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Parameters, Pass, TileKind
from etchnet.sim.timing import ProgramError, check, run_counts, schedule

NINE = dataclasses.replace(SQUARE, rows=9, columns=9, requantisers=9, depthwise=3)


@pytest.mark.parametrize("config", [dataclasses.replace(SQUARE, multiplier_latency=2), NINE])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
def test_a_depthwise_pass_is_a_depthwise_convolution(config, stride):
    random, taps = np.random.default_rng(0), config.depthwise
    height, width = 3, 4
    image = int8(random, (height, width, config.rows))
    weights = int8(random, (taps, taps, config.columns))
    out_height, out_width, p = depthwise_pass(
        config,
        height,
        width,
        stride=stride,
        pad=-7,
        wait_input=True,
        wait_output=True,
        release=True,
        release_input=True,
    )
    tile = np.zeros((config.rows, config.columns), np.int8)
    tile[: taps * taps] = weights.reshape(taps * taps, -1)
    size = config.words_per_pixel(wide=True)
    count = out_height * out_width
    drains = [
        Drain(pixels=count, raw=True, wide=True, **INT32, stride=size, destination=Destination.OUTPUT, commit=True)
    ]
    passes, drains = schedule([p], drains, config)
    x = np.zeros((config.input_words, config.rows), np.int8)
    x[: height * width] = image.reshape(-1, config.rows)
    packets = [
        *load(config, passes, drains, parameter_words(config, [Parameters()] * config.columns), tile[:, None]),
        input_packet(config, x),
        run(config, passes, drains, count * size),
    ]
    got, counts, _ = on_both(config, packets, count * size)
    assert counts == run_counts(passes, drains, config)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=-7).astype(np.int64)
    wanted = np.zeros((out_height, out_width, config.columns), np.int64)
    for i in range(out_height):
        for j in range(out_width):
            y, x0 = i * stride[0], j * stride[1]
            wanted[i, j] = (padded[y : y + taps, x0 : x0 + taps] * weights).sum(axis=(0, 1))
    values = np.ascontiguousarray(got[0]).reshape(count, -1)[:, : 4 * config.columns].view("<i4")
    assert np.array_equal(values.reshape(wanted.shape), wanted)


def test_held_rows_sum_a_whole_walk():
    """Twelve pixels are summed in one accumulator, one per cycle; pixels outside the image have the pad value."""
    random = np.random.default_rng(1)
    for fold, expect in ((Fold.ADD, np.sum), (Fold.MAX, np.max)):
        x = int8(random, (64, 4))
        p = Pass(
            kind=TileKind.IDENTITY,
            address=-2,
            step=1,
            line=8,
            columns=4,
            pixels=12,
            first_column=2,
            end_line=2,
            pad=3,
            hold=fold,
            wait_input=True,
            wait_output=True,
            release=True,
            release_input=True,
        )
        drains = [Drain(pixels=1, raw=True, wide=True, **INT32, destination=Destination.OUTPUT, commit=True)]
        passes, drains = schedule([p], drains, SQUARE)
        packets = [
            *load(SQUARE, passes, drains, parameter_words(SQUARE, [Parameters()] * 4)),
            input_packet(SQUARE, x),
            run(SQUARE, passes, drains, 4),
        ]
        got, _, _ = on_both(SQUARE, packets, 4)
        walked = np.concatenate([np.full((8, 4), 3), x[[0, 1, 8, 9]].astype(int)])
        assert np.array_equal(np.ascontiguousarray(got[0]).view("<i4").ravel(), expect(walked, axis=0))


@pytest.mark.parametrize("pixels", [1, 5, 16])
@pytest.mark.parametrize("requantisers", [1, 4])
def test_an_addition_in_chained_drains(pixels, requantisers):
    """After one pass, words of the residual memory are added to the accumulators between two requantisations."""
    config = dataclasses.replace(SQUARE, requantisers=requantisers)
    random = np.random.default_rng(2)
    a, b = int8(random, (pixels, 4)), int8(random, (pixels, 4))
    groups = config.groups
    add = {"pixels": pixels, "destination": Destination.ACCUMULATORS, **INT32}
    passes = [
        Pass(kind=TileKind.IDENTITY, address=0, pixels=pixels, bank=0, wait_input=True, wait_output=True, release=True),
        Pass(kind=TileKind.IDENTITY, address=32, pixels=pixels, bank=1, release=True, release_input=True),
    ]
    drains = [
        Drain(bank=0, pixels=pixels, destination=Destination.RESIDUAL, address=3),
        Drain(bank=1, into=1, parameters=groups, **add),
        Drain(chained=True, residual=True, row=3, into=1, fold=Fold.ADD, parameters=2 * groups, **add),
        Drain(chained=True, bank=1, pixels=pixels, destination=Destination.OUTPUT, commit=True, zero_point=3),
    ]
    double = Parameters(multiplier=1 << 30, left=2)
    parameters = parameter_words(
        config, [PLAIN] * 4 + [dataclasses.replace(double, bias=5)] * 4 + [dataclasses.replace(PLAIN, bias=-9)] * 4
    )
    x = np.zeros((64, 4), np.int8)
    x[:pixels], x[32 : 32 + pixels] = a, b
    passes, drains = schedule(passes, drains, config)
    check(passes, drains, config, repeats=2)
    packets = [
        *load(config, passes, drains, parameters),
        input_packet(config, x),
        input_packet(config, x),
        run(config, passes, drains, pixels, repeats=2),
    ]
    got, counts, _ = on_both(config, packets, pixels, 2)
    wanted = np.clip(2 * (b.astype(int) + 5) + (a.astype(int) - 9) + 3, -128, 127)
    assert np.array_equal(got[0].view(np.int8), wanted)
    assert np.array_equal(got[1].view(np.int8), wanted)
    assert counts[Counter.WAIT_OUT] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hold": Fold.ADD}, "pass 0 is depthwise and holds a row by add: it must give each sum a row of its own"),
        ({"columns": 3}, "has lines of 3 pixels; depthwise passes take 4 to 18"),
        ({"pixels": 6}, "pass 0 walks 6 pixels: no window fits within them"),
        ({"hold": 3}, "pass 0 has tile kind 3, fold 0 and hold 3"),
    ],
)
def test_depthwise_passes_that_cannot_run_are_refused(change, message):
    _, _, p = depthwise_pass(SQUARE, 3, 4, wait_input=True, wait_output=True, release=True, release_input=True)
    drains = [Drain(pixels=1, destination=Destination.OUTPUT, commit=True)]
    with pytest.raises(ProgramError, match=message):
        check([dataclasses.replace(p, **change)], drains, SQUARE, repeats=1)


@pytest.mark.parametrize(("fold", "hold"), [(Fold.ADD, Fold.MAX), (Fold.MAX, Fold.ADD)])
def test_a_row_is_held_by_the_fold_that_begins_it(fold, hold):
    """Otherwise it would matter whether only the first sum or every sum is folded into the row's old value."""
    p = Pass(kind=TileKind.IDENTITY, pixels=3, wait_input=True)
    held = Pass(
        kind=TileKind.IDENTITY, pixels=3, fold=fold, hold=hold, wait_output=True, release=True, release_input=True
    )
    with pytest.raises(ProgramError, match="pass 1 holds a row by"):
        check([p, held], [Drain(destination=Destination.OUTPUT, commit=True)], SQUARE, repeats=1)


def test_a_drain_in_place_does_not_write_what_it_has_yet_to_read():
    p = Pass(kind=TileKind.IDENTITY, pixels=18, wait_input=True, wait_output=True, release=True, release_input=True)
    drains = [
        Drain(pixels=18, destination=Destination.ACCUMULATORS, address=14, **INT32),
        Drain(chained=True, row=14, pixels=18, destination=Destination.OUTPUT, commit=True),
    ]
    with pytest.raises(ProgramError, match="must not fold into a row that it has yet to read"):
        schedule([p], drains, SQUARE)


def test_a_chained_drain_that_reads_the_bank_it_adds_to_is_refused():
    p = Pass(kind=TileKind.IDENTITY, wait_input=True, wait_output=True, release=True, release_input=True)
    drains = [
        Drain(destination=Destination.ACCUMULATORS, into=0, fold=Fold.ADD, **INT32),
        Drain(chained=True, destination=Destination.OUTPUT, commit=True),
    ]
    with pytest.raises(ProgramError, match="reads the bank that it adds to"):
        schedule([p], drains, SQUARE)
