"""Programs made by hand: every fold, tile, destination and barrier, on the exact engine and on the RTL."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs, int8, randoms, traces

from etchnet.hdl.bus import word_bits
from etchnet.hdl.config import CONTRACTS, Config
from etchnet.hdl.isa import (
    Counter,
    Destination,
    Drain,
    Fold,
    Parameters,
    Pass,
    RunCommand,
    Source,
    Target,
    TileKind,
    chunks,
    pack,
    pack_bytes,
    packet,
)
from etchnet.host.compiler import tile_words
from etchnet.sim.exact import ExactEngine
from etchnet.sim.link import LinkError, LinkTrace
from etchnet.sim.reference import requantise
from etchnet.sim.simulated import AmaranthEngine
from etchnet.sim.timing import ProgramError, check, run_counts, schedule


def parameter_word(config, records):
    size = Parameters.layout(config).size
    return sum(r.encode(config) << lane * size for lane, r in enumerate(records))


def parameter_words(config, channels):
    """Parameters of whole column tiles, channel after channel."""
    n = config.requantisers
    return [parameter_word(config, channels[i : i + n]) for i in range(0, len(channels), n)]


def load(config, passes, drains, parameters=(), weights=None):
    packets = [
        packet(Target.PASSES, pack([p.encode(config) for p in passes], Pass.layout(config).size, config), config),
        packet(Target.DRAINS, pack([d.encode(config) for d in drains], Drain.layout(config).size, config), config),
    ]
    if parameters:
        packed = pack(parameters, word_bits(Target.PARAMETERS, config), config)
        packets.append(packet(Target.PARAMETERS, packed, config))
    if weights is not None:
        packets.append(packet(Target.WEIGHTS, pack_bytes(weights.reshape(len(weights), -1), config), config))
    return packets


def run(config, passes, drains, output_words, repeats=1):
    command = RunCommand(passes=len(passes), drains=len(drains), output_words=output_words, repeats=repeats)
    return packet(Target.RUN, command.words(config), config)


def input_packet(config, words):
    return packet(Target.INPUT, pack_bytes(words, config), config, acquire=True, commit=True)


def counters_packet(config):
    return packet(Target.COUNTERS, np.zeros((0, 1, config.link_bits // 32), np.uint32), config)


def execute(engine, packets, output_words, repeats=1):
    """Result bytes (repeats, output_words, rows), counters, cycle."""
    config = engine.config
    beats = output_words * chunks(8 * config.rows, config) * repeats
    words = engine.exchange(np.concatenate([*packets, counters_packet(config)]), beats + 2 * len(Counter))
    raw = np.ascontiguousarray(words[:beats]).reshape(repeats, output_words, -1).view(np.uint8)[..., : config.rows]
    totals = words[beats:, 0].astype(np.int64)
    return raw, {c: int(totals[2 * c] | totals[2 * c + 1] << 32) for c in Counter}, engine.cycle


def on_both(config, packets, output_words, repeats=1, trace=None):
    exact, rtl = (
        execute(engine(config, trace=trace), packets, output_words, repeats) for engine in (ExactEngine, AmaranthEngine)
    )
    assert np.array_equal(exact[0], rtl[0])
    assert exact[1] == rtl[1]
    assert exact[2] == rtl[2]
    return exact


SMALL = Config(
    rows=4, columns=4, weight_tiles=8, activation_words=32, input_words=16, output_words=32,
    accumulator_rows=16, passes=16, drains=8, parameter_tiles=4,
)  # fmt: skip
PLAIN = Parameters(multiplier=1 << 30, left=1)


def test_max_pooling_by_identity_tiles():
    """Four taps through identity tiles, folded with max; the clamp's bounds are those of int8."""
    config, random = SMALL, np.random.default_rng(0)
    x = int8(random, (12, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, address=tap, step=4, pixels=3, fold=Fold.MAX if tap else Fold.SET,
             wait_input=not tap, wait_output=not tap, release=tap == 3, release_input=tap == 3)
        for tap in range(4)
    ]  # fmt: skip
    drains = [Drain(pixels=3, destination=Destination.OUTPUT, commit=True)]
    passes, drains = schedule(passes, drains, config)
    packets = [*load(config, passes, drains, parameter_words(config, [PLAIN] * 4)), input_packet(config, x),
               run(config, passes, drains, 3)]  # fmt: skip
    got, counts, _ = on_both(config, packets, 3)
    assert np.array_equal(got[0].view(np.int8), x.reshape(3, 4, 4).max(axis=1))
    assert counts == run_counts(passes, drains, config)


def test_depthwise_by_diagonal_tiles():
    config, random = SMALL, np.random.default_rng(1)
    x, taps = int8(random, (6, 4)), int8(random, (2, 4))
    weights = taps.reshape(2, 1, 4)
    passes = [
        Pass(kind=TileKind.DIAGONAL, weights=tap, address=tap, pixels=5, fold=Fold.ADD if tap else Fold.SET,
             wait_input=not tap, wait_output=not tap, release=bool(tap), release_input=bool(tap))
        for tap in range(2)
    ]  # fmt: skip
    drains = [Drain(pixels=5, raw=True, wide=True, low=-(1 << 31), high=(1 << 31) - 1, stride=4,
                    destination=Destination.OUTPUT, commit=True)]  # fmt: skip
    passes, drains = schedule(passes, drains, config)
    packets = [*load(config, passes, drains, parameter_words(config, [Parameters()] * 4), weights),
               input_packet(config, x), run(config, passes, drains, 20)]  # fmt: skip
    got, _, _ = on_both(config, packets, 20)
    sums = x[:5].astype(np.int32) * taps[0] + x[1:].astype(np.int32) * taps[1]
    assert np.array_equal(np.ascontiguousarray(got[0]).view("<i4").reshape(5, 4), sums)


@pytest.mark.parametrize("requantisers", [1, 2, 4])
def test_residual_add_goes_back_into_the_accumulators(requantisers):
    """Each operand through an identity tile and a requantiser into the other bank, then the sum to int8."""
    config = dataclasses.replace(SMALL, requantisers=requantisers)
    random = np.random.default_rng(2)
    a, b = int8(random, (6, 4)), int8(random, (6, 4))
    first = Parameters(bias=3, multiplier=1518500250, left=20, right=1)
    second = Parameters(bias=-7, multiplier=1073741900, left=20, right=2)
    third = Parameters(multiplier=1273741824, right=19)
    unclamped = {"low": -(1 << 31), "high": (1 << 31) - 1}
    groups = config.groups
    passes = [
        Pass(kind=TileKind.IDENTITY, address=0, pixels=6, bank=0, wait_input=True, wait_output=True, release=True),
        Pass(kind=TileKind.IDENTITY, address=6, pixels=6, bank=0, release=True),
        # One pixel into a row that nobody reads: what it is for is its release.
        Pass(kind=TileKind.IDENTITY, address=0, pixels=1, bank=0, row=15, release=True, release_input=True),
    ]
    drains = [
        Drain(bank=0, pixels=6, destination=Destination.ACCUMULATORS, into=1, address=2, **unclamped),
        Drain(bank=0, pixels=6, destination=Destination.ACCUMULATORS, into=1, address=2, fold=Fold.ADD,
              parameters=groups, **unclamped),
        Drain(bank=1, row=2, pixels=6, parameters=2 * groups, zero_point=5, destination=Destination.OUTPUT,
              commit=True),
    ]  # fmt: skip
    passes, drains = schedule(passes, drains, config)
    parameters = parameter_words(config, [first] * 4 + [second] * 4 + [third] * 4)
    packets = [*load(config, passes, drains, parameters), input_packet(config, np.concatenate([a, b])),
               run(config, passes, drains, 6)]  # fmt: skip
    got, counts, _ = on_both(config, packets, 6)
    total = sum(
        requantise(v.astype(np.int64) + p.bias, p.multiplier, p.left, p.right, **unclamped)
        for v, p in ((a, first), (b, second))
    )
    wanted = requantise(total, third.multiplier, third.left, third.right, zero_point=5)
    assert np.array_equal(got[0].view(np.int8), wanted)
    assert counts == run_counts(passes, drains, config)


def streamed_weights(config, tiles, x):
    """Two segments of the weight memory, refilled by turns: each repeat waits for its weights and gives them back."""
    passes = [
        Pass(weights=4 * segment, address=0, pixels=3, bank=segment, wait_weights=True, release_weights=True,
             wait_input=not segment, wait_output=not segment, release=True, release_input=bool(segment))
        for segment in range(2)
    ]  # fmt: skip
    drains = [
        Drain(bank=segment, pixels=3, address=3 * segment, destination=Destination.OUTPUT, commit=bool(segment))
        for segment in range(2)
    ]
    passes, drains = schedule(passes, drains, config)
    packets = [*load(config, passes, drains, parameter_words(config, [Parameters(multiplier=1 << 30, right=7)] * 4)),
               run(config, passes, drains, 6, repeats=2)]  # fmt: skip
    for repeat in range(2):
        packets.append(input_packet(config, x))
        for segment in range(2):
            words = pack_bytes(tile_words(tiles[2 * repeat + segment], config).reshape(4, -1), config)
            packets.append(packet(Target.WEIGHTS, words, config, address=4 * segment, commit=True,
                                  acquire=bool(repeat)))  # fmt: skip
    return packets


def test_weights_come_and_go_while_a_program_runs():
    config, random = SMALL, np.random.default_rng(4)
    tiles, x = int8(random, (4, 4, 4)), int8(random, (3, 4))
    packets = streamed_weights(config, tiles, x)
    for trace in (None, traces(random)):
        got, counts, _ = on_both(config, packets, 6, 2, trace)
        for index, tile in enumerate(tiles):
            sums = x.astype(np.int64) @ tile.astype(np.int64)
            part = got[index // 2, 3 * (index % 2) :][:3].view(np.int8)
            assert np.array_equal(part, requantise(sums, 1 << 30, 0, 7))
        assert counts[Counter.WAIT_IN] > 0


def test_runs_queue_up_behind_each_other():
    """Two programs with different outputs, and the second's parameters loaded while nothing runs: in one exchange."""
    config, random = SMALL, np.random.default_rng(7)
    x = int8(random, (4, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, pixels=pixels, wait_input=True, wait_output=True, release=True, release_input=True)
        for pixels in (4, 1)
    ]
    drains = [Drain(pixels=p.pixels, destination=Destination.OUTPUT, commit=True) for p in passes]
    packets = load(config, passes, drains, parameter_words(config, [PLAIN] * 4))
    for index, p in enumerate(passes):
        command = RunCommand(first_pass=index, first_drain=index, output_words=p.pixels)
        packets += [input_packet(config, x), packet(Target.RUN, command.words(config), config)]
    for trace in (None, LinkTrace(accepts=np.arange(400) % 9 == 0)):
        exact, rtl = (
            engine(config, trace=trace).exchange(np.concatenate(packets), 5) for engine in (ExactEngine, AmaranthEngine)
        )
        wanted = np.concatenate([x, x[:1]]).view(np.uint8)
        assert np.array_equal(exact.view(np.uint8).reshape(5, 4), wanted)
        assert np.array_equal(exact, rtl)


def test_what_ran_before_new_parameters_came_used_the_old_ones():
    config, random = SMALL, np.random.default_rng(8)
    x = int8(random, (3, 4))
    passes = [Pass(kind=TileKind.IDENTITY, pixels=3, wait_input=True, wait_output=True, release=True,
                   release_input=True)]  # fmt: skip
    drains = [Drain(pixels=3, destination=Destination.OUTPUT, commit=True)]
    packets = []
    for bias in (0, 10):
        parameters = parameter_words(config, [dataclasses.replace(PLAIN, bias=bias)] * 4)
        packets += [*load(config, passes, drains, parameters), input_packet(config, x), run(config, passes, drains, 3),
                    counters_packet(config)]  # fmt: skip
    count = 2 * (3 + 2 * len(Counter))
    exact, rtl = (engine(config).exchange(np.concatenate(packets), count) for engine in (ExactEngine, AmaranthEngine))
    assert np.array_equal(exact, rtl)
    second = exact[count // 2 :][:3].view(np.int8).reshape(3, 4)
    assert np.array_equal(second, np.clip(x.astype(int) + 10, -128, 127))


def test_packets_without_words_and_of_no_target():
    config = SMALL
    empty = packet(Target.INPUT, np.zeros((0, 1, 1), np.uint32), config, commit=True)
    for engine in (ExactEngine, AmaranthEngine):
        words = engine(config).exchange(np.concatenate([empty, empty, counters_packet(config)]), 2 * len(Counter))
        assert not words.any()
    unknown = empty.copy()
    unknown[0] = 9
    with pytest.raises(LinkError, match="a packet names target 9; there are 7"):
        ExactEngine(config).exchange(unknown, 0)


def feedback_program(config, x):
    """Two column tiles into rows of the other bank that lie in turns, then to the output: packets and output words."""
    columns = config.columns
    passes = [
        Pass(kind=TileKind.IDENTITY, pixels=6, wait_input=True, wait_output=True, release=True, release_input=True),
        Pass(kind=TileKind.IDENTITY, pixels=1, row=15, source=Source.INPUT, wait_input=True, release=True,
             release_input=True),
    ]  # fmt: skip
    drains = [
        Drain(tiles=2, pixels=3, destination=Destination.ACCUMULATORS, into=1, address=1, stride=2, tile_stride=1),
        Drain(bank=1, row=1, pixels=6, destination=Destination.OUTPUT, commit=True,
              stride=config.words_per_pixel()),
    ]  # fmt: skip
    passes, drains = schedule(passes, drains, config)
    parameters = parameter_words(config, [PLAIN] * columns + [dataclasses.replace(PLAIN, bias=1)] * columns)
    words = 6 * config.words_per_pixel()
    packets = [*load(config, passes, drains, parameters), input_packet(config, x), input_packet(config, x),
               run(config, passes, drains, words)]  # fmt: skip
    return packets, words


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 2), (2, 5)])
def test_feedback_of_several_tiles_lands_where_its_strides_say(rows, columns):
    config = Config(rows=rows, columns=columns, weight_tiles=8, activation_words=32, input_words=16, output_words=64,
                    accumulator_rows=16, passes=16, drains=8, parameter_tiles=4)  # fmt: skip
    x = int8(np.random.default_rng(9), (6, rows))
    packets, words = feedback_program(config, x)
    got, _, _ = on_both(config, packets, words)
    first = x[[0, 3, 1, 4, 2, 5]].astype(int) + [[0], [1]] * 3
    wanted = np.clip(first, -128, 127)[:, : min(rows, columns)]
    assert np.array_equal(got[0].reshape(6, -1).view(np.int8)[:, : min(rows, columns)], wanted)


def test_feedback_waits_for_the_row_that_it_adds_to():
    """Two drains of one row each, the second added to what the first has only just set."""
    config = dataclasses.replace(SMALL, weight_rows=4)
    random = np.random.default_rng(10)
    x = int8(random, (2, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, address=0, row=0, wait_input=True, wait_output=True, release=True),
        Pass(kind=TileKind.IDENTITY, address=1, row=1, release=True),
        Pass(kind=TileKind.IDENTITY, address=0, row=2, release=True, release_input=True),
    ]
    drains = [
        Drain(row=0, destination=Destination.ACCUMULATORS, into=1),
        Drain(row=1, destination=Destination.ACCUMULATORS, into=1, fold=Fold.ADD),
        Drain(bank=1, destination=Destination.OUTPUT, commit=True),
    ]
    passes, drains = schedule(passes, drains, config)
    packets = [*load(config, passes, drains, parameter_words(config, [PLAIN] * 4)), input_packet(config, x),
               run(config, passes, drains, 1)]  # fmt: skip
    got, _, _ = on_both(config, packets, 1)
    assert np.array_equal(got[0, 0].view(np.int8), np.clip(x.sum(axis=0, dtype=int), -128, 127))


def test_counters_may_be_asked_for_in_one_exchange_and_read_in_others():
    for engine in (ExactEngine, AmaranthEngine):
        machine = engine(SMALL)
        assert len(machine.exchange(counters_packet(SMALL), 0)) == 0
        assert not machine.exchange(np.zeros((0, 1), np.uint32), 5).any()
        assert not machine.exchange(counters_packet(SMALL), 2 * len(Counter) - 5).any()
        assert not machine.exchange(np.zeros((0, 1), np.uint32), 2 * len(Counter)).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([3, 40, *range(40)], "a WEIGHTS packet writes word 39; the last is 31"),
        ([3, 4, 0], "a packet of 4 link words ends after 1"),
        ([3], "a packet ends within its header"),
        ([5, 6, 0, 0, 0, 1, 1, 1], "a RUN packet carries .0, 0, 0, 1, 1, 1."),
    ],
)
def test_damaged_packets_are_refused(words, message):
    with pytest.raises(LinkError, match=message):
        ExactEngine(SMALL).exchange(np.array(words, np.uint32)[:, None], 0)


@st.composite
def chains(draw):
    """A machine, and the parts of a random program on it: groups of passes, each with its drain."""
    config = draw(configs(largest=5))
    groups = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5))
    return config, groups


def chain_program(chain, random):
    """Random folds, tiles, sources and destinations: config, passes, drains, packets, output words and repeats."""
    config, groups = chain
    contract = CONTRACTS[int(random.integers(len(CONTRACTS)))]
    config = dataclasses.replace(config, output_words=1024, input_words=64, contract=contract)
    passes, drains, words, written = [], [], 0, 0
    for number, (pixels, tiles, depth) in enumerate(groups):
        tiles = min(tiles, config.accumulator_rows // pixels)
        last = number == len(groups) - 1
        bank = int(random.integers(2))
        for level in range(depth):
            for tile in range(tiles):
                from_activation = bool(written >= pixels and random.random() < 0.5)
                passes.append(
                    Pass(
                        kind=TileKind(int(random.integers(3))),
                        weights=int(random.integers(config.weight_tiles)) * config.load_cycles,
                        source=Source.ACTIVATION if from_activation else Source.INPUT,
                        address=int(random.integers(written - pixels + 1 if from_activation else 20)),
                        step=1 if from_activation else int(random.integers(1, 4)),
                        pixels=pixels,
                        bank=bank,
                        row=tile * pixels,
                        fold=Fold(int(random.integers(1, 3))) if level else Fold.SET,
                        useful=int(random.integers(config.multipliers + 1)),
                        release=level == depth - 1 and tile == tiles - 1,
                        wait_input=not passes,
                        release_input=last and level == depth - 1 and tile == tiles - 1,
                        wait_output=last and level == depth - 1 and tile == tiles - 1,
                    )
                )
        wide = last and bool(random.integers(2))
        size = config.words_per_pixel(wide=wide)
        shape = {"tiles": tiles, "pixels": pixels, "bank": bank, "stride": size, "tile_stride": size * pixels}
        parameters = int(random.integers(8)) * config.groups
        if last:
            words = size * pixels * tiles
            drains.append(Drain(**shape, wide=wide, raw=wide, low=-(1 << 31) if wide else -128,
                                high=(1 << 31) - 1 if wide else 127, parameters=parameters,
                                destination=Destination.OUTPUT, commit=True))  # fmt: skip
        else:
            low, high = sorted(int(v) for v in random.integers(-128, 128, 2))
            # Words next to each other, so that what is written has no gaps.
            lanes = config.tiles_per_word
            filled = -(-tiles // lanes) * size * pixels
            if written + filled > config.activation_words:
                written = 0
            drains.append(Drain(**shape, low=low, high=high, zero_point=int(random.integers(-128, 128)),
                                parameters=parameters, address=written))  # fmt: skip
            written += filled
    # Lanes that no tile has written keep what was there before: give every program's first words all lanes.
    if config.tiles_per_word > 1 and any(p.source == Source.ACTIVATION for p in passes):
        passes = [dataclasses.replace(p, source=Source.INPUT, address=0, step=1) for p in passes]
    passes, drains = schedule(passes, drains, config)
    channels = [
        Parameters(
            bias=int(random.integers(-(1 << 16), 1 << 16)), multiplier=int(random.integers(1 << 31)),
            left=int(random.integers(3)), right=int(random.integers(12)),
        )
        for _ in range(11 * config.columns)
    ]  # fmt: skip
    weights = int8(random, (config.weight_words, config.weight_rows, config.columns))
    repeats = int(random.integers(1, 4))
    packets = [*load(config, passes, drains, parameter_words(config, channels), weights),
               run(config, passes, drains, words, repeats)]  # fmt: skip
    packets += [input_packet(config, int8(random, (config.input_words, config.rows))) for _ in range(repeats)]
    check(passes, drains, config, repeats=repeats)
    return config, passes, drains, packets, words, repeats


@settings(max_examples=30)
@given(chains(), randoms())
def test_random_programs_agree(chain, random):
    """Outputs, counters and cycles of both engines, links stalling."""
    config, passes, drains, packets, words, repeats = chain_program(chain, random)
    _, counts, _ = on_both(config, packets, words, repeats, traces(random))
    waits = counts[Counter.WAIT_IN] + counts[Counter.WAIT_OUT]
    unstalled = run_counts(passes, drains, config, repeats=repeats)
    for counter, value in unstalled.items():
        if counter not in (Counter.CYCLES, Counter.WAIT_IN, Counter.WAIT_OUT):
            assert counts[counter] == value
    assert counts[Counter.CYCLES] == unstalled[Counter.CYCLES] + waits


@pytest.mark.campaign
@settings(settings.get_profile("campaign"), max_examples=500)
@given(chains(), randoms())
def test_campaign_of_random_programs(chain, random):
    """500 programs, new ones each time; as many walks are in `test_walks`."""
    config, _, _, packets, words, repeats = chain_program(chain, random)
    on_both(config, packets, words, repeats, traces(random))


def two_passes():
    passes = [
        Pass(address=0, pixels=2, bank=0, wait_input=True, wait_output=True, release=True),
        Pass(address=0, pixels=2, source=Source.ACTIVATION, bank=1, release=True, release_input=True),
    ]
    drains = [Drain(bank=0, pixels=2), Drain(bank=1, pixels=2, destination=Destination.OUTPUT, commit=True)]
    return passes, drains


def test_idle_cycles_are_needed_to_the_last():
    """One cycle less, and the program is refused: the pass would read a word in the cycle that writes it."""
    passes, drains = two_passes()
    passes, drains = schedule(passes, drains, SMALL)
    check(passes, drains, SMALL, repeats=2)
    waiting = passes[1]
    assert waiting.idle > 0
    hasty = [passes[0], dataclasses.replace(waiting, idle=waiting.idle - 1)]
    with pytest.raises(ProgramError, match="pass 1 starts 1 cycles before it may"):
        check(hasty, drains, SMALL, repeats=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, d: ([p[0], dataclasses.replace(p[1], release=False)], d), "must end with a pass that releases"),
        (lambda p, d: (p, d[1:]), "2 passes release 1 drains"),
        (lambda p, d: (p, [*d, d[1]]), "2 passes release 3 drains"),
        (
            lambda p, d: ([dataclasses.replace(p[0], wait_output=False), p[1]], d),
            "writes the output memory, which no pass has waited",
        ),
        (lambda p, d: ([dataclasses.replace(p[0], wait_input=False), p[1]], d), "pass 0 reads the input memory, which"),
        (lambda p, d: ([dataclasses.replace(p[0], fold=Fold.ADD), p[1]], d), "accumulators that the program has not"),
        (lambda p, d: ([dataclasses.replace(p[0], pixels=0), p[1]], d), "pass 0 must have at least 1 pixel, not 0"),
        (
            lambda p, d: ([dataclasses.replace(p[0], weights=29), p[1]], d),
            "pass 0 reads weight word 32; the last is 31",
        ),
        (
            lambda p, d: ([p[0], dataclasses.replace(p[1], wait_output=True)], d),
            "waits for a second half of the output",
        ),
        (lambda p, d: (p, [dataclasses.replace(d[0], tiles=0), d[1]]), "drain 0 must have at least 1 tile and 1 pixel"),
        (lambda p, d: (p, [dataclasses.replace(d[0], parameters=4), d[1]]), "reads parameter word 4; the last is 3"),
        (lambda p, d: (p, [dataclasses.replace(d[0], lane=1), d[1]]), "drain 0 has lane 1; the last is 0"),
        (lambda p, d: (p, [dataclasses.replace(d[0], low=5, high=4), d[1]]), "drain 0 clamps to 5..4"),
        (lambda p, d: (p, [dataclasses.replace(d[0], commit=True), d[1]]), "commits an output; only the last may"),
        (lambda p, d: (p, [d[0], dataclasses.replace(d[1], commit=False)]), "must end with a pass that releases"),
        (lambda p, d: ([p[0], dataclasses.replace(p[1], address=1)], d), "reads activation words that the program"),
        (lambda p, d: ([dataclasses.replace(p[0], address=15), p[1]], d), "pass 0 reads beyond the input memory"),
        (lambda p, d: ([dataclasses.replace(p[0], row=15), p[1]], d), "folds into accumulator row 16; the last is 15"),
        (lambda p, d: (p, [dataclasses.replace(d[0], address=31), d[1]]), "writes activation word 32; the last is 31"),
        (lambda p, d: (p, [d[0], dataclasses.replace(d[1], address=31)]), "writes output word 32; the last is 31"),
        (lambda p, d: (p, [dataclasses.replace(d[0], pixels=3), d[1]]), "reads rows of bank 0 that the program has"),
        (lambda p, d: (p, [dataclasses.replace(d[0], pixels=17), d[1]]), "reads beyond the accumulators"),
    ],
)
def test_programs_that_cannot_run_are_refused(change, message):
    passes, drains = change(*two_passes())
    patient = [dataclasses.replace(p, idle=99) for p in passes]
    with pytest.raises(ProgramError, match=message):
        check(patient, drains, SMALL, repeats=1)
