"""Matrix products as models: the rows of the first operand are the inputs of a network of one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.matmul_tiling import MatmulTiling
from etchnet.host.compiler.program import Program
from etchnet.host.importers.load import plain_model
from etchnet.host.network.layers import Dense
from etchnet.host.network.layers.base import as_int8
from etchnet.host.network.model import Model
from etchnet.host.network.network import Network

__all__ = ["SCALE", "Product", "ProductError", "given_product", "random_product"]

SCALE = 1 / 1024
"""factor by which the sums of a random product are requantised"""


class ProductError(EtchnetError, ValueError):
    """The operands of a product do not match; the message names both shapes."""


@dataclass(frozen=True, eq=False)
class Product:
    """Product of int8 matrices that one program computes, with operands and results in the machine's memories."""

    model: Model
    x: np.ndarray
    """first operand, int8 (M, K)"""
    batch: int
    """rows of `x` that one repeat of the program computes"""

    @property
    def once(self) -> bool:
        """Whether one repeat computes all rows, so that the program needs no idle cycles between repeats."""
        return len(self.x) <= self.batch

    def program(self, config: Config) -> Program:
        """Compile the product for the machine that it was made for, as `Accelerator.matmul_relu` does."""
        return compile_network(self.model.network, config, batch=self.batch, once=self.once)


def random_product(size: int, config: Config) -> Product:
    """Return ``relu(x @ w)`` of random square matrices, the same in every call, requantised by `SCALE` to int8.

    Raises CapacityError if one program cannot compute it on the machine.
    """
    random = np.random.default_rng(0)
    x, w = (random.integers(-128, 128, (size, size)).astype(np.int8) for _ in range(2))
    layer = Dense.from_scale(w, scale=SCALE, low=0, contract=config.contract)
    return _product(f"gemm {size} x {size} x {size}", x, layer, config)


def given_product(a: np.ndarray, b: np.ndarray, config: Config) -> Product:
    """Return the product of matrices (M, K) and (K, N) of whole numbers from -128 to 127, with int32 results.

    Raises
    ------
    NetworkError
        An operand is not a matrix of such numbers.
    ProductError
        B does not have as many rows as A has columns.
    CapacityError
        One program cannot compute the product on the machine.
    """
    a, b = as_int8("A", a, 2), as_int8("B", b, 2)
    if a.shape[1] != len(b):
        raise ProductError(f"B must have as many rows as A has columns; A is {_by(a)} and B is {_by(b)}")
    return _product(f"A ({_by(a)}) x B ({_by(b)})", a, Dense(b), config)


def _by(matrix: np.ndarray) -> str:
    return f"{matrix.shape[0]} x {matrix.shape[1]}"


def _product(name: str, x: np.ndarray, layer: Dense, config: Config) -> Product:
    terms, channels = layer.weights.shape
    network = Network([layer], contract=config.contract)
    tiling = MatmulTiling.whole(len(x), terms, channels, config, wide=layer.wide)
    return Product(plain_model(name, network), x, tiling.pixels)
