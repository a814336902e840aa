"""Every class of layer has a function in every table of operators, unless its absence has a stated reason."""

import inspect
import re
from pathlib import Path

import pytest

import etchnet.host.network.layers as layers_module
from etchnet.host.compiler.lowering import lower
from etchnet.host.compiler.overflow import check_overflow
from etchnet.host.exporters.onnx import write_node
from etchnet.host.exporters.tflite import write_layer
from etchnet.host.importers.onnx.importer import OPERATORS as ONNX
from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.tflite.importer import OPERATORS as TFLITE
from etchnet.host.network.layers import LAYERS, Layer
from etchnet.host.network.model import ModelError
from etchnet.host.reports.numpy_network import numpy_step
from etchnet.host.trace.trace import operation

MOVES = "it moves or compares values, which cannot overflow"
NAMED = "the name of its class says it all"
TABLES = {
    "lower": (
        lower,
        dict.fromkeys(["Add", "AddConstant"], "`addition` gives its operands, which the compiler may fuse with others"),
    ),
    "check_overflow": (check_overflow, dict.fromkeys(["MaxPool", "Concat", "Pad", "Reshape", "Slice"], MOVES)),
    "numpy_step": (numpy_step, {}),
    "write_layer": (write_layer, {}),
    "write_node": (write_node, {"AddConstant": "ONNX Runtime adds no constants of a scale of their own"}),
    "operation": (operation, dict.fromkeys(["Add", "Concat", "Pad", "Reshape", "Slice"], NAMED)),
}
"""functions that differ by layer, and the layers that each does without"""


def subclasses(kind):
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_the_list_of_layers_has_every_class_that_can_be_made():
    own = {kind for kind in subclasses(Layer) if kind.__module__.startswith(layers_module.__name__)}
    # A class without a computation is only a base class.
    bases = {kind for kind in own if kind.reference is Layer.reference}
    assert set(LAYERS.values()) == own - bases
    assert all(kind.__subclasses__() for kind in bases)
    assert all(name == kind.__name__ for name, kind in LAYERS.items())


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("table", TABLES)
def test_every_layer_is_in_every_table_or_absent_on_purpose(table, layer):
    function, absent = TABLES[table]
    registered = function.dispatch(layer) is not function.dispatch(object)
    assert registered != (layer.__name__ in absent), f"{table} of {layer.__name__}"


@pytest.mark.parametrize("table", TABLES)
def test_absent_entries_are_layers(table):
    assert set(TABLES[table][1]) <= set(LAYERS)


@pytest.mark.parametrize(("registry", "known"), [(ONNX, "QLinearConv"), (TFLITE, "CONV_2D")])
def test_importers_name_what_they_support(registry, known):
    assert known in registry
    with pytest.raises(ModelError, match=rf"Fold \(operator 3\) is not supported: .*; supported are .*{known}"):
        registry.handler("Fold", "Fold (operator 3)")


@pytest.mark.parametrize("registry", [ONNX, TFLITE])
def test_the_page_on_models_names_every_operator(registry):
    words = set(re.findall(r"\w+", (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")))
    assert not set(registry) - words


@pytest.mark.parametrize("registry", [ONNX, TFLITE])
def test_every_handler_takes_the_state_of_the_import_and_the_operator(registry):
    for operator in registry:
        assert len(inspect.signature(registry.handler(operator, operator)).parameters) == 2


def test_an_operator_has_one_handler():
    registry = OperatorRegistry()

    @registry.handles("A", "B")
    def first(context, node):
        return None

    assert registry.handler("B", "B") is first
    with pytest.raises(ValueError, match="operator B already has a handler, first"):
        registry.handles("B")(first)
