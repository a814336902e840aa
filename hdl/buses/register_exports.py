"""The register map (`etchnet.hdl.buses.registers`) for other languages and tools: a C header and a CMSIS-SVD file."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from collections.abc import Mapping
from typing import Any

from etchnet.hdl.buses.register import ADDRESS_BITS, REGISTER_BITS, Access, Field, Register, Source
from etchnet.hdl.buses.registers import REGISTERS, VERSION, counter_registers
from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config

__all__ = ["c_header", "register_files", "svd"]


def register_files(config: Config) -> Mapping[str, str]:
    """Return the files that accompany the Verilog of a machine on a bus, as name to text."""
    return {"etchnet.h": c_header(config), "etchnet.svd": svd(config)}


def _known(f: Field) -> bool:
    """Return whether the config determines the value of a field after reset."""
    return f.source is not Source.STATUS


_FUNCTIONS = """\
/* The register at `offset` of a machine whose registers begin at `base`. */
static inline uint32_t etchnet_read(const volatile void *base, uint32_t offset)
{
  return *(const volatile uint32_t *)((const volatile unsigned char *)base + offset);
}

static inline void etchnet_write(volatile void *base, uint32_t offset, uint32_t value)
{
  *(volatile uint32_t *)((volatile unsigned char *)base + offset) = value;
}

/* 1 if the machine at `base` is the one that this header was generated for, else 0. */
static inline int etchnet_matches(const volatile void *base)
{
  return etchnet_read(base, ETCHNET_ID) == ETCHNET_ID_DEFAULT &&
         (etchnet_read(base, ETCHNET_VERSION) & ETCHNET_VERSION_MAJOR_MASK) ==
             (ETCHNET_VERSION_DEFAULT & ETCHNET_VERSION_MAJOR_MASK) &&
         etchnet_read(base, ETCHNET_FINGERPRINT) == ETCHNET_FINGERPRINT_DEFAULT;
}

/* Reset the machine; its memories, and a word that the bus already offers, stay. */
static inline void etchnet_reset(volatile void *base)
{
  etchnet_write(base, ETCHNET_CONTROL, ETCHNET_CONTROL_RESET_MASK);
  etchnet_write(base, ETCHNET_CONTROL, 0);
}

/* All counters as of one cycle, indexed by enum etchnet_counter. They are not cleared. */
static inline void etchnet_counters(volatile void *base, uint64_t counters[ETCHNET_COUNTERS])
{
  uint32_t i;
  etchnet_write(base, ETCHNET_SNAPSHOT, ETCHNET_SNAPSHOT_COUNTERS_MASK);
  for (i = 0; i < ETCHNET_COUNTERS; i++)
    counters[i] = etchnet_read(base, ETCHNET_@FIRST@ + 8u * i) |
                  (uint64_t)etchnet_read(base, ETCHNET_@FIRST@ + 8u * i + 4u) << 32;
}
"""


def c_header(config: Config) -> str:
    """Return a header for C99 and C++: offsets, masks, shifts, the machine's constants, and access functions."""
    lines = [
        "/* Generated; do not edit.",
        f" * Etchnet: registers of a machine with an array of {config.rows} x {config.columns}.",
        " *",
        " * ETCHNET_R is the offset of register R in bytes, ETCHNET_R_DEFAULT its value after reset.",
        " * ETCHNET_R_F_MASK and ETCHNET_R_F_SHIFT locate its field F, unless F fills R.",
        " */",
        "#ifndef ETCHNET_H",
        "#define ETCHNET_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
    ]

    def define(name: str, value: str) -> None:
        lines.append(f"#define ETCHNET_{name} {value}")

    define("SIZE", f"0x{1 << ADDRESS_BITS:x}u")
    for register in REGISTERS:
        lines += ["", f"/* {register.doc}; {register.access.value} */"]
        define(register.name, f"0x{register.offset:03x}u")
        if all(map(_known, register.fields)) and register.access is not Access.WRITE_ONLY:
            define(f"{register.name}_DEFAULT", f"0x{register.reset(config):08x}u")
        for f in register.fields:
            if f.bits < REGISTER_BITS:
                if len(register.fields) > 1 or f.doc != register.doc:
                    lines.append(f"/* {f.doc} */")
                define(f"{register.name}_{f.name}_MASK", f"0x{f.mask:08x}u")
                define(f"{register.name}_{f.name}_SHIFT", f"{f.first}")
    lines += [
        "",
        "enum etchnet_counter {",
        *(f"  ETCHNET_COUNTER_{c.name} = {int(c)}," for c in Counter),
        f"  ETCHNET_COUNTERS = {len(Counter)}",
        "};",
        "",
        _FUNCTIONS.replace("@FIRST@", counter_registers(Counter(0))[0]),
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def svd(config: Config) -> str:
    """Return a CMSIS-SVD file (version 1.3) of one peripheral at address 0, for debuggers and driver generators."""
    device = xml.Element(
        "device",
        {
            "schemaVersion": "1.3",
            "xmlns:xs": "http://www.w3.org/2001/XMLSchema-instance",
            "xs:noNamespaceSchemaLocation": "CMSIS-SVD.xsd",
        },
    )
    version = ".".join(map(str, VERSION))
    _texts(device, name="ETCHNET", version=version, description="Etchnet", addressUnitBits=8, width=REGISTER_BITS)
    peripheral = xml.SubElement(xml.SubElement(device, "peripherals"), "peripheral")
    _texts(
        peripheral,
        name="ETCHNET",
        version=version,
        description=f"A machine with an array of {config.rows} x {config.columns}",
        baseAddress="0x0",
    )
    _texts(xml.SubElement(peripheral, "addressBlock"), offset="0x0", size=f"0x{1 << ADDRESS_BITS:x}", usage="registers")
    registers = xml.SubElement(peripheral, "registers")
    for register in REGISTERS:
        _svd_register(registers, register, config)
    xml.indent(device)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(device, encoding="unicode") + "\n"


def _svd_register(registers: xml.Element, register: Register, config: Config) -> None:
    element = xml.SubElement(registers, "register")
    known = sum(f.mask for f in register.fields if _known(f))
    _texts(
        element,
        name=register.name,
        description=register.doc,
        addressOffset=f"0x{register.offset:x}",
        size=REGISTER_BITS,
        access=register.access.value,
        resetValue=f"0x{register.reset(config):x}",
        resetMask=f"0x{known:x}",
    )
    fields = xml.SubElement(element, "fields")
    for f in register.fields:
        clears = {"modifiedWriteValues": "oneToClear"} if f.source is Source.EVENT else {}
        _texts(
            xml.SubElement(fields, "field"),
            name=f.name,
            description=f.doc,
            bitOffset=f.first,
            bitWidth=f.bits,
            access=register.access.value,
            **clears,
        )


def _texts(parent: xml.Element, **values: Any) -> None:
    for name, value in values.items():
        xml.SubElement(parent, name).text = str(value)
