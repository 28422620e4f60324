"""A million pictures, in runs that survive whatever ends them.

    import clipseg.batch

    clipseg.batch.run("photos", ["a cup", "wood AND NOT table"], "out", model="nano")
    for picture in clipseg.batch.Run("out").pictures():
        ...
    clipseg.batch.finalize("out", to="coco")

Names are loaded when they are first used, as those of `clipseg` are.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipseg.batch.choosing import Choice
    from clipseg.batch.finalizing import finalize
    from clipseg.batch.labelling import label, read_classes
    from clipseg.batch.reading import Run
    from clipseg.batch.report import write_report
    from clipseg.batch.running import run

_HOMES = {
    "Choice": "choosing",
    "Run": "reading",
    "finalize": "finalizing",
    "label": "labelling",
    "read_classes": "labelling",
    "run": "running",
    "write_report": "report",
}
"""Public name -> the module it lives in; no module may be called as one of them."""

__all__ = ["Choice", "Run", "finalize", "label", "read_classes", "run", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clipseg.batch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"clipseg.batch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
