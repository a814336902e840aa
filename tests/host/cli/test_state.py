"""`etchnet state`: elements and registers in one cycle of a run."""

import json

import numpy as np
import pytest
from support.command_line import error, run
from support.strategies import int8

from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network

MACHINE = ["--rows", "4", "--cols", "4", "--set", "weight_tiles=4"]


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """Save a product of 4 inputs and 4 x 4 weights; return the command's arguments, the inputs and the weights."""
    folder, random = tmp_path_factory.mktemp("state"), np.random.default_rng(2)
    weights, x = int8(random, (4, 4)), int8(random, (1, 4))
    Network([Dense.from_scale(weights, scale=0.01)]).save(folder / "product.npz")
    np.save(folder / "x.npy", x)
    return ["state", str(folder / "product.npz"), "--input", str(folder / "x.npy"), *MACHINE], x[0], weights


def cycles_of(capsys, arguments):
    status, out, err = run(capsys, *arguments, "--cycle", "0", "--json")
    assert (status, err) == (0, "")
    return json.loads(out)["cycles"]


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (3, 3)])
def test_an_element_multiplies_its_input_and_its_weight(capsys, product, row, column):
    """The pixel is in the element for one cycle; the sum then includes the rows above and the element's own product."""
    arguments, x, weights = product
    met = []
    for cycle in range(cycles_of(capsys, arguments)):
        _, out, _ = run(capsys, *arguments, "--cycle", str(cycle), "--element", f"{row},{column}", "--json")
        found = json.loads(out)
        if found["element"]["pixel"] >= 0:
            met.append(found)
    (found,) = met
    element = found["element"]
    assert (element["operand"], element["weight"]) == (x[row], weights[row, column])
    assert element["sum"] == x[: row + 1].astype(int) @ weights[: row + 1, column]
    assert (element["row"], element["column"], element["byte"]) == (row, column, row)
    assert (found["pass"]["layer"], found["pass"]["tile"]) == (0, 0)


def test_text_and_json_agree(capsys, product):
    arguments, x, weights = product
    for cycle in range(cycles_of(capsys, arguments)):
        status, out, err = run(capsys, *arguments, "--cycle", str(cycle))
        assert (status, err) == (0, "")
        if f"multiplies {x[0]} x {weights[0, 0]}" in out:
            break
    assert "pass 0 of 1, input 0: layer 0" in out
    assert "operand: pixel 0 of 1, byte 0 of word 0 of the input memory" in out
    assert "weight: stored tile, byte 0 of weight word 0" in out
    assert "the column's sum goes to row 0 of bank 0" in out


def test_registers_are_listed_and_read(capsys, product):
    arguments, _, _ = product
    status, out, _ = run(capsys, *arguments[:2], *MACHINE, "--list")
    names = out.splitlines()
    assert status == 0
    registers = [name for name in names if "[" not in name]
    memories = [name.partition("[")[0] for name in names if "[" in name]
    assert len(registers) > 20
    assert "activation.memory" in memories
    _, out, _ = run(capsys, *arguments, "--cycle", "3", "--register", registers[0], "--json")
    assert list(json.loads(out)["registers"]) == [registers[0]]
    assert "element" not in json.loads(out)
    _, out, _ = run(capsys, *arguments, "--cycle", "3", "--register", "activation.memory[1]")
    assert "activation.memory[1] = 0 = 0x00000000" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cycle", "100000"], "--cycle must be from 0 to "),
        (
            ["--cycle", "0", "--element", "4,0"],
            "--element must be ROW,COLUMN with ROW below 4 and COLUMN below 4, not '4,0'",
        ),
        (["--cycle", "0", "--register", "nothing"], "there is no register 'nothing': --list shows all names"),
        ([], "--cycle is missing: give a cycle of the run, from 0"),
        (["--list"], "--input has no effect with --list, which lists all names"),
    ],
)
def test_bad_input_is_one_line(capsys, product, options, message):
    assert message in error(capsys, *product[0], *options)
