"""The processing element's recurrence, for all values and all time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Module, Mux, Signal, Value, signed

from etchnet.hdl.blocks.amaranth_internals import mark_used
from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.technology import PORTABLE
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.harness import Edit, Harness
from etchnet.host.proofs.induction import Control, prove_all
from etchnet.host.proofs.result import Proof

__all__ = ["ElementHarness", "element", "within"]

_INT8 = np.arange(-128, 128)
_LOWEST, _HIGHEST = (int(found(np.multiply.outer(_INT8, _INT8))) for found in (np.min, np.max))
"""range of a product of two int8, from all of them"""


def within(total: Any, terms: int) -> Value:
    """Return whether a sum may be one of `terms` products."""
    found: Value = (total >= terms * _LOWEST) & (total <= terms * _HIGHEST)
    return found


class ElementHarness(Harness):
    """A processing element, and the weight, operands and sums of earlier cycles.

    It claims the recurrence in the docstring of `ProcessingElement`, modulo the width of `sum_out`; and that no sum
    overflows: a sum of as many products as there are rows above gives the exact sum of one product more.
    """

    def __init__(self, config: Config, *, row: int, shared: bool = False, edit: Edit | None = None) -> None:
        self._config, self._row = config, row
        super().__init__(ProcessingElement(config, row=row, shared=shared), edit=edit)

    def specify(self, m: Module) -> None:
        """Add the recurrence."""
        latency, ports, untyped = self._config.multiplier_latency, self.ports, self.dut
        element: Any = untyped
        weight = self.inside["weight"].as_signed()
        loaded, known = Signal(signed(8), name="loaded", reset_less=True), Signal(name="known")
        with m.If(ports.load):
            m.d.sync += [loaded.eq(ports.weight_in), known.eq(1)]
        self.claim(m, "weight_is_the_last_loaded", ~known | (weight == loaded))

        operand = Signal(signed(8), name="operand")
        m.d.comb += operand.eq(
            Mux(ports.windowed, ports.sample, ports.activation) if element.has_sample else ports.activation
        )
        stages = PORTABLE.operand_stages(latency)
        weights = delay_line(m, weight, stages, name="weight_before", resets=False)
        operands = delay_line(m, operand, stages, name="operand_before", resets=False)
        # The product of the component's own registers, which are claimed to hold the operands: equal products of equal
        # factors are no work for the solver that way.
        own = bool(stages) and not element.is_shared
        factors = [self.inside[f"product_{side}_{stages}"].as_signed() for side in "ab"] if own else []
        (one, other) = factors or (operands[-1], weights[-1])
        product = Signal(signed(16), name="exact_product")
        m.d.comb += product.eq(one * other)
        products = delay_line(m, product, latency + 1 - stages, name="product_before", resets=False)
        sums = delay_line(m, ports.sum_in, 1, name="sum_before", resets=False)
        # How many cycles ago there was no reset: what comes from before then is arbitrary.
        begun = delay_line(m, Value.cast(1), latency + 1, name="begun")
        for later, earlier in itertools.pairwise(reversed(begun)):
            self.keep(m, f"begun_{len(self.invariants)}", ~later | earlier)
        # No assumption about the machine: all products of two int8 are known to be in this range.
        self.assume(m, "product_range", within(product, 1))
        for stage, value in enumerate(products[1:], stages + 1):
            self.keep(m, f"product_range_{stage}", ~begun[stage - stages] | within(value, 1))
        if element.is_shared:
            self.claim(m, "factors", (ports.factors[0] == operand) & (ports.factors[1] == weight))
            self.assume(m, "product", ~begun[latency] | (ports.product == products[latency - stages]))
        else:
            self._keep_stages(m, [*zip(operands, weights, strict=True)], products, begun)

        exact = sums[1] + products[-1]
        self.claim(m, "recurrence", ~begun[-1] | (ports.sum_out == exact[: len(ports.sum_out)].as_signed()))
        no_overflow = (ports.sum_out == exact) & within(ports.sum_out, self._row + 1)
        self.claim(m, "no_overflow", ~begun[-1] | ~within(sums[1], self._row) | no_overflow)
        steps = {"activation": (ports.activation, ports.activation_out), "load": (ports.load, ports.load_out)}
        if element.has_sample:
            steps["windowed"] = ports.windowed, ports.windowed_out
        for name, (before, after) in steps.items():
            (_, later) = delay_line(m, before, 1, name=f"{name}_before", resets=False)
            self.claim(m, f"{name}_passed_on", ~begun[1] | (after == later))

    def _keep_stages(self, m: Module, factors: list[tuple[Any, Any]], products: list[Any], begun: list[Any]) -> None:
        """State what the multiplier's registers hold: its operands, then their product."""
        inside: Mapping[str, Any] = self.inside
        for stage, (operand, weight) in enumerate(factors[1:], 1):
            held = (inside[f"product_a_{stage}"] == operand) & (inside[f"product_b_{stage}"] == weight)
            self.claim(m, f"operands_{stage}", ~begun[stage] | held)
        for stage, product in enumerate(products[1:-1], 1):
            old = begun[len(factors) - 1 + stage]
            self.keep(m, f"product_{stage}", ~old | (inside[f"product_{stage}"] == product))


_EDITS = (
    Edit("the weight changes in every cycle", "", "sync", lambda s: [s["weight"].eq(s["weight"] + 1)]),
    Edit("the sum is a bit too narrow", "", "sync", lambda s: [s["total"][-1].eq(s["total"][-2])]),
    Edit("the sum keeps its old value", "", "sync", lambda s: [s["total"].eq(s["total"])]),
)


def element(config: Config) -> Proof:
    """Prove the recurrence of the processing elements of a machine: one for each distinct variant."""
    found: dict[str, tuple[int, bool]] = {}
    for row in range(config.rows):
        for shared in (False, True):
            one = ProcessingElement(config, row=row, shared=shared)
            mark_used(one)
            found.setdefault(one.variant, (row, shared))
    return prove_all(
        "element",
        "sum_out[t + L] = sum_in[t + L - 1] + operand[t] * weight[t] in every cycle t, with the weight loaded last; "
        "and without overflow if sum_in is a sum of one product per row above",
        {
            f"row {row}" + (", shared multiplier" if shared else ""): ElementHarness(config, row=row, shared=shared)
            for row, shared in found.values()
        },
        assumptions=(
            "a shared multiplier, outside the element, delivers the product of the factors multiplier_latency cycles "
            "later",
        ),
        controls=[
            Control("without the assumption product", ElementHarness(config, row=0, shared=True), "product"),
            *(Control(edit.name, ElementHarness(config, row=config.rows - 1, edit=edit)) for edit in _EDITS),
        ],
    )
