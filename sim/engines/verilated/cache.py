"""The cache of generated and compiled machines: each file is named after a digest of everything it is made from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "digest"]


def cache_folder() -> Path:
    """Return the folder of the cache: `$ETCHNET_CACHE`, or `etchnet` in the user's cache folder."""
    if chosen := os.environ.get("ETCHNET_CACHE"):
        return Path(chosen).absolute()
    return platformdirs.user_cache_path("etchnet", appauthor=False).absolute()


def digest(*parts: str | bytes) -> str:
    """Return a file name for a list of contents: 24 hexadecimal digits of the SHA-256 of its length-prefixed parts."""
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(len(raw).to_bytes(8, "little") + raw)
    return found.hexdigest()[:24]
