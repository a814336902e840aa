"""The weight and parameter memories of a machine, and results as link words."""

import dataclasses

import numpy as np
import pytest
from support.programs import parameter_words
from support.strategies import int8
from support.walks import SQUARE

from etchnet.hdl.isa import Destination, Drain, Parameters, Pass, Target, TileKind, chunks, pack
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.functional.datapath import Datapath, channel_parameters
from etchnet.sim.functional.plan import Plan

CONFIGS = [
    dataclasses.replace(SQUARE, weight_rows=2),
    Config(rows=6, columns=4, weight_rows=3, weight_tiles=8),
    Config(rows=2, columns=5, weight_rows=1, weight_tiles=8),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_tiles_are_stored_in_bands(config):
    """Word j of a tile holds row b * load_cycles + j in byte b * columns + c; a diagonal tile is one word."""
    path, random = Datapath(config), np.random.default_rng(0)
    path.weights[...] = int8(random, path.weights.shape)
    flat, band = path.weights.reshape(config.weight_words, -1).astype(int), config.load_cycles
    for kind in (TileKind.STORED, TileKind.DEPTHWISE):
        tile = path.tile(Pass(kind=kind, weights=3))
        for r, c in np.ndindex(config.rows, config.columns):
            assert tile[r, c] == flat[3 + r % band, r // band * config.columns + c]
    diagonal = path.tile(Pass(kind=TileKind.DIAGONAL, weights=5))
    for r, c in np.ndindex(config.rows, config.columns):
        assert diagonal[r, c] == (flat[5, r // band * config.columns + c] if r == c else 0)
    assert np.array_equal(path.tile(Pass(kind=TileKind.IDENTITY)), np.eye(config.rows, config.columns))


@pytest.mark.parametrize("requantisers", [1, 2, 4])
@pytest.mark.parametrize("link_bits", [32, 128])
def test_parameter_words_are_decoded(requantisers, link_bits):
    config = dataclasses.replace(SQUARE, requantisers=requantisers, link_bits=link_bits)
    random = np.random.default_rng(1)
    records = [
        Parameters(
            bias=int(random.integers(-(1 << 31), 1 << 31)),
            multiplier=int(random.integers(1 << 31)),
            left=int(random.integers(32)),
            right=int(random.integers(32)),
        )
        for _ in range(3 * config.columns)
    ]
    words = pack(parameter_words(config, records), word_bits(Target.PARAMETERS, config), config)
    fields = channel_parameters(words.reshape(3, config.groups, *words.shape[1:]), config)
    for name, values in fields.items():
        assert values.tolist() == np.reshape([getattr(r, name) for r in records], (3, config.columns)).tolist()


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_outputs_are_link_words_and_use_the_current_weights(batch):
    """A product of one tile is computed; then the same plan with other weights, and with a tile that is passed in."""
    config = dataclasses.replace(SQUARE, link_bits=64)
    path, random = Datapath(config), np.random.default_rng(2)
    unit = Parameters(multiplier=1 << 30, left=1)
    path.parameters[: config.groups] = pack(
        parameter_words(config, [unit] * config.columns), word_bits(Target.PARAMETERS, config), config
    )
    passes = [Pass(pixels=6, release=True)]
    plan = Plan(passes, [Drain(pixels=6, destination=Destination.OUTPUT)], [0], config)
    halves = int8(random, (batch, 1, config.input_words, config.rows))

    def expected(tile):
        results = np.clip(halves[:, 0, :6].astype(int) @ tile.astype(int), -128, 127).astype(np.int8)
        padded = np.zeros((batch, 6, 8 * chunks(8 * config.rows, config)), np.int8)
        padded[..., : config.columns] = results
        return padded.view("<u4").reshape(-1, 2)

    for seed in range(2):
        path.weights[...] = int8(np.random.default_rng(seed), path.weights.shape) >> 4
        path.changed()
        kernels = path.kernels(plan, passes)
        assert path.kernels(plan, passes) is kernels
        assert np.array_equal(path.outputs(kernels, halves, 6), expected(path.tile(passes[0])))
    tile = np.eye(4, dtype=np.int8)
    assert np.array_equal(path.outputs(path.kernels(plan, passes, [tile]), halves, 6), expected(tile))
