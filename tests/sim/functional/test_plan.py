"""Plans of tiny programs against an interpreter that works pass by pass and pixel by pixel, in int64."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interpreter import Interpreter
from support.programs import any_machines, chain_program, chains
from support.strategies import int8, randoms
from support.walks import INT32, SQUARE, depthwise_pass, programs, squares, walk_program

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.sim.functional.kernels import Kernels
from etchnet.sim.functional.plan import Plan
from etchnet.sim.functional.steps import OperandKind

SETS = 12
"""sets of channel parameters, more than any program here names"""


def tiles_of(passes, config, random, *, versioned):
    """Return a tile for each pass: passes with the same weight words have the same tile, unless tiles are versioned."""
    size = min(config.rows, config.columns)
    made, found = {}, []
    for index, p in enumerate(passes):
        tile = int8(random, (config.rows, config.columns))
        if p.kind == TileKind.IDENTITY:
            tile = np.eye(config.rows, config.columns, dtype=np.int8)
        elif p.kind == TileKind.DIAGONAL:
            tile = np.zeros_like(tile)
            tile[np.arange(size), np.arange(size)] = int8(random, size)
        key = index if versioned else (p.kind, p.weights)
        found.append(made.setdefault(key, tile))
    return np.array(found)


def fields_of(config, random, **given):
    """Draw channel parameters, int64 (sets, columns); `given` fields are the same for all."""
    shape = SETS, config.columns
    fields = {
        "bias": random.integers(-300, 300, shape),
        "multiplier": random.integers(1 << 30, 1 << 31, shape),
        "left": np.zeros(shape, np.int64),
        "right": random.integers(5, 9, shape),
    }
    return fields | {name: np.full(shape, value) for name, value in given.items()}


def check(passes, drains, config, *, fields=None, inputs=None, versioned=False, seed=0, batch=3):
    """Compare the results of every drain and the output memory, for a batch of inputs; return the plan."""
    random = np.random.default_rng(seed)
    released = np.cumsum([0, *(p.release_input for p in passes)])[:-1]
    plan = Plan(passes, drains, released.tolist(), config, versioned=versioned)
    tiles = tiles_of(passes, config, random, versioned=versioned)
    fields = fields or fields_of(config, random)
    chosen = {name: values[[first // config.groups for first, _ in plan.parameters]] for name, values in fields.items()}
    kernels = Kernels(plan, tiles[plan.tiles], chosen)
    if inputs is None:
        inputs = int8(random, (batch, plan.halves, config.input_words, config.rows))
    machines = [Interpreter(config, tiles, fields, halves).run(passes, drains) for halves in inputs]
    wanted = np.array([m.memories[Destination.OUTPUT] for m in machines]).astype(np.int8).view(np.uint8)
    kept = kernels.compute(inputs, keep=True)
    for number in range(len(drains)):
        got = kernels.results(kept, number)
        assert np.array_equal(got, np.array([m.results[number] for m in machines])), f"drain {number}"
    for values in (kept, kernels.compute(inputs)):
        assert np.array_equal(kernels.outputs(values, config.output_words), wanted)
    return plan


def ending(p):
    return dataclasses.replace(p, release=True)


def output(pixels, **options):
    return Drain(pixels=pixels, destination=Destination.OUTPUT, **options)


@pytest.mark.parametrize("kind", [TileKind.STORED, TileKind.IDENTITY, TileKind.DIAGONAL])
@pytest.mark.parametrize("then", [Fold.SET, Fold.ADD, Fold.MAX])
def test_tiles_and_folds(kind, then):
    passes = [
        Pass(kind=kind, pixels=6),
        Pass(kind=kind, weights=4, address=6, pixels=6, fold=then),
        ending(Pass(kind=kind, weights=8, address=9, pixels=6, fold=then)),
    ]
    plan = check(passes, [output(6)], SQUARE)
    (step,) = plan.steps
    wanted = OperandKind.WORD if kind == TileKind.IDENTITY else OperandKind.DENSE
    assert [t.kind for t in step.terms[0]] == [wanted] * (1 if then == Fold.SET else 3)


def test_folds_of_several_kinds_in_one_row():
    """A row takes a maximum, then sums, of words, tiles and diagonals."""
    kinds = [TileKind.IDENTITY, TileKind.STORED, TileKind.STORED, TileKind.IDENTITY, TileKind.DIAGONAL]
    folds = [Fold.SET, Fold.MAX, Fold.ADD, Fold.MAX, Fold.ADD]
    passes = [
        Pass(kind=kind, weights=4 * i, address=5 * i, pixels=5, fold=how)
        for i, (kind, how) in enumerate(zip(kinds, folds, strict=True))
    ]
    check([*passes[:-1], ending(passes[-1])], [output(5)], SQUARE)


@pytest.mark.parametrize("stride", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("then", [None, Fold.ADD, Fold.MAX])
def test_depthwise_windows(stride, then):
    height, width, p = depthwise_pass(SQUARE, 3, 4, stride=stride, pad=-7, weights=4)
    passes = [p]
    if then is not None:
        passes.append(Pass(kind=TileKind.STORED, address=20, pixels=height * width, fold=then))
    passes[-1] = ending(passes[-1])
    plan = check(passes, [output(height * width)], SQUARE)
    assert plan.steps[0].terms[0][0].kind is OperandKind.WINDOW


def test_a_depthwise_pass_onto_sums():
    height, width, p = depthwise_pass(SQUARE, 3, 3, pad=11, weights=4, fold=Fold.ADD)
    check([Pass(pixels=height * width), ending(p)], [output(height * width)], SQUARE)


def test_borders_read_the_pad():
    """A 3 x 3 convolution with a border has one pass per tap, for two pad values."""
    passes = [
        Pass(
            weights=4 * (3 * i + j),
            address=(i - 1) * 4 + j - 1,
            line=4,
            columns=4,
            pixels=12,
            first_column=int(j == 0),
            end_column=3 if j == 2 else 0,
            first_line=int(i == 0),
            end_line=2 if i == 2 else 0,
            pad=5 * (i - 1),
            fold=Fold.ADD if i or j else Fold.SET,
        )
        for i in range(3)
        for j in range(3)
    ]
    plan = check([*passes[:-1], ending(passes[-1])], [output(12)], SQUARE)
    assert plan.pads == [-5, 0, 5]
    assert plan.steps[0].operands.shape == (12, 9)


@pytest.mark.parametrize("hold", [Fold.ADD, Fold.MAX])
@pytest.mark.parametrize("kind", [TileKind.IDENTITY, TileKind.STORED])
@pytest.mark.parametrize("first", [Fold.SET, Fold.ADD, Fold.MAX])
def test_held_rows(hold, kind, first):
    """A pass sums all its pixels into a row that already has sums."""
    passes = [
        Pass(pixels=3),
        ending(Pass(kind=kind, weights=4, address=8, pixels=7, row=1, hold=hold, fold=first)),
    ]
    check(passes, [output(3)], SQUARE)


def test_chained_drains_read_back_results():
    """Results go to the activation memory, in place into the bank, and from there to the output."""
    in_place = {"pixels": 4, "destination": Destination.ACCUMULATORS, "chained": True, **INT32}
    passes = [ending(Pass(pixels=4)), ending(Pass(source=Source.ACTIVATION, address=2, pixels=4, weights=4, bank=1))]
    drains = [
        Drain(pixels=4, address=2, parameters=1 * SQUARE.groups),
        Drain(fold=Fold.ADD, raw=True, **in_place),
        Drain(fold=Fold.MAX, parameters=2 * SQUARE.groups, **in_place),
        output(4, chained=True, parameters=3 * SQUARE.groups),
        output(4, bank=1, address=4),
        output(4, chained=True, address=8, parameters=4 * SQUARE.groups),
    ]
    plan = check(passes, drains, SQUARE)
    assert any(t.kind is OperandKind.VALUE for step in plan.steps for t in step.terms[0])


@pytest.mark.parametrize("how", [Fold.ADD, Fold.MAX])
def test_residuals(how):
    """A stored result is folded into later sums: an addition with three requantisations."""
    kept = {"pixels": 5, "destination": Destination.RESIDUAL, "address": 3}
    accumulate = {"pixels": 5, "destination": Destination.ACCUMULATORS, "chained": True, **INT32}
    passes = [ending(Pass(pixels=5)), ending(Pass(address=9, weights=4, pixels=5))]
    drains = [
        Drain(**kept, zero_point=9),
        Drain(**{**accumulate, "chained": False}, parameters=1 * SQUARE.groups),
        Drain(residual=True, row=3, fold=how, parameters=2 * SQUARE.groups, **accumulate),
        output(5, chained=True, parameters=3 * SQUARE.groups),
    ]
    check(passes, drains, SQUARE)


@pytest.mark.parametrize("contract", ["tflite-double", "tflite-single", "onnx-float"])
def test_an_addition_of_all_pairs_of_bytes(contract):
    """All 65,536 pairs pass through two drains into one row, and the drain of the sum."""
    config = dataclasses.replace(
        SQUARE, accumulator_rows=256, input_words=512, output_words=256, requantisers=1, contract=contract
    )
    accumulate = {"pixels": 256, "into": 1, "destination": Destination.ACCUMULATORS, **INT32}
    passes = [
        ending(Pass(kind=TileKind.IDENTITY, pixels=256)),
        ending(Pass(kind=TileKind.IDENTITY, pixels=256, address=256)),
    ]
    drains = [
        Drain(**accumulate, shared=True, parameters=0),
        Drain(**accumulate, fold=Fold.ADD, parameters=1 * config.groups),
        output(256, bank=1, chained=True, parameters=2 * config.groups, zero_point=-4),
    ]
    fields = fields_of(config, np.random.default_rng(0), bias=3)
    for index, (multiplier, left, right) in enumerate([(1 << 30, 20, 0), (1717986816, 20, 1), (1431655808, 0, 19)]):
        for name, value in (("multiplier", multiplier), ("left", left), ("right", right)):
            fields[name][index] = value
    bytes_ = np.arange(-128, 128).astype(np.int8)
    inputs = np.zeros((4, 1, 512, 4), np.int8)
    inputs[:, 0, :256] = bytes_[:, None]
    inputs[:, 0, 256:] = np.random.default_rng(1).permuted(np.tile(bytes_, (4, 4, 1)), axis=2).transpose(0, 2, 1)
    check(passes, drains, config, fields=fields, inputs=inputs)


def test_accumulators_wrap_modulo_two_to_the_32():
    """Raw results near the ends of int32 are added to one another."""
    accumulate = {"pixels": 3, "destination": Destination.ACCUMULATORS, "raw": True, **INT32}
    passes = [ending(Pass(pixels=3)), ending(Pass(address=3, weights=4, pixels=3))]
    drains = [
        Drain(**accumulate, into=1),
        Drain(**accumulate, into=1, fold=Fold.ADD),
        Drain(**accumulate, chained=True, bank=1, into=1, fold=Fold.MAX, parameters=1 * SQUARE.groups),
        output(3, chained=True, bank=1, wide=True, raw=True, stride=4, **INT32, parameters=2 * SQUARE.groups),
    ]
    fields = fields_of(SQUARE, np.random.default_rng(2), multiplier=1, right=0)
    fields["left"][0], fields["bias"][2] = 17, (1 << 31) - 1
    check(passes, drains, SQUARE, fields=fields)


def test_long_sums_are_cut_where_float32_would_round():
    """Terms of one sign, near the largest, give odd sums above 2**24."""
    config = dataclasses.replace(SQUARE, rows=16, columns=16, depthwise=0, requantisers=16, output_words=128)
    count, random = 90, np.random.default_rng(3)
    passes = [Pass(address=i % 7, pixels=4, weights=16 * i, fold=Fold.ADD if i else Fold.SET) for i in range(count)]
    drain = output(4, wide=True, raw=True, stride=4, **INT32)
    fields = fields_of(config, random, multiplier=1, right=0)
    inputs = random.integers(120, 128, (2, 1, config.input_words, 16)).astype(np.int8)
    tiles = random.integers(-128, -120, (count, 16, 16)).astype(np.int8)
    plan = Plan([*passes[:-1], ending(passes[-1])], [drain], [0] * count, config)
    kernels = Kernels(plan, tiles, {name: values[:1] for name, values in fields.items()})
    x, w = inputs[:, 0].astype(np.int64), tiles.astype(np.int64)
    sums = sum(x[:, i % 7 : i % 7 + 4] @ w[i] for i in range(count))
    assert np.abs(sums).min() > 1 << 24
    assert (sums % 2).any()
    got = kernels.results(kernels.compute(inputs), 0)
    assert np.array_equal(got, sums + fields["bias"][0])


@pytest.mark.parametrize(("rows", "columns"), [(4, 2), (2, 5), (3, 2), (8, 2)])
def test_machines_that_are_not_square(rows, columns):
    """Column tiles share a word, words share a row, or words are not filled."""
    config = Config(
        rows=rows,
        columns=columns,
        weight_tiles=8,
        activation_words=32,
        input_words=16,
        output_words=64,
        accumulator_rows=16,
        passes=16,
        drains=8,
        parameter_tiles=SETS,
    )
    words, wide, lanes = config.words_per_pixel(), config.words_per_pixel(wide=True), config.tiles_per_word
    band, groups = config.load_cycles, config.groups
    passes = [
        *(Pass(pixels=4, row=4 * tile, weights=tile * band) for tile in range(lanes)),
        Pass(kind=TileKind.IDENTITY, pixels=4, address=4, fold=Fold.ADD),
        ending(Pass(kind=TileKind.DIAGONAL, pixels=4, weights=4 * band, address=4, fold=Fold.ADD)),
        ending(Pass(source=Source.ACTIVATION, pixels=4, step=words, weights=5 * band, bank=1)),
    ]
    drains = [
        # All lanes of four words, then the last lane again with other parameters.
        Drain(tiles=lanes, pixels=4, stride=words),
        Drain(chained=True, pixels=4, stride=words, lane=lanes - 1, parameters=4 * groups),
        output(4, bank=1, stride=words, parameters=2 * groups),
        output(4, bank=1, chained=True, wide=True, stride=wide, address=4 * words, parameters=groups, **INT32),
    ]
    check(passes, drains, config)


def test_two_halves_of_the_input():
    passes = [Pass(pixels=4, release_input=True), ending(Pass(pixels=4, weights=4, fold=Fold.ADD))]
    plan = check(passes, [output(4)], SQUARE)
    assert plan.halves == 2


def test_a_later_drain_overwrites_the_output():
    """A wide drain overwrites a narrow one, and a narrow drain a wide one."""
    wide = {"wide": True, **INT32}
    passes = [ending(Pass(pixels=4)), ending(Pass(pixels=4, weights=4))]
    drains = [
        output(4, address=8),
        output(2, chained=True, stride=4, **wide),
        output(3, address=1, parameters=SQUARE.groups),
        output(2, chained=True, address=9, stride=4, **wide),
    ]
    check(passes, drains, SQUARE)


def test_rows_computed_alike_are_one_step():
    """There are two strips of two column tiles and two taps each, and two drains of the same sums."""
    passes, drains = [], []
    for strip in range(2):
        for tile in range(2):
            for tap in range(2):
                passes.append(
                    Pass(
                        address=4 * strip + tap,
                        pixels=4,
                        row=4 * tile,
                        bank=strip,
                        weights=4 * (2 * tile + tap),
                        fold=Fold.ADD if tap else Fold.SET,
                    )
                )
        passes[-1] = ending(passes[-1])
        drains += [
            Drain(tiles=2, pixels=4, bank=strip, address=4 * strip, tile_stride=8),
            output(4, chained=True, tiles=2, bank=strip, address=4 * strip, tile_stride=8),
        ]
    plan = check(passes, drains, SQUARE)
    (step,) = plan.steps
    assert step.operands.shape == (8, 2)
    assert [[t.tile for t in terms] for terms in step.terms] == [[0, 1], [2, 3]]
    assert plan.cells == plan.input_words + len(plan.pads) + 16


def test_versioned_plans_have_a_tile_for_each_pass():
    """The same weight words may hold a different tile in each pass."""
    passes = [Pass(pixels=4), Pass(pixels=4, fold=Fold.ADD), ending(Pass(pixels=4, row=4))]
    drains = [output(8), output(8, chained=True, address=8)]
    plan = check(passes, drains, SQUARE, versioned=True)
    assert plan.tiles == [0, 1, 2]
    assert plan.parameters == [(0, 0), (0, 1)]
    assert check(passes, drains, SQUARE).tiles == [0]


@given(chains(any_machines()), randoms(), st.booleans())
def test_random_programs_of_all_sources_and_destinations(chain, random, versioned):
    config, passes, drains, *_ = chain_program(chain, random)
    fields = fields_of(config, random, left=int(random.integers(4)))
    check(passes, drains, config, fields=fields, versioned=versioned, batch=2)


@given(programs(squares()), randoms(), st.sampled_from(CONTRACTS))
def test_random_programs_of_walks_windows_and_residuals(program, random, contract):
    config, passes, drains, *_ = walk_program(program, random)
    config = dataclasses.replace(config, contract=contract)
    fields = fields_of(config, random)
    # Some channels keep only a few bits; others shift none out.
    fields["right"] = random.integers(0, 16, fields["right"].shape)
    check(passes, drains, config, fields=fields, batch=2)
