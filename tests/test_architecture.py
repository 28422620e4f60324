"""The architecture, written down: who may import whom, and what only some files may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import clipseg
from clipseg import batch

SOURCE = Path(clipseg.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py"))
MOST_LINES = 400

# A room -> the rooms it may import from, itself aside. The table of docs/architecture.md.
ROOMS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "folder_lock": {"errors"},
    "behind": set(),
    "signals": set(),
    "checkpoints": {"errors"},
    "configuration": {"errors", "checkpoints", "version"},
    "modeling": {"errors", "checkpoints", "configuration"},
    "processing": {"errors", "checkpoints"},
    "masks": {"errors"},
    "metrics": {"errors"},
    "image_utils": {"errors", "processing", "version"},
    "auto": {"errors", "checkpoints", "configuration", "modeling", "processing"},
    "pipelines": {"errors", "configuration", "modeling", "processing", "image_utils", "auto"},
    "runtime": {"errors", "version", "checkpoints", "configuration", "modeling", "processing", "masks"},
    "prompting": {"errors", "version", "checkpoints", "processing", "modeling", "runtime"},
    "tiling": {"errors", "masks"},
    "fits": {"errors", "processing", "masks", "tiling"},
    "ahead": {"processing"},
    "features": {"errors", "processing", "modeling", "runtime", "tiling", "fits", "ahead"},
    "answering": {"errors", "processing", "prompting", "masks", "fits", "features"},
    "segmenter": {
        "errors", "checkpoints", "configuration", "processing", "modeling", "runtime", "prompting", "masks", "fits",
        "features", "answering",
    },
    "formats": {"errors", "masks"},
    "video_files": {"errors"},
    "video": {"errors", "processing", "prompting", "masks", "segmenter", "video_files"},
    "data": {"errors", "processing", "masks", "formats", "prompting", "segmenter"},
    "evaluation": {
        "errors", "version", "checkpoints", "data", "metrics", "masks", "prompting", "segmenter",
    },
    "benchmark": {
        "errors", "version", "configuration", "modeling", "runtime", "processing", "prompting", "masks", "segmenter",
    },
    "analysis": {
        "errors", "data", "metrics", "masks", "modeling", "processing", "prompting", "segmenter", "evaluation",
    },
    "training": {
        "errors", "version", "checkpoints", "configuration", "modeling", "processing", "prompting", "masks", "data",
        "metrics", "segmenter", "evaluation", "folder_lock", "signals",
    },
    "batch": {
        "errors", "version", "folder_lock", "behind", "signals", "checkpoints", "processing", "prompting", "masks",
        "fits", "answering", "segmenter", "formats", "data",
    },
    "client": {"errors"},
    "server": {
        "behind", "errors", "version", "configuration", "processing", "runtime", "prompting", "masks", "fits",
        "features", "answering", "segmenter", "formats",
    },
    "cli": {
        "server", "behind", "errors", "version", "checkpoints", "configuration", "modeling", "processing", "prompting",
        "masks", "fits", "segmenter", "formats", "video", "video_files", "data", "evaluation", "training", "analysis",
        "benchmark", "runtime", "folder_lock", "batch",
    },
    "__init__": {"version"},
    "__main__": {"cli"},
}  # fmt: skip

NETWORK = {"huggingface_hub", "urllib", "http", "requests", "socket", "httpx"}
NETWORKED = {
    "checkpoints/hub.py", "checkpoints/hub_cache.py", "image_utils.py", "client.py", "server/serving.py",
    "batch/ray.py",
}  # fmt: skip
SET_APART = "batch/worker.py"
"""A process that is started to work in, whose settings are nobody else's."""


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, inside functions too, those for type checking aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: an import names the file it means, from the top"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def calls(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_downwards(path: Path) -> None:
    allowed = ROOMS[room_of(path)] | {room_of(path)}
    wrong = [
        f"line {line}: {name}"
        for name, line in imports(path)
        if name.startswith("clipseg.") and name.split(".")[1] not in allowed
    ]
    assert not wrong, f"{path.relative_to(SOURCE)} reaches above its room: {wrong}"


def test_every_room_has_a_row() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_forbidden_things(path: Path) -> None:
    room, name = room_of(path), path.relative_to(SOURCE).as_posix()
    for module, line in imports(path):
        top = module.split(".")[0]
        assert top != "transformers", f"{name}:{line}: transformers is a test oracle, never a dependency"
        if room != "cli":
            assert top not in {"click", "rich"}, f"{name}:{line}: only the command line knows a terminal"
        if name not in NETWORKED:
            assert top not in NETWORK, f"{name}:{line}: only {' and '.join(sorted(NETWORKED))} may use the network"
    for call, line in calls(path):
        if room != "cli":
            assert call not in {"print", "sys.exit", "exit", "quit", "os._exit"}, f"{name}:{line}: {call}"
        if room not in {"training", "evaluation"} and name != SET_APART:
            assert call != "torch.manual_seed", f"{name}:{line}: {call}"
            # `behind` sets it for threads of its own, and puts it back.
            assert call != "torch.set_num_threads" or room == "behind", f"{name}:{line}: {call}"
        assert not call.startswith(("torch.distributed", "dist.init_process")) or room in {"training", "evaluation"}, (
            f"{name}:{line}"
        )
        assert call != "pickle.load" and call != "pickle.loads", f"{name}:{line}: pickles run code"  # noqa: PT018
        if call == "torch.load":
            assert "weights_only=True" in path.read_text(encoding="utf-8"), (
                f"{name}:{line}: torch.load without weights_only"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{path.relative_to(SOURCE)} has {lines} lines; is it still one idea?"


def test_sub_packages_are_empty() -> None:
    for path in SOURCE.rglob("__init__.py"):
        if path.parent not in (SOURCE, SOURCE / "batch"):
            assert path.read_text(encoding="utf-8") == "", f"{path}: an import names the file it means"


def test_public_names_are_sorted_complete_and_there() -> None:
    assert clipseg.__all__ == sorted(clipseg.__all__)
    assert set(clipseg.__all__) == set(clipseg._HOMES) | {"__version__"}
    assert list(clipseg._HOMES) == sorted(clipseg._HOMES)
    for name in clipseg.__all__:
        assert getattr(clipseg, name) is not None
    assert dir(clipseg) == clipseg.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = clipseg.nonsense  # type: ignore[attr-defined]


def test_the_one_sub_package_with_names_of_its_own() -> None:
    """What people call by the room's name, as `clipseg.batch.run(…)`; a module called so would take its place."""
    assert set(batch.__all__) == set(batch._HOMES)
    for name in batch.__all__:
        assert callable(getattr(batch, name))
        assert not (SOURCE / "batch" / f"{name}.py").exists()
    assert dir(batch) == batch.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = batch.nonsense


def test_importing_does_nothing() -> None:
    """No torch, no files of our own, no threads, no warnings; and every module can be imported on its own."""
    modules = [
        ".".join(("clipseg", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        if path.name != "__main__.py"
    ]
    code = (
        "import sys, threading, importlib\n"
        "import clipseg\n"
        "heavy = {'torch', 'numpy', 'PIL', 'tokenizers', 'huggingface_hub', 'scipy', 'rich', 'click'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""
