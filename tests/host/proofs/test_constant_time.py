"""The proof of constant time: it holds for the machine, in every top, and rejects every leaky machine."""

import dataclasses
import random

import pytest

from etchnet.hdl.blocks.technology import Ecp5, Ice40
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.proofs.boundaries import BOUNDARIES
from etchnet.host.proofs.leaks import LEAKS

pytest.importorskip("bitwuzla")

from etchnet.host.proofs.constant_time import analyse, prove_constant_time

SMALL = Config(rows=1, columns=1, weight_tiles=2, passes=2, drains=2, accumulator_rows=4, activation_words=2)
MACHINES = {
    "link": {"rows": 4, "columns": 4, "depthwise": 2, "requantisers": 1},
    "axi": {
        "rows": 3,
        "columns": 3,
        "link_bits": 96,
        "memory_latency": 2,
        "product_latency": 2,
        "contract": "tflite-single",
    },
    "tinytapeout": {"rows": 1, "columns": 1, "residual_words": 0, "link_bits": 64},
    "uart": {
        "rows": 4,
        "columns": 2,
        "weight_rows": 2,
        "memory_latency": 3,
        "multiplier_latency": 2,
        "contract": "onnx-float",
    },
}


@pytest.mark.parametrize("top", BOUNDARIES)
def test_time_does_not_depend_on_data(top):
    proof = prove_constant_time(Machine(Config(**MACHINES[top]), status=True), top=top)
    assert proof.holds, proof.detail


def test_only_the_data_path_holds_data():
    config = Config(rows=2, columns=2)
    findings = analyse(Machine(config, status=True))
    control = ("sequencer", "passes", "drains", "sender", "tokens", "runs", "counters", "fold_router", "row_reader")
    assert {block: findings.registers[block][1] for block in control} == dict.fromkeys(control, 0)
    # Of the loader, the link word on its way to a memory; of the reader of pixels, the vector that it delivers.
    assert findings.registers["loader"][1] == config.link_bits
    assert findings.registers["pixel_reader"][1] == 8 * config.rows
    assert all("passes" not in name and "drains" not in name for name in findings.data_memories)
    assert {name.split(".")[0] for name in findings.data_memories} == {
        "input", "weights", "activation", "residual", "results", "bank_0", "bank_1", "output"
    }  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_leaky_machine_is_rejected(leak):
    proof = prove_constant_time(leak.build(SMALL))
    assert not proof.holds
    assert "depend" in proof.detail or "format of packets" in proof.detail


def machines(seed, count):
    """Return random machines: every field takes several values."""
    rng, found = random.Random(seed), []
    choices = {
        "rows": [1, 2, 3, 4, 6, 8, 9, 16],
        "columns": [1, 2, 3, 4, 5, 8, 9, 16],
        "weight_rows": [1, 1, 2, 3, 4],
        "requantisers": [1, 2, None],
        "weight_tiles": [1, 5, 1152],
        "activation_words": [2, 5, 4096],
        "input_words": [2, 8, 1024],
        "output_words": [2, 8, 1024],
        "accumulator_rows": [4, 7, 256],
        "passes": [2, 5, 2048],
        "drains": [2, 3, 512],
        "parameter_tiles": [1, 3, 128],
        "residual_words": [0, 6, None],
        "depthwise": [0, 2, None],
        "line_words": [16, 512],
        "link_bits": [32, 64, 96, 256, 512],
        "multiplier_latency": [1, 2, 5],
        "memory_latency": [1, 2, 3, 4],
        "product_latency": [1, 3, 5],
        "contract": list(CONTRACTS),
    }
    assert choices.keys() == {field.name for field in dataclasses.fields(Config)}
    while len(found) < count:
        try:
            found.append(Config(**{name: rng.choice(values) for name, values in choices.items()}))
        except ConfigError:
            continue
    return found


@pytest.mark.campaign
@pytest.mark.parametrize("technology", [Ecp5(), Ice40(4)], ids=lambda technology: technology.name)
@pytest.mark.parametrize("latency", [1, 2, 3])
def test_time_does_not_depend_on_data_with_primitives_of_a_device(technology, latency):
    config = Config(rows=4, columns=4, multiplier_latency=2, memory_latency=latency, product_latency=latency)
    proof = prove_constant_time(Machine(config, status=True), technology=technology)
    assert proof.holds, proof.detail


@pytest.mark.campaign
@pytest.mark.parametrize("top", BOUNDARIES)
@pytest.mark.parametrize("config", machines(1, 40), ids=str)
def test_time_does_not_depend_on_data_of_any_machine(config, top):
    proof = prove_constant_time(Machine(config, status=True), top=top)
    assert proof.holds, proof.detail
