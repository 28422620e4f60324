"""Weights that are let go of, and batches as large as there is room."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import ready
from clipseg.runtime import memory
from clipseg.runtime.memory import MOST_PROMPTS, PROMPTS_ON_CPU, in_parts, let_go, prompts_at_once


def mapped_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssFile"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is told to drop pages")
def test_mapped_weights_leave_memory_and_come_back(tmp_path):
    weights = torch.arange(8_000_000, dtype=torch.float32)
    save_file({"weights": weights, "few": torch.arange(10.0)}, tmp_path / "model.safetensors")
    mapped = load_file(tmp_path / "model.safetensors")
    total, before = mapped["weights"].sum(), mapped_bytes()
    let_go(mapped.values())
    assert before - mapped_bytes() > 30_000_000
    assert mapped["weights"].sum() == total
    assert mapped["few"].tolist() == list(range(10))


def test_what_is_in_memory_alone_stays():
    weights = torch.arange(1_000_000.0)
    written = weights.clone()
    written[500_000] = -1
    let_go([weights, written, torch.empty(3, device="meta"), torch.empty(0)])
    assert weights.sum() == torch.arange(1_000_000.0).sum()
    assert written[500_000] == -1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is told to drop pages")
def test_what_was_written_over_a_mapped_weight_is_not_lost(tmp_path):
    save_file({"weights": torch.zeros(2_000_000)}, tmp_path / "model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")["weights"]
    weights[1_000_000:] = 7
    let_go([weights])
    assert weights[:1_000_000].eq(0).all()
    assert weights[1_000_000:].eq(7).all()


@given(count=st.integers(1, 40), room=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_batch_is_halved_until_it_fits(count, room):
    sizes = []

    def run(part: torch.Tensor) -> torch.Tensor:
        if len(part) > room:
            raise torch.OutOfMemoryError("no room")
        sizes.append(len(part))
        return part * 2

    batch = torch.arange(float(count))
    assert torch.equal(torch.cat(list(in_parts(run, batch))), batch * 2)
    assert max(sizes) <= room
    assert count > room or sizes == [count]


def test_one_that_does_not_fit_is_told():
    def run(part: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_parts(run, torch.zeros(4)))


def test_a_gpu_decodes_as_many_maps_as_it_has_room_for(monkeypatch):
    config = ready.model().config
    config.decoder_intermediate_size, config.reduce_dim, config.vision_config.patch_size = 2048, 64, 16
    gpu = torch.device("cuda")
    found = []
    for free in (1 << 20, 1 << 30, 1 << 33, 1 << 37):
        monkeypatch.setattr(memory.torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        found.append(prompts_at_once(config, (22, 22), gpu))
    assert found[0] == 1
    assert found[-1] == MOST_PROMPTS
    assert found == sorted(found)
    assert 10 < found[1] < 40  # an activation of 485 x 2048 numbers takes 4 MB, and three are alive
    assert prompts_at_once(config, (22, 22), torch.device("cpu")) == PROMPTS_ON_CPU


def test_pictures_and_prompts_go_on_in_halves(monkeypatch):
    segmenter = ready.segmenter()
    pictures = [ready.picture(seed) for seed in range(5)]
    prompts = [f"a cat {number}" for number in range(7)]
    expected = segmenter.segment_many(pictures, prompts)
    encode, decode = segmenter.model.encode_images, segmenter.model.decode

    def little(run):
        def limited(*arguments):
            if len(arguments[-1]) > 2:
                raise torch.OutOfMemoryError("no room")
            return run(*arguments)

        return limited

    monkeypatch.setattr(segmenter.model, "encode_images", little(encode))
    monkeypatch.setattr(segmenter.model, "decode", little(decode))
    for found, whole in zip(segmenter.segment_many(pictures, prompts), expected, strict=True):
        torch.testing.assert_close(found.logits, whole.logits, atol=1e-4, rtol=1e-4)
