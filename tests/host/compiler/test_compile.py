"""The compiler's stages: the result of each, against what the network and the machine imply."""

import dataclasses

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import PIPELINE, Stage, compile_network, compile_stages, dump_after
from etchnet.host.compiler.dump import as_text
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Add, AveragePool, Conv, Dense, Depthwise, NetworkError, Reshape
from etchnet.host.network.network import INPUT, Network

CONFIG = Config(
    rows=8,
    columns=8,
    accumulator_rows=32,
    weight_tiles=256,
    activation_words=1024,
    input_words=512,
    output_words=64,
    passes=512,
    drains=256,
    residual_words=128,
    depthwise=2,
)
SAME = ((1, 1), (1, 1))
NAMES = [stage.name for stage in PIPELINE]


@pytest.fixture(scope="module")
def network():
    """Return a convolution, a depthwise layer, an addition, a pool, a reshape that moves nothing and a classifier."""
    random = np.random.default_rng(0)

    def conv(kernel, channels_in, channels_out, padding=SAME):
        return Conv.from_scale(int8(random, (kernel, kernel, channels_in, channels_out)), scale=0.01, padding=padding)

    layers = [
        conv(3, 3, 12),
        Depthwise.from_scale(int8(random, (3, 3, 12, 1)), scale=0.01, padding=SAME),
        conv(1, 12, 12, ((0, 0), (0, 0))),
        Add.from_scales((0.5, 0.3), 0.7, zero_points=(3, -4)),
        AveragePool((6, 6)),
        Reshape((1, 1, 12)),
        Dense.from_scale(int8(random, (12, 5)), scale=0.01),
    ]
    return Network(layers, (6, 6, 3), [[INPUT], [0], [1], [0, 2], [3], [4], [5]])


@pytest.fixture(scope="module")
def dumps(network):
    """Return the dump of every stage, by its name."""
    return {name: dump_after(name, network, CONFIG, packed="row") for name in NAMES}


def column(table, name):
    return [row[name] for row in table]


def test_the_stages_are_those_that_the_documentation_lists():
    assert NAMES == [
        "strip_reshapes",
        "arrange",
        "lower",
        "fuse",
        "allocate",
        "choose_orders",
        "emit",
        "synchronise",
        "schedule",
        "check",
    ]
    assert all(stage.run.__doc__ for stage in PIPELINE)


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_can_be_dumped_as_text(name, dumps):
    text = as_text(dumps[name])
    assert text.splitlines()[0] == f"stage: {name}"
    tables = {key: value for key, value in dumps[name].items() if isinstance(value, list) and value}
    for key, rows in tables.items():
        if isinstance(rows[0], dict):
            assert f"{key}: {len(rows)}" in text.splitlines()


def test_strip_reshapes_removes_the_reshape_before_the_classifier(dumps):
    layers = dumps["strip_reshapes"]["layers"]
    assert column(layers, "layer") == [0, 1, 2, 3, 4, 6]
    assert column(layers, "reads") == [["input"], [0], [1], [0, 2], [3], [4]]
    assert column(layers, "result") == [*["6 x 6 x 12"] * 4, "1 x 1 x 12", "1 x 1 x 5"]


def test_im2col_makes_channels_of_the_taps_of_a_row(dumps):
    found = dumps["arrange"]
    assert found["im2col"] == "row"
    assert found["tensors"] == [
        {"tensor": "input", "lines": "6 of (0), 1 apart", "columns": "6 of (-1, 0, 1), 1 apart", "shape": "6 x 6 x 9"}
    ]


def test_lower_gives_each_layer_its_taps(dumps):
    parts = dumps["lower"]["parts"]
    assert column(parts, "layer") == [0, 1, 2, 4, 6]
    assert column(parts, "taps") == [[3], [9], [1], [36], [1]]
    assert column(parts, "pixels") == ["6 x 6", "6 x 6", "6 x 6", "1 x 1", "1 x 1"]
    assert column(parts, "weights") == ["stored", "stored", "stored", "ones", "stored"]
    assert dumps["lower"]["additions"] == [{"layer": 3, "reads": [0, 2]}]


def test_fuse_puts_the_addition_into_the_layer_before_it(dumps):
    groups = dumps["fuse"]["groups"]
    assert column(groups, "layer") == [0, 1, 2, 4, 6]
    assert column(groups, "result") == [0, 1, 3, 4, 6]
    assert column(groups, "fused_addition") == [None, None, 3, None, None]
    assert column(groups, "residual") == [None, None, 0, None, None]


def test_additions_are_fused_only_if_the_residual_memory_has_room(network):
    # 36 pixels of 2 column tiles.
    for words, fused in ((72, True), (71, False), (0, False)):
        groups = dump_after("fuse", network, dataclasses.replace(CONFIG, residual_words=words))["groups"]
        assert (3 in column(groups, "layer")) == (not fused)
        assert (3 in column(groups, "fused_addition")) == fused


def test_allocate_keeps_tensors_that_are_needed_at_once_apart(dumps):
    found = dumps["allocate"]
    words = {(row["tensor"], row["memory"]): row["words"] for row in found["tensors"]}
    # Per pixel, 12 channels take 2 words of 8, the result takes 1 word, and the 9 input channels take 2 words.
    assert words == {
        ("input", "input"): 72,
        (0, "activation"): 72,
        (1, "activation"): 72,
        (3, "activation"): 72,
        (4, "activation"): 2,
        (6, "output"): 1,
        (0, "residual"): 72,
    }
    spans = {row["tensor"]: range(row["first_word"], row["first_word"] + row["words"]) for row in found["tensors"]}
    assert not set(spans[1]) & set(spans[3])  # one is read while the other is written
    assert found["activation_words"] == 144
    assert found["residual_words"] == 72


def test_choose_orders_names_an_order_for_each_group(dumps):
    orders = dumps["choose_orders"]["orders"]
    assert column(orders, "layer") == column(dumps["fuse"]["groups"], "layer")
    assert dict(zip(column(orders, "layer"), column(orders, "method"), strict=True))[1] == "window"
    assert all(row["rows"] <= CONFIG.accumulator_rows for row in orders)


def test_emit_computes_every_pixel_of_every_column_tile_once(dumps):
    found = dumps["emit"]
    # 3 taps of 2 words, 2 column tiles; 12 channels of 9 taps in windows of 2 x 2; 1 x 1; and the classifier.
    tiles = {0: 3 * 2 * 2, 1: 4 * 2, 2: 2 * 2, 6: 2 * 1}
    assert found["weight_words"] == sum(tiles.values()) * CONFIG.load_cycles
    firsts = {(p["layer"], p["tile"], p["pixel"]) for p in found["passes"] if p["layer"] == 0}
    assert {tile for _, tile, _ in firsts} == {0, 1}
    first_layer = [p for p in found["passes"] if p["layer"] == 0]
    assert sum(p["pixels"] for p in first_layer) == 3 * 2 * 2 * 36
    written = [d for d in found["drains"] if d["layer"] == 0 and d["destination"] == "activation"]
    assert sum(d["pixels"] * d["tiles"] for d in written) == 36 * 2
    assert sum(p["release"] for p in found["passes"]) == sum(not d["chained"] for d in found["drains"])


def test_synchronise_marks_the_first_and_last_use_of_input_and_output(dumps):
    found, passes = dumps["synchronise"], dumps["emit"]["passes"]
    flags = {flag: row["pass"] for row in found["passes"] for flag in row["flags"]}
    reading = [p["pass"] for p in passes if p["source"] == "input"]
    assert flags == {
        "wait_input": 0,
        "release_input": reading[-1],
        "wait_output": min(p["pass"] for p in passes if p["layer"] == 6 and p["release"]),
    }
    assert found["commits"] == [len(dumps["emit"]["drains"]) - 1]


def test_schedule_adds_the_idle_cycles_that_the_counters_show(dumps, network):
    found, counts = dumps["schedule"], compile_network(network, CONFIG, packed="row").counts()
    assert found["idle_requantise"] <= counts[Counter.REQUANTISE]
    assert found["idle"] == sum(column(found["passes"], "idle"))
    assert dumps["check"]["useful"] == network.multiplications == counts[Counter.USEFUL]
    assert dumps["check"]["cycles"] == counts[Counter.CYCLES]


def test_the_last_stage_is_the_program(network):
    states = compile_stages(network, CONFIG, packed="row")
    program = compile_network(network, CONFIG, packed="row")
    assert list(states) == NAMES
    assert list(states["check"].code.passes) == program.passes
    assert list(states["emit"].code.passes) != program.passes  # a stage does not modify earlier states
    assert "5 fusion groups" in repr(states["fuse"])
    assert f"{len(program.passes)} passes" in repr(states["check"].code)


def test_stages_before_emit_can_be_dumped_if_the_program_does_not_fit(network):
    config = dataclasses.replace(CONFIG, passes=4)
    with pytest.raises(CapacityError, match="passes = 4"):
        compile_network(network, config)
    assert dump_after("fuse", network, config)["groups"]


def test_a_stage_can_be_added(network):
    """A stage that changes nothing runs once for each choice that is timed, and can be dumped like all others."""
    seen = []

    def note_groups(state):
        seen.append(len(state.groups))
        return state

    at = NAMES.index("allocate")
    pipeline = (*PIPELINE[:at], Stage(note_groups, lambda state: {"groups": len(state.groups)}), *PIPELINE[at:])
    program = compile_network(network, CONFIG, pipeline=pipeline)
    assert set(seen) == {5}
    assert program.passes == compile_network(network, CONFIG).passes
    assert dump_after("note_groups", network, CONFIG, pipeline=pipeline) == {"stage": "note_groups", "groups": 5}


def test_less_thorough_searches_give_the_same_results(network):
    x = int8(np.random.default_rng(1), (2, network.input_size))
    for thorough in (True, False):
        accelerator = Accelerator(CONFIG)
        accelerator.load_program(compile_network(network, CONFIG, thorough=thorough))
        assert np.array_equal(accelerator.run(x), network.reference(x))


def test_variants_that_do_not_fit_are_skipped(network):
    """Of the three variants, only the plain one has an input of at most 36 words."""
    program = compile_network(network, dataclasses.replace(CONFIG, input_words=64))
    assert program.im2col.name == "none"
    with pytest.raises(CapacityError, match=r"input_words = 64 \(128 is enough\)"):
        compile_network(network, dataclasses.replace(CONFIG, input_words=64), packed="row")


def test_impossible_requests_are_refused(network):
    with pytest.raises(CapacityError, match="batch must be at least 1, not 0"):
        compile_network(network, CONFIG, batch=0)
    with pytest.raises(
        NetworkError, match="packed must be none or row or whole or block for this network, not 'column'"
    ):
        compile_network(network, CONFIG, packed="column")


def test_programs_have_a_line_and_a_table(network):
    program = compile_network(network, CONFIG)
    assert "\n" not in repr(program)
    assert f"{len(program.passes)} passes" in repr(program)
    page = program._repr_html_()
    assert page.count("<tr>") == 1 + len(program.orders)
    assert "<td>Depthwise</td>" in page
