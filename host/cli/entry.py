"""Where the installed command begins: it imports nothing before it can be interrupted in one line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line (`etchnet.host.cli.main`)."""
    try:
        from etchnet.host.cli.main import main as run
    except KeyboardInterrupt:
        print("etchnet: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
