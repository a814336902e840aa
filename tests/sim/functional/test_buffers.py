"""Buffers: the old contents of memory have no effect on results."""

import dataclasses

import numpy as np
from support.strategies import int8

from etchnet.hdl.isa.config import Config
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.sim.functional.buffers import Scratch


def test_new_buffers_are_finite_and_kept_by_name():
    scratch = Scratch()
    first = scratch.take("cells", (3, 5), np.float32)
    assert np.isfinite(first).all()
    first[:] = 7
    assert (scratch.take("cells", (5, 3), np.float32) == 7).all()
    assert (scratch.take("rows", (5, 3), np.float32) == 0).all()
    assert np.isfinite(scratch.take("cells", (40, 30), np.float32)).all()


def test_lanes_that_no_drain_writes_are_multiplied_by_zero(monkeypatch):
    """Three column tiles of 4 fill one and a half words of 8; the rest is read, but multiplied by zero."""
    original = np.empty

    def poisoned(*arguments, **options):
        array = original(*arguments, **options)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    random = np.random.default_rng(7)
    config = dataclasses.replace(
        Config(), rows=8, columns=4, weight_rows=4, requantisers=4, depthwise=0, residual_words=0
    )
    shapes = ((20, 10), (10, 7), (7, 5))
    network = Network([Dense.from_scale(int8(random, shape), scale=0.01, low=0) for shape in shapes])
    x = int8(random, (2, 20))
    accelerator = Accelerator(config)
    accelerator.load(network)
    assert np.array_equal(accelerator.run(x), network.reference(x))
