"""Objects at a prompt and in a notebook: their one-line form and their table."""

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import Config
from etchnet.host.importers.load import plain_model
from etchnet.host.network.layers import Conv, Dense, MaxPool
from etchnet.host.network.network import Network

CONFIGS = [
    {},
    {"rows": 8, "columns": 8},
    {"rows": 8, "columns": 16, "requantisers": 4},
    {"requantisers": 16, "residual_words": 1024, "depthwise": 3},
    {"residual_words": 0, "depthwise": 0, "contract": "onnx-float"},
    {"accumulator_rows": 512, "residual_words": 1024},
]


def network():
    random = np.random.default_rng(0)
    return Network(
        [
            Conv.from_scale(int8(random, (3, 3, 2, 4)), scale=0.01),
            MaxPool((2, 2), (2, 2)),
            Dense.from_scale(int8(random, (36, 5)), scale=0.01),
        ],
        (8, 8, 2),
    )


@pytest.mark.parametrize("values", CONFIGS)
def test_the_repr_of_a_config_evaluates_to_an_equal_one(values):
    config = Config(**values)
    assert eval(repr(config), {"Config": Config}) == config


def test_the_repr_of_a_config_has_only_what_differs_from_the_defaults():
    assert repr(Config()) == "Config()"
    assert repr(Config(rows=8, columns=8)) == "Config(rows=8, columns=8)"
    # A 16 x 16 machine has 16 requantisers, 1024 residual words and 3 x 3 depthwise passes by default.
    assert repr(Config(requantisers=16, residual_words=1024, depthwise=3)) == "Config()"


def test_a_config_is_a_table_of_its_parameters_and_their_meaning():
    table = Config(rows=8, columns=8)._repr_html_()
    assert "<caption>Config(rows=8, columns=8)</caption>" in table
    assert "<tr><td>link_bits</td><td>32</td><td>width of each link in bits; a multiple of 32</td></tr>" in table
    assert table.count("<tr>") == 1 + len(Config().to_dict())


def test_networks_and_models_are_one_line():
    made = network()
    # 3 * 3 * 2 * 4 + 36 * 5 weights
    assert repr(made) == "Network(3 layers, (8, 8, 2) -> (1, 1, 5), 252 weights)"
    assert repr(plain_model("x.npz", made)) == "Model('x.npz', 3 layers, (8, 8, 2) -> (5,), 252 weights)"


def test_networks_and_models_are_tables_of_their_layers():
    table = network()._repr_html_()
    # 6 x 6 windows of 72 weights, then one multiplication per weight.
    assert "<tr><td>0</td><td>Conv</td><td>6 \u00d7 6 \u00d7 4</td><td>3 \u00d7 3 \u00d7 2 \u00d7 4</td>" in table
    assert "<td>2,592</td>" in table
    assert "<tr><td>1</td><td>MaxPool</td><td>3 \u00d7 3 \u00d7 4</td><td></td><td>0</td></tr>" in table
    assert "<tr><td>2</td><td>Dense</td><td>1 \u00d7 1 \u00d7 5</td><td>36 \u00d7 5</td><td>180</td></tr>" in table
    assert "<td>layer 2</td><td>Dense</td>" in plain_model("x.npz", network())._repr_html_()


def test_names_are_shown_as_text():
    made = network()
    assert "&lt;b&gt;" in made.html_table(["<b>", "", ""])
