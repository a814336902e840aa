"""Random programs of walks, held rows, depthwise passes and chained drains."""

import dataclasses

from hypothesis import strategies as st
from support.programs import with_random_constants

from etchnet.hdl.isa import OUTSIDE, Destination, Drain, Fold, Pass, TileKind
from etchnet.hdl.isa.config import Config

SQUARE = Config(
    rows=4,
    columns=4,
    weight_tiles=16,
    activation_words=32,
    input_words=64,
    output_words=128,
    accumulator_rows=32,
    passes=32,
    drains=32,
    parameter_tiles=8,
    residual_words=32,
    depthwise=2,
    line_words=16,
)


PARAMETER_SETS = 4
INT32 = {"low": -(1 << 31), "high": (1 << 31) - 1}


def depthwise_pass(config, height, width, *, stride=(1, 1), pad=0, margin=1, **options):
    """Make a pass of windows over the image in the first height x width input words, with `margin` pads around it."""
    taps = config.depthwise
    columns = max(width + margin, config.shortest_line)
    out_height, out_width = (height + 2 * margin - taps) // stride[0] + 1, (width + 2 * margin - taps) // stride[1] + 1
    last = (out_height - 1) * stride[0] * columns + (out_width - 1) * stride[1]
    return (
        out_height,
        out_width,
        Pass(
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
        ),
    )


def _square(rows, requantisers, weight_rows, multiplier_latency, memory_latency, product_latency):
    """Return a machine of 4 x 4 elements with depthwise passes, or of 3 x 3 without."""
    return dataclasses.replace(
        SQUARE,
        rows=rows,
        columns=rows,
        depthwise=2 if rows == 4 else 0,
        requantisers=requantisers,
        weight_rows=weight_rows,
        multiplier_latency=multiplier_latency,
        memory_latency=memory_latency,
        product_latency=product_latency,
        input_words=32,
        weight_tiles=8,
        passes=64,
        output_words=256,
    )


SQUARES = [
    _square(4, 1, 1, 1, 1, 1),
    _square(4, 4, 4, 2, 2, 2),
    _square(4, 1, 4, 1, 3, 5),
    _square(4, 4, 1, 2, 4, 3),
    _square(3, 3, 1, 1, 2, 4),
    _square(3, 1, 3, 2, 1, 1),
]
"""machines that between them have every value that `squares` draws"""


@st.composite
def squares(draw):
    """Return small square machines."""
    rows = draw(st.sampled_from([4, 4, 3]))
    some = st.sampled_from([1, rows])
    return _square(
        rows, draw(some), draw(some), draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    )


@st.composite
def programs(draw, machines):
    """Return a machine, and groups of passes, each pass being a number that stands for its kind."""
    config = draw(machines)
    groups = draw(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=4))
    return config, groups


def _random_pass(config, choice, rows, flags, random):
    """Make a pass: 5 a depthwise one, 4 one that holds its row, else a walk; the last of any that fills `rows` rows."""
    if choice == 5 and config.depthwise and not rows:
        options = {"stride": (1, int(random.integers(1, 3))), "pad": int(random.integers(-128, 128))}
        return depthwise_pass(config, 3, int(random.integers(2, 4)), **options, **flags)[2]
    if choice == 4 and not rows:
        return Pass(
            kind=TileKind.IDENTITY,
            pixels=int(random.integers(1, 9)),
            step=int(random.integers(3)),
            hold=Fold(int(random.integers(1, 3))),
            **flags,
        )
    columns, lines = int(random.integers(1, 5)), int(random.integers(1, 5))
    p = Pass(
        kind=TileKind(int(random.integers(3))),
        address=int(random.integers(-5, 6)),
        columns=columns,
        step=int(random.integers(3)),
        line=int(random.integers(4)),
        pixels=rows or columns * lines,
        first_column=1,
        end_column=3,
        first_line=int(random.integers(2)),
        end_line=int(random.integers(2, 4)),
        pad=int(random.integers(-128, 128)),
        **flags,
    )
    words = p.walk()
    return dataclasses.replace(p, address=0) if (words[words != OUTSIDE] < 0).any() else p


def _random_drains(config, rows, bank, kept_words, random):
    """Make a chain of drains that requantises rows in place, may add residual words to them, and may keep the result.

    Returns the drains, and how many residual words are then written.
    """
    accumulators = {"pixels": rows, "bank": bank, "into": bank, "destination": Destination.ACCUMULATORS, **INT32}
    options = {
        "parameters": int(random.integers(PARAMETER_SETS)) * config.groups,
        "zero_point": int(random.integers(-9, 9)),
    }
    drains = [Drain(**accumulators, **options)]
    if kept_words >= rows and random.random() < 0.6:
        first, fold = int(random.integers(kept_words - rows + 1)), Fold(int(random.integers(1, 3)))
        drains.append(Drain(chained=True, residual=True, row=first, fold=fold, **accumulators, **options))
    if random.random() < 0.6:
        first = int(random.integers(min(kept_words, config.residual_words - rows) + 1))
        kept_words = max(kept_words, first + rows)
        memory = {"destination": Destination.RESIDUAL, "address": first}
        drains.append(Drain(chained=True, pixels=rows, bank=bank, **memory, **options))
    return drains, kept_words


def walk_program(program, random):
    """Make a mixture of walks and chains: config, passes, drains, packets, output words and repeats."""
    config, groups = program
    passes, drains, kept_words, rows = [], [], 0, 0
    for number, group in enumerate(groups):
        last, bank = number == len(groups) - 1, int(random.integers(2))
        rows = 0
        for level, choice in enumerate(group):
            ending = level == len(group) - 1
            flags = {
                "fold": Fold(int(random.integers(1, 3))) if level else Fold.SET,
                "bank": bank,
                "useful": int(random.integers(9)),
                "wait_input": not passes,
                "release": ending,
                "release_input": last and ending,
                "wait_output": last and ending,
                "weights": int(random.integers(config.weight_tiles)) * config.load_cycles,
            }
            p = _random_pass(config, choice, rows, flags, random)
            folded = len(set(p.rows(config).tolist()))
            rows = rows or folded
            if folded != rows:
                p = Pass(kind=TileKind.IDENTITY, pixels=rows, pad=p.pad, **flags)
            passes.append(p)
        chain, kept_words = _random_drains(config, rows, bank, kept_words, random)
        drains += chain
    drains.append(Drain(chained=True, pixels=rows, bank=bank, destination=Destination.OUTPUT, commit=True))
    constants = {"parameter_sets": PARAMETER_SETS, "stored_tiles": config.weight_tiles, "most_repeats": 2}
    return with_random_constants(config, passes, drains, rows, random, **constants)
