"""The register map, and the files made from it as others read them: a C compiler, a parser of CMSIS-SVD, its schema."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import cmsis_svd
import pytest
from figures import register_tables, tables
from lxml import etree

from etchnet.hdl.buses.register import ADDRESS_BITS, Access, Field, Register, Source
from etchnet.hdl.buses.register_exports import c_header, svd
from etchnet.hdl.buses.registers import BY_NAME, REGISTERS, counter_registers, parameter_register
from etchnet.hdl.isa import COUNTER_BITS, Counter
from etchnet.hdl.isa.config import Config

OTHER = Config(rows=6, columns=2, link_bits=64, contract="onnx-float")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def field(**changed):
    return Field(**({"name": "F", "first": 0, "bits": 1, "source": Source.STATUS, "doc": ""} | changed))


def test_registers_ascend_without_overlap():
    offsets = [r.offset for r in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert len(BY_NAME) == len(REGISTERS)
    assert offsets[-1] < 1 << ADDRESS_BITS


def test_the_map_changes_only_together_with_its_version():
    made, recorded = register_tables.map_lines(), register_tables.RECORD.read_text().splitlines()
    if made[1:] != recorded[1:]:
        changed = sorted(set(made[1:]) ^ set(recorded[1:]))
        assert made[0] != recorded[0], f"the register map changed, so raise VERSION: {changed}"
    assert made == recorded, "run nox -s figures"


def test_a_changed_map_is_recorded_only_under_another_version(tmp_path, monkeypatch):
    monkeypatch.setattr(register_tables, "RECORD", tmp_path / "register_map.txt")
    lines = register_tables.map_lines()
    other = [*lines[:-1], lines[-1].replace("CONFIG_CONTRACT", "CONFIG_OTHER")]
    register_tables.RECORD.write_text("\n".join(other) + "\n")
    with pytest.raises(ValueError, match="raise VERSION of the register map"):
        register_tables.record()
    register_tables.RECORD.write_text("\n".join(["version 0.9", *other[1:]]) + "\n")
    register_tables.record()
    assert register_tables.RECORD.read_text().splitlines() == lines


def test_every_parameter_and_every_counter_has_its_registers():
    for config in (Config(), OTHER):
        values = {f.name: BY_NAME[parameter_register(f.name)].reset(config) for f in dataclasses.fields(Config)}
        contract = values.pop("contract")
        assert {**values, "contract": ["tflite-double", "tflite-single", "onnx-float"][contract]} == config.to_dict()
    for counter in Counter:
        low, high = (BY_NAME[name] for name in counter_registers(counter))
        assert high.offset == low.offset + 4
        assert low["VALUE"].bits + high["VALUE"].bits == COUNTER_BITS


def test_the_fingerprint_differs_between_machines():
    configs = [Config(), OTHER, Config(passes=1024), Config(contract="onnx-float")]
    assert len({BY_NAME["FINGERPRINT"].reset(c) for c in configs}) == 4


@pytest.mark.parametrize(
    ("register", "message"),
    [
        ({"fields": (field(), field(name="G"))}, "R.G must not overlap another field, and must end below bit 32"),
        ({"fields": (field(first=31, bits=2),)}, "R.F must not overlap another field, and must end below bit 32"),
        (
            {"fields": (field(), field(name="G", first=1, source=Source.STORED))},
            "R must have fields with the same access",
        ),
        ({"offset": 6}, "offset of R must be a multiple of 4 below 4096, not 6"),
        ({"offset": 4096}, "offset of R must be a multiple of 4 below 4096, not 4096"),
    ],
)
def test_an_invalid_register_is_refused(register, message):
    with pytest.raises(ValueError, match=message):
        Register(**({"name": "R", "offset": 0, "doc": "", "fields": (field(),)} | register))


def test_a_field_accepts_only_values_that_fit():
    f = field(first=4, bits=3)
    assert (f.mask, f.into(5), f.of(0xFDF)) == (0x70, 0x50, 5)
    assert (f.into(0), f.into(7)) == (0, 0x70)
    with pytest.raises(ValueError, match="F must be from 0 to 7, not 8"):
        f.into(8)


def test_the_c_header_defines_and_explains_everything_once():
    header = c_header(Config())
    defaults = {r.name for r in REGISTERS if not any(f.source in (Source.STATUS, Source.PULSE) for f in r.fields)}
    parts = [(r, f) for r in REGISTERS for f in r.fields if f.bits < 32]
    names = {"SIZE", *(r.name for r in REGISTERS), *(f"{name}_DEFAULT" for name in defaults)}
    names |= {f"{r.name}_{f.name}_{what}" for r, f in parts for what in ("MASK", "SHIFT")}
    assert sorted(re.findall(r"^#define ETCHNET_(\w+) \S", header, re.MULTILINE)) == sorted(names)
    comments = re.findall(r"^/\* (.*) \*/\n#define ETCHNET_\w+_MASK", header, re.MULTILINE)
    assert comments == [f.doc for r, f in parts if len(r.fields) > 1 or f.doc != r.doc]
    assert {len(r.fields) > 1 for r, f in parts} == {True, False}


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("config", [Config(), OTHER], ids=["default", "other"])
def test_the_c_header_matches_the_map(config, tmp_path):
    (tmp_path / "etchnet.h").write_text(c_header(config))
    expected = {"ETCHNET_SIZE": 1 << ADDRESS_BITS, "ETCHNET_COUNTERS": len(Counter)}
    expected |= {f"ETCHNET_COUNTER_{c.name}": int(c) for c in Counter}
    for register in REGISTERS:
        name = f"ETCHNET_{register.name}"
        expected[name] = register.offset
        if not any(f.source in (Source.STATUS, Source.PULSE) for f in register.fields):
            expected[f"{name}_DEFAULT"] = register.reset(config)
        for f in register.fields:
            if f.bits < 32:
                expected[f"{name}_{f.name}_MASK"] = f.mask
                expected[f"{name}_{f.name}_SHIFT"] = f.first
    prints = "".join(f'  printf("{name} %lu\\n", (unsigned long)({name}));\n' for name in expected)
    # The functions run on plain memory, and the test checks what they read, write and compare.
    source = f"""\
#include <stdio.h>
#include <string.h>
#include "etchnet.h"
int main(void)
{{
  uint32_t memory[ETCHNET_SIZE / 4];
  uint64_t counters[ETCHNET_COUNTERS];
  uint32_t i;
  memset(memory, 0, sizeof memory);
{prints}
  printf("matches %d\\n", etchnet_matches(memory));
  etchnet_write(memory, ETCHNET_ID, ETCHNET_ID_DEFAULT);
  etchnet_write(memory, ETCHNET_VERSION, ETCHNET_VERSION_DEFAULT + 1);
  etchnet_write(memory, ETCHNET_FINGERPRINT, ETCHNET_FINGERPRINT_DEFAULT);
  printf("matches %d\\n", etchnet_matches(memory));
  for (i = 0; i < 2 * ETCHNET_COUNTERS; i++)
    etchnet_write(memory, ETCHNET_CYCLES_LOW + 4 * i, i + 1);
  etchnet_counters(memory, counters);
  printf("snapshot %lu\\n", (unsigned long)memory[ETCHNET_SNAPSHOT / 4]);
  for (i = 0; i < ETCHNET_COUNTERS; i++)
    printf("counter %lu %lu\\n", (unsigned long)(counters[i] & 0xffffffffu), (unsigned long)(counters[i] >> 32));
  etchnet_reset(memory);
  return 0;
}}
"""
    (tmp_path / "main.c").write_text(source)
    flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-std=c99"]
    subprocess.run([COMPILER, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    if cxx := shutil.which("c++"):
        flags[-1] = "-std=c++11"
        subprocess.run([cxx, *flags, "-x", "c++", "-fsyntax-only", "main.c"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert {line.split()[0]: int(line.split()[1]) for line in lines[: len(expected)]} == expected
    assert lines[len(expected) :] == [
        "matches 0",
        "matches 1",
        "snapshot 1",
        *(f"counter {2 * i + 1} {2 * i + 2}" for i in range(len(Counter))),
    ]


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_the_c_of_the_page_compiles(tmp_path):
    (tmp_path / "etchnet.h").write_text(c_header(Config()))
    blocks = re.findall(r"^```c\n(.*?)^```$", register_tables.PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "page.c").write_text(block)
        flags = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-std=c99", "-fsyntax-only"]
        subprocess.run([COMPILER, *flags, "page.c"], cwd=tmp_path, check=True)


def test_the_tables_of_the_page_are_those_of_the_map():
    made = register_tables.tables()
    assert tables.found(register_tables.PAGE.read_text(encoding="utf-8")) == made, "run nox -s figures"


@pytest.mark.parametrize("config", [Config(), OTHER], ids=["default", "other"])
def test_the_svd_file_is_valid_and_matches_the_map(config, tmp_path):
    path = tmp_path / "etchnet.svd"
    path.write_text(svd(config))
    schemas = Path(cmsis_svd.__file__).parent / "schemas"
    etree.XMLSchema(etree.parse(schemas / "CMSIS-SVD_1_3_10.xsd")).assertValid(etree.parse(path))

    device = cmsis_svd.SVDParser.for_xml_file(path).get_device()
    assert (device.address_unit_bits, device.width) == (8, 32)
    (peripheral,) = device.peripherals
    assert peripheral.address_blocks[0].size == 1 << ADDRESS_BITS
    assert len(peripheral.registers) == len(REGISTERS)
    for read, register in zip(peripheral.registers, REGISTERS, strict=True):
        assert (read.name, read.address_offset, read.size) == (register.name, register.offset, 32)
        assert read.access.value == register.access.value
        places = [(f.name, f.bit_offset, f.bit_width) for f in read.fields]
        assert places == [(f.name, f.first, f.bits) for f in register.fields]
        for f, defined in zip(read.fields, register.fields, strict=True):
            clears = f.modified_write_values is not None and f.modified_write_values.value == "oneToClear"
            assert clears == (defined.source is Source.EVENT)
        known = sum(f.mask for f in register.fields if f.source is not Source.STATUS)
        assert (read.reset_mask, read.reset_value & known) == (known, register.reset(config))
    assert {r.access for r in REGISTERS} == set(Access)
