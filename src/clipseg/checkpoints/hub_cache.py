"""What the hub's cache on this machine holds, and how it is let go of. Nothing is asked of the hub.

Layout, as huggingface_hub's guide to its cache has it: `models--OWNER--NAME/` with `blobs/`, `refs/` and
`snapshots/COMMIT/`, whose files are links to blobs, or, where there are no links, the files themselves.
"""

import json
import shutil
from pathlib import Path

from clipseg.checkpoints.hub import BUNDLED, local_folder
from clipseg.errors import CheckpointNotFoundError, OutputError, UsageError

_MODEL_TYPE = "clipseg"
_PREFIX, _SEPARATOR = "models--", "--"


def cache_folder() -> Path:
    """-> where huggingface_hub keeps what it fetched; it need not be there yet."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def is_offline() -> bool:
    """Whether the environment forbids asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_names() -> list[str]:
    """-> the hub ids of the CLIPSeg models in the cache, by name."""
    found = {
        path.parts[-4].removeprefix(_PREFIX).replace(_SEPARATOR, "/", 1)
        for path in cache_folder().glob(f"{_PREFIX}*/snapshots/*/config.json")
        if _model_type(path) == _MODEL_TYPE
    }
    return sorted(found)


def cached_bytes(name: str) -> int:
    """A hub id -> how many bytes the cache has of it, of all its revisions.

    Raises UsageError for a model that is bundled or a folder, and CheckpointNotFoundError where there is none of it.
    """
    folder = _folder_of(name)
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def remove_cached(name: str) -> int:
    """A hub id -> how many bytes became free, now that the cache has none of it.

    Raises as `cached_bytes`, and OutputError.
    """
    folder, freed = _folder_of(name), cached_bytes(name)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed ({error.strerror or error}); remove it by hand") from error
    shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)  # empty files, which nobody misses
    return freed


def _folder_of(name: str) -> Path:
    folder = local_folder(name)
    if folder is not None:
        what = "comes with clipseg" if name in BUNDLED else f"is the folder {folder}"
        raise UsageError(f"{name} {what}, and is not in the cache; only models of the hub are removed")
    folder = cache_folder() / f"{_PREFIX}{name.replace('/', _SEPARATOR)}"
    if not folder.is_dir():
        raise CheckpointNotFoundError(f"{name} is not in the cache {folder.parent}; `clipseg models` lists what is")
    return folder


def _model_type(config: Path) -> str | None:
    """A model's config.json -> the type it tells; None if it cannot be read."""
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError):
        return None
    found = content.get("model_type") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None
