"""A tiny model with random weights, and the command line called in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipseg.cli import terminal
from clipseg.cli.main import execute
from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Stdout, which holds JSON lines and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The message of a call that failed with one line, and said nothing else."""
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("error: ").rstrip()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: 64 x 64 pixels, 8 numbers a condition."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary, merges = train_vocabulary(["a cat", "a remote control"], 530)
    tokenizer = CLIPTokenizer(vocabulary, merges, model_max_length=77)
    tower = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = CLIPSegTextConfig(
        **tower,
        vocab_size=len(tokenizer),
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = CLIPSegConfig(
        text,
        CLIPSegVisionConfig(**tower, image_size=64, patch_size=16),
        projection_dim=8,
        extract_layers=(0, 1),
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPSegForImageSegmentation(config).save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty, and far from any network."""
    home = tmp_path / "here"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`call("segment", …)` -> what the command line did."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = execute([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return call


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Outcome]:
    """The same in a process of its own, with no network."""

    def process(*arguments: object) -> Outcome:
        command = [sys.executable, "-m", "clipseg", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=isolated(tmp_path), timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return process


def isolated(home: Path) -> dict[str, str]:
    """An environment whose hub is a closed port of this machine."""
    hub = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home / "hub")}
    return {**os.environ, **hub, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def draw(folder: Path) -> Callable[..., Path]:
    """`draw("cat.png")` -> a picture file of noise in the current folder."""

    def draw(name: str = "cat.png", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")
        return path

    return draw


@pytest.fixture
def terminal_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go to a person, whose terminal is wide."""
    monkeypatch.setattr(terminal, "wants_table", lambda as_json: not as_json)
    monkeypatch.setenv("COLUMNS", "160")
