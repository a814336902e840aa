"""Rounding contracts are complete: each has a number of its own and an entry in every registry."""

import pytest

from etchnet.hdl.core.output.requantiser import SCALERS
from etchnet.hdl.isa import CONTRACT_NUMBERS, CONTRACTS
from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.contracts import FORMULAS
from etchnet.sim.state.scalers import SCALERS as SCALER_STATES

REGISTRIES = {
    "hdl.core.output.requantiser.SCALERS": SCALERS,
    "sim.arithmetic.contracts.FORMULAS": FORMULAS,
    "sim.state.scalers.SCALERS": SCALER_STATES,
}


@pytest.mark.parametrize("registry", REGISTRIES)
def test_a_registry_has_every_contract(registry):
    missing = [name for name in CONTRACTS if name not in REGISTRIES[registry]]
    assert not missing, f"{registry} has no entry for {', '.join(missing)}"
    unknown = [name for name in REGISTRIES[registry] if name not in CONTRACTS]
    assert not unknown, f"{registry} has an entry for {', '.join(unknown)}, which hdl.isa.contracts does not name"


def test_the_number_of_a_contract_never_changes():
    # Machines in the field hold these numbers in a register: later contracts may only be added.
    released = {"tflite-double": 0, "tflite-single": 1, "onnx-float": 2}
    assert {name: CONTRACT_NUMBERS.get(name) for name in released} == released
    assert len(set(CONTRACT_NUMBERS.values())) == len(CONTRACT_NUMBERS)


def test_the_first_contract_is_the_default():
    assert Config().contract == CONTRACTS[0]


def test_a_formula_is_registered_by_its_own_name():
    assert {name: contract.name for name, contract in FORMULAS.items()} == {name: name for name in FORMULAS}
