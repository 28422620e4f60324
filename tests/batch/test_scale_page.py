"""docs/scale.md: its table is what its model says, and its sentences are too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clipseg.benchmark.flops import decoder_flops, encoder_flops
from clipseg.benchmark.materials import released_configuration

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reckon() -> Any:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(code, "scale.md", "exec"), space)
    return space["reckon"]


def test_the_table_is_the_model_s(reckon: Any) -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for gpus, prompts, rest in rows:
        bill = reckon(int(gpus), int(prompts))
        told = (
            f"{bill.pictures_per_second:,.0f} | {bill.hours:,.1f} | {bill.cores_per_gpu:,.0f} | "
            f"{bill.gigabytes_read:,.1f} | {bill.terabytes:,.1f}"
        )
        assert rest == told


def test_sentences_are_the_model_s(reckon: Any) -> None:
    text = " ".join(PAGE.split())
    few, many = reckon(1, 3), reckon(1, 30)
    assert f"encodes {few.pictures_per_second:,.0f} pictures a second wants {few.cores_per_gpu:.0f} cores" in text
    assert f"and {many.cores_per_gpu:.0f} where 30 prompts" in text
    large = [reckon(64, 3, megapixels=12, file_bytes=2.4e6, decode_ms=ms).cores_per_gpu for ms in (7.0, 2.0)]
    assert f"want {large[0]:.0f} cores a GPU, and {large[1]:.0f} with `--reduced-decoding`" in text
    assert f"is {reckon(64, 3).gigabytes_read:.0f} GB/s for 64 GPUs" in text
    assert f"they are {few.terabytes * 1e12 / (1e9 * 250e3):.1%} of what was read" in text
    assert reckon(1, 3, pictures=1e9).runs == 100


def test_operations_are_those_of_the_released_size() -> None:
    config = released_configuration()
    assert f"| {encoder_flops(config, (352, 352)) / 1e9:.1f} GFLOP |" in PAGE
    assert f"| {decoder_flops(config, (352, 352), 1) / 1e9:.2f} GFLOP |" in PAGE
