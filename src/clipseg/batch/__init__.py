"""A million pictures, in runs that survive whatever ends them.

    import clipseg.batch

    clipseg.batch.run("photos", ["a cup", "wood AND NOT table"], "out", model="nano")
    for picture in clipseg.batch.Run("out").pictures():
        ...

Names are loaded when they are first used, as those of `clipseg` are.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipseg.batch.reading import Run
    from clipseg.batch.running import run

_HOMES = {"Run": "reading", "run": "running"}
"""Public name -> the module it lives in; no module may be called as one of them."""

__all__ = ["Run", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clipseg.batch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"clipseg.batch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
