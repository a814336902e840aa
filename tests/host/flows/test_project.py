"""Functions that all projects share: memories in the Verilog, and writing of files."""

import re

import pytest

from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.host.flows.processes import TILE
from etchnet.host.flows.project import MOST_BITS, check_flip_flops, describe, memory_bits, split_memory, write_files
from etchnet.host.tools.yosys import run_yosys

SMALL = Config(
    rows=3,
    columns=5,
    weight_tiles=8,
    activation_words=32,
    input_words=16,
    output_words=16,
    accumulator_rows=8,
    passes=16,
    drains=8,
    parameter_tiles=4,
)


@pytest.mark.parametrize("config", [TILE, SMALL], ids=["2x2", "3x5"])
def test_memory_bits_are_those_that_yosys_finds(config, tmp_path, generated_once):
    design = generated_once(config)
    design.write(tmp_path)
    log = run_yosys("read_verilog etchnet.v; hierarchy -top etchnet; proc; flatten; stat", folder=tmp_path)
    assert memory_bits(design) == int(re.findall(r"(\d+) memory bits", log)[-1])


def test_the_memory_module_is_split_off_whole(generated_once):
    design = generated_once(TILE)
    logic, memory = split_memory(design)
    assert memory in design.verilog
    assert len(logic) + len(memory) == len(design.verilog)
    assert re.findall(r"^module (\w+)", memory, re.MULTILINE) == ["etchnet_ram"]
    assert not re.search(r"^module etchnet_ram\b", logic, re.MULTILINE)


def test_only_small_memories_may_become_flip_flops():
    check_flip_flops(MOST_BITS)
    with pytest.raises(ConfigError, match="must have at most 16,384 bits, not 16,385"):
        check_flip_flops(MOST_BITS + 1)


def test_folders_of_files_are_created(tmp_path):
    paths = write_files({"a.txt": "a", "b/c.txt": "c"}, tmp_path / "new")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["new/a.txt", "new/b/c.txt"]
    assert [path.read_text() for path in paths] == ["a", "c"]


def test_a_description_contains_the_size():
    assert describe(SMALL).startswith("3 x 5 int8 systolic array")
