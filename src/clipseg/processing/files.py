"""What the tokeniser and the image processors share in finding and writing their small files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from clipseg.checkpoints.files import replacing

FilePath: TypeAlias = str | os.PathLike[str]

# What `hub.find_file` is asked with; every other keyword of a `from_pretrained` is an option of the thing loaded.
HUB_OPTIONS = ("subfolder", "revision", "cache_dir", "token", "local_files_only")
# Keywords of the documented classes that choose between implementations; there is one here and it runs no foreign code.
MOOT_OPTIONS = ("use_fast", "backend", "trust_remote_code")


def split_hub_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of a `from_pretrained` -> (those that say where to look, those that override what is found)."""
    where = {name: value for name, value in options.items() if name in HUB_OPTIONS}
    overrides = {name: value for name, value in options.items() if name not in (*HUB_OPTIONS, *MOOT_OPTIONS)}
    return where, overrides


def write_text(path: Path, text: str) -> str:
    """Text -> a UTF-8 file, whole or not at all, and its path. Raises OutputError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return str(path)
