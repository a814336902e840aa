"""Passes that walk images, hold a row, or are depthwise, and drains chained to one another: both engines agree."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import int8, randoms, traces
from test_programs import PLAIN, input_packet, load, on_both, parameter_words, run

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Parameters, Pass, TileKind
from etchnet.sim.timing import ProgramError, check, run_counts, schedule

SQUARE = Config(
    rows=4, columns=4, weight_tiles=16, activation_words=32, input_words=64, output_words=128,
    accumulator_rows=32, passes=32, drains=32, parameter_tiles=8, residual_words=32, depthwise=2, line_words=16,
)  # fmt: skip
INT32 = {"low": -(1 << 31), "high": (1 << 31) - 1}


def depthwise_pass(config, height, width, *, stride=(1, 1), pad=0, margin=1, **options):
    """Windows over the image in the first height x width input words; `margin` pads before and between lines."""
    taps = config.depthwise
    columns = max(width + margin, config.shortest_line)
    out_height, out_width = (height + 2 * margin - taps) // stride[0] + 1, (width + 2 * margin - taps) // stride[1] + 1
    last = (out_height - 1) * stride[0] * columns + (out_width - 1) * stride[1]
    return out_height, out_width, Pass(
        kind=TileKind.DEPTHWISE,
        address=-margin * (width + 1),
        line=width,
        columns=columns,
        pixels=last + (taps - 1) * (columns + 1) + 1,
        first_column=margin,
        end_column=margin + width,
        first_line=margin,
        end_line=margin + height,
        pad=pad,
        dropped=columns - ((out_width - 1) * stride[1] + 1),
        skip_columns=stride[1] - 1,
        skip_lines=stride[0] - 1,
        **options,
    )  # fmt: skip


NINE = dataclasses.replace(SQUARE, rows=9, columns=9, requantisers=9, depthwise=3)


@pytest.mark.parametrize("config", [dataclasses.replace(SQUARE, multiplier_latency=2), NINE])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
def test_a_depthwise_pass_is_a_depthwise_convolution(config, stride):
    random, taps = np.random.default_rng(0), config.depthwise
    height, width = 3, 4
    image = int8(random, (height, width, config.rows))
    weights = int8(random, (taps, taps, config.columns))
    out_height, out_width, p = depthwise_pass(config, height, width, stride=stride, pad=-7, wait_input=True,
                                              wait_output=True, release=True, release_input=True)  # fmt: skip
    tile = np.zeros((config.rows, config.columns), np.int8)
    tile[: taps * taps] = weights.reshape(taps * taps, -1)
    size = config.words_per_pixel(wide=True)
    count = out_height * out_width
    drains = [Drain(pixels=count, raw=True, wide=True, **INT32, stride=size, destination=Destination.OUTPUT,
                    commit=True)]  # fmt: skip
    passes, drains = schedule([p], drains, config)
    x = np.zeros((config.input_words, config.rows), np.int8)
    x[: height * width] = image.reshape(-1, config.rows)
    packets = [*load(config, passes, drains, parameter_words(config, [Parameters()] * config.columns), tile[:, None]),
               input_packet(config, x), run(config, passes, drains, count * size)]  # fmt: skip
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
    """Twelve pixels into one accumulator, one a cycle, with the pixels outside counted as pad."""
    random = np.random.default_rng(1)
    for fold, expect in ((Fold.ADD, np.sum), (Fold.MAX, np.max)):
        x = int8(random, (64, 4))
        p = Pass(kind=TileKind.IDENTITY, address=-2, step=1, line=8, columns=4, pixels=12, first_column=2, end_line=2,
                 pad=3, hold=fold, wait_input=True, wait_output=True, release=True, release_input=True)  # fmt: skip
        drains = [Drain(pixels=1, raw=True, wide=True, **INT32, destination=Destination.OUTPUT, commit=True)]
        passes, drains = schedule([p], drains, SQUARE)
        packets = [*load(SQUARE, passes, drains, parameter_words(SQUARE, [Parameters()] * 4)), input_packet(SQUARE, x),
                   run(SQUARE, passes, drains, 4)]  # fmt: skip
        got, _, _ = on_both(SQUARE, packets, 4)
        walked = np.concatenate([np.full((8, 4), 3), x[[0, 1, 8, 9]].astype(int)])
        assert np.array_equal(np.ascontiguousarray(got[0]).view("<i4").ravel(), expect(walked, axis=0))


@pytest.mark.parametrize("pixels", [1, 5, 16])
@pytest.mark.parametrize("requantisers", [1, 4])
def test_an_addition_in_chained_drains(pixels, requantisers):
    """The residual memory's words join the accumulators between two requantisations, in place, behind one pass."""
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
    packets = [*load(config, passes, drains, parameters), input_packet(config, x), input_packet(config, x),
               run(config, passes, drains, pixels, repeats=2)]  # fmt: skip
    got, counts, _ = on_both(config, packets, pixels, 2)
    wanted = np.clip(2 * (b.astype(int) + 5) + (a.astype(int) - 9) + 3, -128, 127)
    assert np.array_equal(got[0].view(np.int8), wanted)
    assert np.array_equal(got[1].view(np.int8), wanted)
    assert counts[Counter.WAIT_OUT] == 0


@st.composite
def programs(draw):
    """A small square machine, and groups of passes: (passes as kind, lines, columns), drains behind each."""
    rows, taps = draw(st.sampled_from([(4, 2), (4, 2), (3, 0)]))
    config = dataclasses.replace(
        SQUARE, rows=rows, columns=rows, depthwise=taps, requantisers=draw(st.sampled_from([1, rows])),
        weight_rows=draw(st.sampled_from([1, rows])), multiplier_latency=draw(st.integers(1, 2)), accumulator_rows=32,
        memory_latency=draw(st.integers(1, 4)), product_latency=draw(st.integers(1, 5)),
        passes=64, output_words=256,
    )  # fmt: skip
    groups = draw(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=4))
    return config, groups


def walk_program(program, random):
    """Any mixture of walks and chains: config, passes, drains, packets, output words and repeats."""
    config, groups = program
    passes, drains, kept_words = [], [], 0
    for number, group in enumerate(groups):
        last, bank = number == len(groups) - 1, int(random.integers(2))
        rows = 0
        for level, choice in enumerate(group):
            fold = Fold(int(random.integers(1, 3))) if level else Fold.SET
            ending = level == len(group) - 1
            flags = {
                "fold": fold, "bank": bank, "useful": int(random.integers(9)), "wait_input": not passes,
                "release": ending, "release_input": last and ending, "wait_output": last and ending,
                "weights": int(random.integers(config.weight_tiles)) * config.load_cycles,
            }  # fmt: skip
            if choice == 5 and config.depthwise and not rows:
                _, _, p = depthwise_pass(config, 3, int(random.integers(2, 4)), stride=(1, int(random.integers(1, 3))),
                                         pad=int(random.integers(-128, 128)), **flags)  # fmt: skip
            elif choice == 4 and not rows:
                p = Pass(kind=TileKind.IDENTITY, pixels=int(random.integers(1, 9)), step=int(random.integers(3)),
                         hold=Fold(int(random.integers(1, 3))), **flags)  # fmt: skip
            else:
                columns, lines = int(random.integers(1, 5)), int(random.integers(1, 5))
                count = rows or columns * lines
                p = Pass(
                    kind=TileKind(int(random.integers(3))), address=int(random.integers(-5, 6)), columns=columns,
                    step=int(random.integers(3)), line=int(random.integers(4)), pixels=count,
                    first_column=1, end_column=3, first_line=int(random.integers(2)),
                    end_line=int(random.integers(2, 4)), pad=int(random.integers(-128, 128)), **flags,
                )  # fmt: skip
                words = p.walk()
                if (words[words > -(1 << 30)] < 0).any():
                    p = dataclasses.replace(p, address=0)
            rows = rows or len(set(p.rows(config).tolist()))
            if len(set(p.rows(config).tolist())) != rows:
                p = dataclasses.replace(p, kind=TileKind.IDENTITY, hold=Fold.SET, columns=0, pixels=rows, dropped=0,
                                        skip_columns=0, skip_lines=0)  # fmt: skip
            passes.append(p)
        accumulators = {"pixels": rows, "bank": bank, "into": bank, "destination": Destination.ACCUMULATORS}
        parameters = {"parameters": int(random.integers(7)) * config.groups, "zero_point": int(random.integers(-9, 9))}
        drains.append(Drain(**accumulators, **INT32, **parameters))
        if kept_words >= rows and random.random() < 0.6:
            drains.append(Drain(chained=True, residual=True, row=int(random.integers(kept_words - rows + 1)),
                                **{**accumulators, "fold": Fold(int(random.integers(1, 3)))}, **INT32,
                                **parameters))  # fmt: skip
        if random.random() < 0.6:
            start = int(random.integers(min(kept_words, config.residual_words - rows) + 1))
            kept_words = max(kept_words, start + rows)
            drains.append(Drain(chained=True, pixels=rows, bank=bank, destination=Destination.RESIDUAL, address=start,
                                **parameters))  # fmt: skip
        if last:
            words = rows
            drains.append(Drain(chained=True, pixels=rows, bank=bank, destination=Destination.OUTPUT, commit=True))
    passes, drains = schedule(passes, drains, config)
    channels = [
        Parameters(
            bias=int(random.integers(-(1 << 16), 1 << 16)), multiplier=int(random.integers(1 << 31)),
            left=int(random.integers(3)), right=int(random.integers(12)),
        )
        for _ in range(8 * config.columns)
    ]  # fmt: skip
    weights = int8(random, (config.weight_words, config.weight_rows, config.columns))
    repeats = int(random.integers(1, 3))
    packets = [*load(config, passes, drains, parameter_words(config, channels), weights),
               run(config, passes, drains, words, repeats)]  # fmt: skip
    packets += [input_packet(config, int8(random, (config.input_words, config.rows))) for _ in range(repeats)]
    check(passes, drains, config, repeats=repeats)
    return config, passes, drains, packets, words, repeats


@settings(max_examples=20)
@given(programs(), randoms())
def test_random_walks_and_chains_agree(program, random):
    """Under stalling links: outputs, counters and cycles of both engines."""
    config, passes, drains, packets, words, repeats = walk_program(program, random)
    _, counts, _ = on_both(config, packets, words, repeats, traces(random))
    unstalled = run_counts(passes, drains, config, repeats=repeats)
    for counter, value in unstalled.items():
        if counter not in (Counter.CYCLES, Counter.WAIT_IN, Counter.WAIT_OUT):
            assert counts[counter] == value


@pytest.mark.campaign
@settings(settings.get_profile("campaign"), max_examples=500)
@given(programs(), randoms())
def test_campaign_of_random_walks(program, random):
    """500 programs, new ones each time."""
    config, _, _, packets, words, repeats = walk_program(program, random)
    on_both(config, packets, words, repeats, traces(random))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hold": Fold.ADD}, "pass 0 is depthwise and holds a row by add: it must give each sum a row of its own"),
        ({"columns": 3}, "has lines of 3 pixels; depthwise passes take 4 to 18"),
        ({"pixels": 6}, "pass 0 walks 6 pixels: no window lies within them"),
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
    """Otherwise it would matter whether the first sum or all of them meet what the row held before."""
    p = Pass(kind=TileKind.IDENTITY, pixels=3, wait_input=True)
    held = Pass(kind=TileKind.IDENTITY, pixels=3, fold=fold, hold=hold, wait_output=True, release=True,
                release_input=True)  # fmt: skip
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
