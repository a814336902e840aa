import dataclasses
import inspect
import json

import pytest

from etchnet.hdl.isa.config import Config, ConfigError, sum_width
from etchnet.hdl.isa.packets import machine_hash


def test_default_machine_is_the_one_in_the_docs():
    config = Config()
    assert (config.rows, config.columns, config.requantisers, config.weight_rows) == (16, 16, 16, 1)
    assert config.activation_words * config.rows == 64 << 10
    assert config.weight_words * config.weight_rows * config.columns == 288 << 10
    assert config.accumulator_rows == 256
    assert config.link_bits == 32


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 64])
def test_sum_width_holds_the_extremes_and_is_no_wider(terms):
    low, high = terms * -128 * 127, terms * 128 * 128
    width = sum_width(terms)
    assert -(1 << width - 1) <= low
    assert high <= (1 << width - 1) - 1
    assert high > (1 << width - 2) - 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 0x7FEF9AA9),
        ({"rows": 8, "columns": 8, "requantisers": 4}, 0x881DB5D6),
        ({"rows": 12, "columns": 6, "weight_rows": 3, "requantisers": 2}, 0xCF846360),
        ({"rows": 3, "columns": 5}, 0xCC7D4BD5),
        (
            dict.fromkeys(("activation_words", "input_words", "output_words"), 1 << 20)
            | dict.fromkeys(("weight_tiles", "passes", "drains", "parameter_tiles", "residual_words"), 1 << 16),
            0xBD1733D3,
        ),
        (
            {
                "rows": 64,
                "columns": 64,
                "link_bits": 512,
                "accumulator_rows": 4096,
                "passes": 100,
                "contract": "onnx-float",
            },
            0x346AC788,
        ),
    ],
)
def test_the_bits_of_instructions_are_pinned(values, expected):
    """A program in a file or in a flash memory depends on every position: the hash covers all of them."""
    assert machine_hash(Config(**values)) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 0}, "rows must be a whole number from 1 to 64, not 0"),
        ({"rows": 65}, "rows must be a whole number from 1 to 64, not 65"),
        ({"columns": 2.0}, "columns must be a whole number from 1 to 64, not 2.0"),
        ({"columns": True}, "columns must be a whole number from 1 to 64, not True"),
        ({"columns": "16"}, "columns must be a whole number from 1 to 64, not '16'"),
        ({"rows": 16, "weight_rows": 3}, r"weight_rows must divide rows \(16\), not 3"),
        ({"columns": 6, "requantisers": 4}, r"requantisers must divide columns \(6\), not 4"),
        ({"input_words": 1000}, "input_words must be a power of two, not 1000"),
        ({"output_words": 3}, "output_words must be a power of two, not 3"),
        ({"link_bits": 48}, "link_bits must be a multiple of 32, not 48"),
        ({"multiplier_latency": 0}, "multiplier_latency must be a whole number from 1 to 8, not 0"),
        ({"contract": "onnx"}, "contract must be one of tflite-double, tflite-single, onnx-float, not 'onnx'"),
        ({"contract": 1}, "contract must be one of tflite-double, tflite-single, onnx-float, not 1"),
        ({"accumulator_rows": 3}, "accumulator_rows must be a whole number from 4 to 4096, not 3"),
    ],
)
def test_invalid_parameters_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Config(**values)


def test_from_dict_reads_to_dict_and_refuses_unknown_names():
    config = Config(rows=3, columns=5, contract="onnx-float")
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(config.to_json())) == config
    with pytest.raises(ConfigError, match="unknown config parameter 'row'"):
        Config.from_dict({"row": 3})


@pytest.mark.parametrize(
    ("rows", "columns", "per_word", "narrow", "wide"),
    [(16, 16, 1, 1, 4), (16, 8, 2, 1, 2), (16, 6, 1, 1, 2), (4, 16, 1, 4, 16), (4, 6, 1, 2, 6), (1, 3, 1, 3, 12)],
)
def test_words_of_machines_that_are_not_square(rows, columns, per_word, narrow, wide):
    config = Config(rows=rows, columns=columns)
    assert config.tiles_per_word == per_word
    assert config.words_per_pixel() == narrow
    assert config.words_per_pixel(wide=True) == wide


@pytest.mark.parametrize(
    ("name", "guess"),
    [("row", "rows"), ("cols", "columns"), ("weight_row", "weight_rows"), ("requantizers", "requantisers")],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_name(name, guess):
    for make in (Config, lambda **values: Config.from_dict(values), lambda **v: dataclasses.replace(Config(), **v)):
        with pytest.raises(ConfigError, match=f"unknown config parameter '{name}': did you mean '{guess}'"):
            make(**{name: 3})


def test_a_name_like_no_other_has_no_guess():
    with pytest.raises(ConfigError, match="unknown config parameter 'quux': known are accumulator_rows, "):
        Config(quux=3)


def test_parameters_are_given_by_name():
    with pytest.raises(ConfigError, match="parameters of a Config are given by name, such as rows=4"):
        Config(4)
    assert list(inspect.signature(Config).parameters)[:2] == ["rows", "columns"]
