"""The wiring of the machine: which memory each drain writes, its tokens, counters and status."""

import dataclasses
from itertools import groupby

import numpy as np
import pytest
from support import rtl
from support.programs import PLAIN, counters_packet, input_packet, load, parameter_words, run
from support.strategies import int8

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Counter, Destination, Drain, Pass, Source, Target, TileKind, pack_bytes, packet
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.weight_tiles import tile_words

MEMORIES = {
    "weight_tiles": 2,
    "activation_words": 16,
    "input_words": 16,
    "output_words": 32,
    "accumulator_rows": 32,
    "passes": 8,
    "drains": 8,
    "parameter_tiles": 2,
}
TOKENS = ("input_free", "input_full", "output_free", "output_full", "weights_free", "weights_full")
FLAGS = ("running", "run_pending", "run_done", "counters_pending")


def exchange(machine, packets, count, random):
    """Send packets, and take `count` words whenever the bench is ready: (word, last, answer) of each, and the status.

    The status of a cycle is a dictionary of its flags and tokens. In every cycle the classes add up to all cycles.
    """
    words, history = [int(word) for p in packets for word in p[:, 0]], []

    def bench():
        received = []
        while len(received) < count:
            ready = int(random.random() < 0.8)
            inputs = {"link_in.valid": bool(words), "link_in.payload": words[0] if words else 0}
            seen = yield inputs | {"link_out.ready": ready}
            history.append({name: seen[f"status.{name}"] for name in (*FLAGS, *TOKENS)})
            counters = [seen[f"status.counters.{c.value}"] for c in Counter]
            assert counters[Counter.CYCLES] == sum(counters) - counters[Counter.CYCLES] - counters[Counter.USEFUL]
            if words and seen["link_in.ready"]:
                words.pop(0)
            if ready and seen["link_out.valid"]:
                received.append((seen["link_out.payload"], seen["status.last"], seen["status.answer"]))
        assert not words
        return received

    return rtl.run(machine, bench(), cycles=2000), history


@pytest.mark.parametrize("residual_words", [0, 16])
def test_a_program_with_every_destination_and_token(residual_words):
    """Inputs go to the activation memory and to another one; then all words of both are sent, and in the end counters.

    The former pass the accumulators twice. No drain writes another word than its own. The program runs twice, once in
    each half of the memories of the links. The first pass waits for weights, the last one permits further ones. Two
    tiles share a word of the machine without residuals; there the other memory is the output memory.
    """
    rows, columns = (3, 3) if residual_words else (4, 2)
    config = Config(rows=rows, columns=columns, residual_words=residual_words, **MEMORIES)
    tiles, x = config.tiles_per_word, int8(np.random.default_rng(0), (2, 16, rows))
    identity = {"kind": TileKind.IDENTITY, "step": 1}
    passes = [
        Pass(pixels=5, release=True, useful=3, wait_input=True, wait_output=True, wait_weights=True, **identity),
        Pass(pixels=5, address=5, bank=1, release=True, release_input=True, **identity),
        Pass(pixels=16, source=Source.ACTIVATION, **identity),
        Pass(pixels=16, source=Source.ACTIVATION, step=1, row=16, release=True, release_weights=True),
    ]
    output = {"pixels": 16, "destination": Destination.OUTPUT}
    other = {"address": 2, "destination": Destination.RESIDUAL} if residual_words else {"address": 18} | output
    drains = [
        Drain(pixels=5, address=8, destination=Destination.ACCUMULATORS),
        Drain(pixels=5, row=8, chained=True, idle=12, address=3, lane=tiles - 1),
        Drain(**other | {"pixels": 5}, bank=1),
        Drain(tiles=tiles, shared=True, commit=not residual_words, **output),
        *[Drain(chained=True, idle=9, residual=True, address=16, commit=True, **output)] * bool(residual_words),
    ]
    passes = [dataclasses.replace(p, idle=60) for p in passes]  # words that were not written are read
    last_channels = tile_words(np.eye(rows, columns, k=columns - rows, dtype=np.int8), config)
    weights = pack_bytes(last_channels.reshape(len(last_channels), -1), config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [PLAIN] * columns)),
        packet(Target.WEIGHTS, weights, config, commit=True),
        input_packet(config, x[0]),
        input_packet(config, x[1]),
        run(config, passes, drains, 32),
        run(config, passes, drains, 32),
        packet(Target.WEIGHTS, weights, config, acquire=True, commit=True),
        counters_packet(config),
        counters_packet(config),
    ]
    random, end = np.random.default_rng(1), 64 + 2 * len(Counter)
    received, history = exchange(Machine(config, status=True), packets, end + 2 * len(Counter), random)
    words, last, answer = zip(*received, strict=True)
    assert [index for index, is_last in enumerate(last) if is_last] == [31, 63, end - 1, 2 * end - 65]
    assert [index for index, is_counter in enumerate(answer) if is_counter] == [*range(64, len(words))]

    wanted = np.zeros((2, 32, tiles, columns), np.int8)
    wanted[:, 3:8, -1], wanted[:, 18:23, 0] = x[:, :5, :columns], x[:, 5:10, :columns]
    results = np.array(words[:64], "<u4").view(np.int8).reshape(64, 4)[:, :rows]
    assert np.array_equal(results.reshape(wanted.shape), wanted)

    totals = [low | high << 32 for low, high in zip(words[64:end:2], words[65:end:2], strict=True)]
    assert totals[Counter.CYCLES] == sum(status["running"] for status in history)
    assert (totals[Counter.ISSUE], totals[Counter.USEFUL]) == (84, 30)
    assert totals[Counter.REQUANTISE] == 2 * 16 * (tiles + bool(residual_words))
    assert not any(words[end:])
    changes = {name: [value for value, _ in groupby(status[name] for status in history)] for name in history[0]}
    # Both inputs wait before the first run starts.
    assert (changes["input_free"], changes["input_full"]) == ([2, 1, 0, 1, 2], [0, 1, 2, 1, 0])
    for name, values in {"output": [2, 1, 2, 1, 2], "weights": [0, 1, 0, 1]}.items():
        assert (changes[f"{name}_free"], changes[f"{name}_full"]) == (values, [0, 1, 0, 1, 0])
    assert all(changes[name] == [0, 1, 0, 1, 0] for name in FLAGS[:3])
    # A run is done in its last cycle, and pending until the cycle before its first.
    for now, after in zip(history, history[1:], strict=False):
        assert now["run_done"] == (now["running"] and not after["running"])
        assert (now["run_pending"] and not after["run_pending"]) == (after["running"] and not now["running"])
    assert changes["counters_pending"] == [0, 1, 0, 1]
