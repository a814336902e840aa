"""Products of matrices as models: cycles are those of `matmul_relu`, results those of numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.compiler.capacity import CapacityError, resized
from etchnet.host.driver.driver import Accelerator
from etchnet.host.reports.product import SCALE, given_product, random_product
from etchnet.host.trace.page_data import arrays
from etchnet.host.trace.trace import gather

SMALL = Config(rows=4, columns=4, weight_tiles=64)


@pytest.mark.parametrize("size", [4, 64])
def test_one_number_of_cycles(size):
    """The driver's product, the program of reports, and the trace take the same cycles."""
    config = Config()
    product = random_product(size, config)
    chip = Accelerator(config)
    chip.matmul_relu(product.x, product.model.network.layers[0].weights, scale=SCALE)
    trace = gather(product.model, product.program(config), product.x)
    assert chip.counts.cycles == product.program(config).counts()[Counter.CYCLES] == trace.cycles
    assert size != 64 or chip.counts.cycles == 1087


@settings(max_examples=20)
@given(randoms(), st.tuples(*[st.integers(1, 9)] * 3))
def test_the_results_are_exact(random, sizes):
    rows, terms, columns = sizes
    a, b = int8(random, (rows, terms)), int8(random, (terms, columns))
    product = given_product(a, b, SMALL)
    chip = Accelerator(SMALL)
    chip.load_program(product.program(SMALL))
    assert np.array_equal(chip.run(product.x), a.astype(int) @ b.astype(int))


def test_a_trace_contains_the_operands_and_the_results():
    """A teacher's example: every sum of the product is on the page."""
    a, b = np.arange(16).reshape(4, 4), np.arange(16).reshape(4, 4) - 8
    product = given_product(a, b, SMALL)
    trace = gather(product.model, product.program(SMALL), product.x)
    found = arrays(trace)
    assert found["results_wide"].reshape(4, 4).tolist() == (a @ b).tolist()
    assert found["inputs"][:16].reshape(4, 4).tolist() == a.tolist()
    assert found["tiles"][:16].reshape(4, 4).tolist() == b.tolist()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((2, 3), int), np.ones((2, 3), int), "as many rows as A has columns; A is 2 x 3 and B is 2 x 3"),
        (np.ones((0, 3), int), np.ones((3, 3), int), "A must not be empty"),
        (np.ones((2, 3)), np.ones((3, 3), int), "A must be int8, or integers from -128 to 127, not float64"),
        (np.full((2, 3), 128), np.ones((3, 3), int), "A must hold int8 values, from -128 to 127, not 128"),
        (np.ones(3, int), np.ones((3, 3), int), r"A must have 2 dimensions, not shape \(3,\)"),
        (np.ones((2, 3), int), np.ones((3, 3)), "B must be int8"),
    ],
)
def test_operands_that_do_not_match_are_refused(a, b, message):
    with pytest.raises(EtchnetError, match=message):
        given_product(a, b, SMALL)


@pytest.mark.parametrize(
    ("size", "machine", "short"),
    [
        (64, SMALL, {"weight_tiles": 256}),
        (8, Config(rows=4, columns=4, passes=3, drains=2), {"passes": 6, "drains": 3}),
        (90, Config(rows=3, columns=2, input_words=4, output_words=2, parameter_tiles=9), None),
    ],
)
def test_a_product_that_needs_several_programs_is_refused_with_the_machine_that_needs_one(size, machine, short):
    with pytest.raises(CapacityError) as caught:
        random_product(size, machine)
    assert short in (None, caught.value.short)
    larger = resized(machine, caught.value.short)
    product = random_product(size, larger)
    chip = Accelerator(larger)
    chip.load_program(product.program(larger))
    assert np.array_equal(chip.run(product.x), product.model.network.reference(product.x))
