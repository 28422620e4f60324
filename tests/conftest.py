"""What every test may use: helper modules beside this file, and a model hub of its own on 127.0.0.1."""

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from hub_server import HubServer

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processors are shared by the workers already
os.environ["CLIPSEG_PROMPT_CACHE"] = "off"  # no test finds prompts that another has embedded, nor leaves any
# Machines are shared: a slow answer is no wrong one. What is checked of a change are the same examples each time; who
# works on it is shown others with every run.
settings.register_profile("clipseg", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("clipseg")


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty hub that this process asks instead of the real one, with its cache in `tmp_path / "hub"`.

    Fill it through `hub_server.repositories["org/model"] = {"config.json": b"{}"}`. For a fresh process use
    `hub_server.environment(home)`.
    """
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubServer({}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


@pytest.fixture(scope="session")
def installed_pictograms() -> None:
    """Skips a test where the emoji font or the CLDR, packages of the operating system, are not installed."""
    from clipseg.data.pictograms import pictograms, sprites
    from clipseg.errors import MissingPackageError

    try:
        pictograms("🐱")
        sprites("🐱")
    except MissingPackageError as error:
        pytest.skip(f"system package missing: {error}")


@pytest.fixture(scope="session")
def supervision() -> ModuleType:
    """The package `supervision`, which reads what we write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that OpenCV is not installed
        return import_module("supervision")


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Threads of the library's own end with what they were made for."""
    yield
    end = time.monotonic() + 5
    while any(thread.name.startswith("clipseg-") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)
