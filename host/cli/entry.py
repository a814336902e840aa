"""Entry point of the installed command; it handles interrupts before it imports anything slow."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line (`etchnet.host.cli.main`); an interrupt during its import exits with status 130."""
    try:
        from etchnet.host.cli.main import main as run
    except KeyboardInterrupt:
        print("etchnet: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
