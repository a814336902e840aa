"""Writer of YAML for the few kinds of values that projects need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["to_yaml"]

_PLAIN = re.compile(r"[A-Za-z_][\w./+-]*(?:::[\w*./-]+)?", re.ASCII)
_KEYWORDS = ("yes", "no", "on", "off", "true", "false", "null")


def to_yaml(value: Any, depth: int = 0) -> str:
    """Return a value of mappings, lists and scalars as YAML in block style, indented by two spaces per `depth`.

    Strings are quoted unless YAML reads them as strings without quotes.
    """
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_scalar(k)}:{_nested(v, depth)}" for k, v in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_nested(v, depth)}" for v in value)
    return f"{pad}{_scalar(value)}\n"


def _nested(value: Any, depth: int) -> str:
    """Return the value of a key or of an item; collections begin on a new line."""
    return "\n" + to_yaml(value, depth + 1) if isinstance(value, Mapping | list) and value else f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    """Return a scalar, plain if YAML reads it unchanged, otherwise as JSON with YAML's escapes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _KEYWORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", quoted)
