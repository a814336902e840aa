"""Verilog with a harness of its own as a native library."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from etchnet.sim import engines
from etchnet.sim.engines.verilated import cache_folder
from etchnet.sim.engines.verilated.objects import compiler_flags, runtime_object, runtime_sources
from etchnet.sim.engines.verilated.toolchain import Toolchain

FOLDERS = Path(__file__).parent, Path(engines.__file__).parent / "verilated"
"""where harnesses and the files that they include are"""


def shared_library(
    files: Mapping[str, str], *, top: str, prefix: str, harness: str, level: str = "-O1", flags: Sequence[str] = ()
) -> Path:
    """Return the library of a top module and a harness of `FOLDERS`, from the cache or compiled now.

    Verilator is given those of the files whose names end in `.v`. `level` is that of the compiler's optimisation.
    """
    toolchain = Toolchain.find()
    code = [path.read_text() for folder in FOLDERS for path in sorted(folder.glob("*.[ch]*")) if path.suffix != ".py"]
    parts = [*files.items(), top, prefix, harness, level, *flags, *code, *toolchain.identity()]
    path = cache_folder() / f"board-{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        sources = [file for file in files if file.endswith(".v")]
        arguments = ["--cc", *sources, "--top-module", top, "--prefix", prefix, "--Mdir", "obj"]
        toolchain.verilate([*arguments, "--no-timing", "-Wno-fatal", "--x-initial", "unique"], folder)
        # One file: reading Verilator's headers takes longer than compiling the code of a small machine.
        found = next(where / harness for where in FOLDERS if (where / harness).exists())
        parts = [*sorted((folder / "obj").glob("*.cpp")), found]
        (folder / "all.cpp").write_text("".join(f'#include "{part}"\n' for part in parts))
        options = [*compiler_flags(level, waveforms=False), *flags]
        options += [option for where in FOLDERS for option in ("-I", str(where))]
        toolchain.compile(folder / "all.cpp", folder / "all.o", options, folder)
        names = runtime_sources(waveforms=False)
        runtime = [runtime_object(toolchain, name, folder) for name in names]
        toolchain.link([folder / "all.o", *runtime], folder / "board.so", folder)
        os.replace(folder / "board.so", path)
    return path
