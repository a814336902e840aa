"""Whole machines with each contract: engines agree, and layers made for another contract are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from support.programs import amaranth_engine
from support.strategies import int8, randoms

from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense, NetworkError
from etchnet.host.network.network import Network
from etchnet.sim.arithmetic.contracts import contract_of
from etchnet.sim.engines.exact import ExactEngine


def machine(contract, **options):
    sizes = {
        "rows": 3,
        "columns": 4,
        "weight_tiles": 12,
        "activation_words": 16,
        "input_words": 16,
        "output_words": 32,
        "accumulator_rows": 16,
        "passes": 16,
        "drains": 8,
        "parameter_tiles": 8,
    }
    return Config(contract=contract, **sizes | options)


def expected(contract, sums, scale, **options):
    rule = contract_of(contract)
    multiplier, shift = np.array([rule.quantise(float(s)) for s in scale]).T
    return rule.requantise(sums, multiplier, np.maximum(shift, 0), np.maximum(-shift, 0), **options)


@pytest.mark.parametrize(("contract", "requantisers"), list(zip(CONTRACTS, (1, 2, 4), strict=True)), ids=CONTRACTS)
@settings(max_examples=2)
@given(random=randoms())
def test_engines_agree_and_equal_the_contract(contract, requantisers, random):
    """Two layers have biases at ties and beyond 24 bits; int32 sums on the same machine stay exact."""
    config = machine(contract, requantisers=requantisers)
    x, w, w2 = (int8(random, shape) for shape in ((6, 7), (7, 6), (6, 3)))
    scale = np.exp2(random.integers(-22, -6, 6)) * random.choice([1, 1, 1.25, 1.7], 6)
    bias = np.rint((random.integers(-120, 120, 6) + 0.5) / scale).astype(np.int64) - x[0].astype(np.int64) @ w
    layers = [
        Dense.from_scale(w, bias, scale=scale, zero_point=-3, contract=contract),
        Dense.from_scale(w2, scale=0.011, input_zero_point=-3, low=0, contract=contract),
    ]
    hidden = expected(contract, x.astype(np.int64) @ w + bias, scale, zero_point=-3)
    sums = (hidden + 3) @ w2.astype(np.int64)
    wanted = expected(contract, sums, [0.011] * 3, low=0)
    results, counts = [], []
    for engine in (ExactEngine(config), amaranth_engine(config)):
        accelerator = Accelerator(engine=engine)
        accelerator.load(Network(layers, contract=contract), batch=2)
        assert np.array_equal(accelerator.run(x), wanted)
        counts.append(accelerator.counts)
        results.append(accelerator.matmul(x, w))
        counts.append(accelerator.counts)
    assert np.array_equal(results[0], x.astype(np.int64) @ w)
    assert np.array_equal(results[0], results[1])
    assert counts[:2] == counts[2:]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_products_are_rounded_by_the_contract_of_the_machine(contract):
    x = np.array([[3], [-3], [5], [-5], [4], [-4], [1], [-1]], np.int8)
    wanted = {
        "tflite-double": [1, 0, 1, -1, 1, -1, 0, 0],
        "tflite-single": [0, 0, 1, -1, 1, 0, 0, 0],
        "onnx-float": [0, 0, 1, -1, 0, 0, 0, 0],
    }
    for engine in ("exact", "amaranth"):
        accelerator = Accelerator(machine(contract), engine=engine)
        got = accelerator.matmul_relu(x, np.ones((1, 1), np.int8), scale=1 / 8, relu=False)
        assert got[:, 0].tolist() == wanted[contract]
    # If the product is cut along K, the host rounds, under the same contract.
    x, w = np.repeat(x, 80, axis=1), np.ones((80, 1), np.int8)
    got = Accelerator(machine(contract)).matmul_relu(x, w, scale=1 / 640, relu=False)
    assert np.array_equal(got, expected(contract, x.astype(np.int64) @ w, [1 / 640]))


def test_contracts_with_more_stages_only_take_more_cycles():
    x, w = np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)
    cycles, latencies = [], []
    for contract in CONTRACTS:
        accelerator = Accelerator(machine(contract))
        accelerator.matmul_relu(x, w, scale=0.5)
        cycles.append(accelerator.counts[Counter.CYCLES])
        latencies.append(OutputStage.latency(accelerator.config))
    assert latencies[0] < latencies[1] < latencies[2]
    assert np.diff(cycles).tolist() == np.diff(latencies).tolist()


def test_a_network_is_refused_by_a_machine_with_another_contract():
    w = np.ones((3, 4), np.int8)
    network = Network([Dense.from_scale(w, scale=0.5, contract="tflite-single")], contract="tflite-single")
    with pytest.raises(NetworkError, match="must have the network's contract, tflite-single, not onnx-float"):
        compile_network(network, machine("onnx-float"))
    # Sums are not rounded.
    compile_network(Network([Dense(w)], contract="tflite-single"), machine("onnx-float"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"multiplier": 1 << 30, "contract": "tflite"}, "contract must be one of tflite-double, .*, not 'tflite'"),
        ({"contract": "tflite"}, "contract must be one of tflite-double, .*, not 'tflite'"),
        ({"multiplier": 1 << 30, "shift": 31, "contract": "tflite-single"}, "must be at most 30, not 31"),
        ({"multiplier": 12345, "contract": "onnx-float"}, "must be 0 or a multiple of 128"),
    ],
)
def test_layers_that_cannot_exist_are_refused(values, message):
    contract = values.pop("contract")
    with pytest.raises(NetworkError, match=message):
        Network([Dense(np.ones((3, 4), np.int8), **values)], contract=contract)


def test_a_saved_network_keeps_its_contract(tmp_path):
    w = np.ones((3, 4), np.int8)
    layer = Dense.from_scale(w, scale=[0.1, 0.2, 0.3, 0.4], contract="onnx-float")
    network = Network([layer], contract="onnx-float")
    network.save(tmp_path / "network.npz")
    loaded = Network.load(tmp_path / "network.npz")
    assert loaded.contract == "onnx-float"
    assert np.array_equal(loaded.layers[0].multiplier, layer.multiplier)


def test_only_a_shift_that_wraps_is_certified():
    w = np.full((100, 2), 127, np.int8)
    for contract in CONTRACTS:
        layer = Dense.from_scale(w, scale=2.0**20, contract=contract)
        assert check_overflow(layer, 0, Config(contract=contract)).holds == (contract != "tflite-double")
