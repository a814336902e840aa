"""The array multiplies vectors by tiles, for all values and all time: the elements, as they are wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add, and_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from etchnet.hdl.blocks.delay_line import delay, delay_line
from etchnet.hdl.blocks.technology import PORTABLE
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.element import within
from etchnet.host.proofs.harness import Edit, Harness
from etchnet.host.proofs.induction import Control, prove_all
from etchnet.host.proofs.result import Proof

__all__ = ["ArrayHarness", "array"]


class ArrayHarness(Harness):
    """An array, and for every element its operand, its weight, and the sum of its column down to it.

    The element of row r and column c works r + c cycles after a vector enters. Its operand is then the vector's value
    r, or the sample of column c if the vector is windowed; its weight is what `weights` held for it r + c cycles after
    the last `load` before the vector. Products are those of the array's own registers, as in `ElementHarness`.
    """

    def __init__(self, config: Config, *, edit: Edit | None = None) -> None:
        self._config = config
        super().__init__(SystolicArray(config), edit=edit)

    def specify(self, m: Module) -> None:
        """Add the sums of every column, row by row."""
        config, ports = self._config, self.ports
        rows, columns, latency = config.rows, config.columns, config.multiplier_latency
        most = rows + columns + latency
        begun = delay_line(m, Value.cast(1), most, name="begun")
        for index in range(1, most):
            self.keep(m, f"begun_{index}", ~begun[index + 1] | begun[index])
        loads = delay_line(m, ports.load, rows + columns, name="load_before")
        windowed = delay_line(m, ports.windowed, rows + columns, name="windowed_before", resets=False)
        vectors = [
            delay_line(m, ports.activations[r], rows + columns, name=f"vector_{r}", resets=False) for r in range(rows)
        ]
        self._wavefront(m, vectors, loads, windowed, begun)
        for c in range(columns):
            above: list[Any] = []
            # `above` holds the products of the rows so far, each delayed to the time of the row.
            for r in range(rows):
                self._weight(m, r, c, loads[r + c], begun[r + c])
                above = self._element(m, r, c, (vectors[r][r + c], windowed[r + c]), above, begun)
            after = columns - 1 - c
            sums = delay_line(m, reduce(add, above), after, name=f"sum_of_column_{c}", resets=False)
            for stage in range(1, after + 1):
                held = self.inside[f"deskew_{c}_{stage}"] == sums[stage]
                self.keep(m, f"deskew_{c}_{stage}", ~begun[rows + c + latency + stage] | held)
            self.claim(m, f"column_{c}", ~begun[most] | (ports.sums[c] == sums[-1]))

    def _wavefront(
        self, m: Module, vectors: list[list[Any]], loads: list[Any], windowed: list[Any], begun: list[Any]
    ) -> None:
        """State that values, loads and the mark of windowed vectors reach each element in time."""
        inside, config = self.inside, self._config
        for r in range(config.rows):
            for stage in range(1, r + 1):
                held = inside[f"skew_{r}_{stage}"] == vectors[r][stage]
                self.keep(m, f"skew_{r}_{stage}", ~begun[stage] | held)
            down = inside[f"down_{r + 1}"]
            self.keep(m, f"down_{r}", ~begun[r + 1] | (down == Cat(loads[r + 1], windowed[r + 1])))
            for c in range(config.columns):
                age = r + c + 1
                held = (self._of(r, c, "right") == vectors[r][age]) & (
                    inside[f"element_{r}_{c}.load_right"] == loads[age]
                )
                if r < config.depthwise**2:
                    held &= inside[f"element_{r}_{c}.windowed_right"] == windowed[age]
                self.keep(m, f"right_{r}_{c}", ~begun[age] | held)

    def _weight(self, m: Module, r: int, c: int, load: Value, begun: Value) -> None:
        """Claim that an element holds the weight that was loaded last."""
        config, weights = self._config, self.ports.weights
        loaded = Signal(signed(8), name=f"loaded_{r}_{c}", reset_less=True)
        known = Signal(name=f"known_{r}_{c}")
        with m.If(load):
            m.d.sync += [loaded.eq(weights[r // config.load_cycles][c]), known.eq(1)]
        # A load that was under way during the reset comes before any other.
        self.keep(m, f"known_{r}_{c}", ~(known | load) | begun)
        self.claim(m, f"weight_{r}_{c}", ~known | (self._of(r, c, "weight") == loaded))

    def _of(self, r: int, c: int, name: str) -> Any:
        """Return a signed register of an element."""
        return self.inside[f"element_{r}_{c}.{name}"].as_signed()

    def _entering(self, r: int, c: int) -> Any:
        """Return the activation that enters an element, from the left."""
        if c:
            return self._of(r, c - 1, "right")
        return self.inside[f"skew_{r}_{r}"].as_signed() if r else self.ports.activations[0]

    def _entering_windowed(self, r: int, c: int) -> Any:
        """Return whether the element multiplies a sample instead."""
        if c:
            return self.inside[f"element_{r}_{c - 1}.windowed_right"]
        return self.inside[f"down_{r}"][1] if r else self.ports.windowed

    def _element(
        self, m: Module, r: int, c: int, vector: tuple[Any, Any], above: list[Any], begun: list[Any]
    ) -> list[Any]:
        """State an element's operands, product and sum; return the products of its column down to it."""
        config, age = self._config, r + c
        latency, stages = config.multiplier_latency, PORTABLE.operand_stages(config.multiplier_latency)
        operand, expected = (Signal(signed(8), name=f"{name}_{r}_{c}") for name in ("operand", "expected"))
        m.d.comb += [operand.eq(self._entering(r, c)), expected.eq(vector[0])]
        if r < config.depthwise**2:
            sample = self.inside[f"samples_{r // config.depthwise}"].word_select(c, 8).as_signed()
            m.d.comb += [
                operand.eq(Mux(self._entering_windowed(r, c), sample, self._entering(r, c))),
                expected.eq(Mux(vector[1], sample, vector[0])),
            ]
        self.claim(m, f"operand_{r}_{c}", ~begun[age] | (operand == expected))
        weight = self._of(r, c, "weight")
        factors = [operand, weight]
        if stages:
            before = [delay(m, f, stages, name=f"factor_{r}_{c}_{i}", resets=False) for i, f in enumerate(factors)]
            factors = [self._of(r, c, f"product_{side}_{stages}") for side in "ab"]
            same = (factors[0] == before[0]) & (factors[1] == before[1])
            self.claim(m, f"factors_{r}_{c}", ~begun[age + stages] | same)
        product = Signal(signed(16), name=f"exact_{r}_{c}")
        m.d.comb += product.eq(factors[0] * factors[1])
        self.assume(m, f"product_range_{r}_{c}", within(product, 1))
        products = delay_line(m, product, latency - stages, name=f"product_{r}_{c}", resets=False)
        for stage in range(1, latency - stages + 1):
            held = (self._of(r, c, f"product_{stage}") == products[stage]) & within(products[stage], 1)
            self.keep(m, f"product_{r}_{c}_{stage}", ~begun[age + stages + stage] | held)
        # The sums of the rows above and the product enter the adder together.
        terms = [*above, products[-1]]
        terms = [delay(m, term, 1, name=f"term_{r}_{c}_{i}", resets=False) for i, term in enumerate(terms)]
        held = reduce(and_, (within(term, 1) for term in terms)) & (self._of(r, c, "total") == reduce(add, terms))
        self.keep(m, f"total_{r}_{c}", ~begun[age + latency + 1] | held)
        return terms


def _copied(changed: str, source: str) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return the statements of an edit that makes a register follow another."""
    return lambda inside: [inside[changed].eq(inside[source])]


_EDITS = tuple(
    Edit(name, path, "sync", _copied(changed, source))
    for name, path, changed, source in (
        ("a column takes the sum of another", "element_1_0", "element_1_0.total", "element_0_1.total"),
        ("an element takes the weight of its neighbour", "element_0_1", "element_0_1.weight", "element_0_0.weight"),
        ("a row is not skewed", "", "skew_1_1", "element_1_0.right"),
    )
)


def array(config: Config) -> Proof:
    """Prove that an array of up to 4 x 4 elements with a machine's options multiplies vectors by tiles."""
    latency, taps = config.multiplier_latency, 2 if config.depthwise else 0
    rows, columns = (4, 4) if taps else (min(config.rows, 4), min(config.columns, 4))
    small = Config(
        rows=rows,
        columns=columns,
        weight_rows=2 if config.weight_rows > 1 and rows % 2 == 0 else 1,
        multiplier_latency=latency,
        depthwise=taps,
        line_words=16,
        residual_words=0,
    )
    edited = Config(rows=2, columns=2, multiplier_latency=latency, depthwise=0, residual_words=0)
    return prove_all(
        f"array of {small.rows} x {small.columns}",
        "sums[c], rows + columns + multiplier_latency - 1 cycles after a vector, is the sum over all rows r of the "
        "vector's value r times the weight of (r, c), without overflow, for all vectors and tiles; a windowed vector "
        "has the samples of column c in the place of its values; the weight is the one that was loaded last before the "
        "vector",
        {"array": ArrayHarness(small)},
        controls=[Control(edit.name, ArrayHarness(edited, edit=edit)) for edit in _EDITS],
        cycles=4,
    )
