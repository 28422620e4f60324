"""The cache gives what the model would compute, is stored once, and survives being killed."""

import errno
import os
import pickle
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

import tiny
from clipseg.data.geometry import to_pixels
from clipseg.data.sample import Sample, SampleDataset, Support
from clipseg.errors import CheckpointError, DataError, OutputError, TrainingError, UsageError
from clipseg.training import feature_cache
from clipseg.training.feature_cache import SPARE_BYTES, FeatureCache
from clipseg.training.parameters import prepare_parameters

SIZE = 64
Usage = namedtuple("Usage", "total used free")


class Pictures(SampleDataset):
    """So many entries on half as many pictures: each is asked about twice."""

    def __init__(self, count, first=0):
        self.count, self.first, self.read = count, first, []

    def __len__(self):
        return self.count

    def draw(self, index, rng):
        self.read.append(index)
        number = self.first + index // 2
        picture = np.random.default_rng(number).integers(0, 256, (40 + number, 50, 3), np.uint8)
        mask = np.zeros(picture.shape[:2], bool)
        mask[5:20, 8:30] = True
        return Sample(picture, mask, f"thing {index}", Support(picture, mask))


def frozen(seed=0, **changes):
    model = tiny.segmenter(seed, **changes)
    prepare_parameters(model, "decoder")
    return model


def rows_of(cache):
    return (cache.folder / "done.bin").read_bytes()


def same(one, other):
    """Whether activations are the same, but for what batches of other sizes round otherwise."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def answer(model, encoded):
    condition = torch.randn(len(encoded), 1, 12, generator=torch.Generator().manual_seed(0))
    return model.decode(encoded, condition)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 5e-3)])
def test_it_gives_what_the_model_computes(tmp_path, dtype, tolerance):
    model, data = frozen().train(), Pictures(6)
    cache = FeatureCache.fill(model, [data], tmp_path, size=SIZE, dtype=dtype, batch=2)
    assert model.training, "as it was"
    pictures = [data[index].picture for index in range(6)]
    taps = torch.stack([cache.taps(picture) for picture in pictures])
    assert taps.dtype == torch.float32
    pixels = torch.stack([to_pixels(picture, SIZE) for picture in pictures])
    expected = answer(model, model.encode_images(pixels))
    torch.testing.assert_close(answer(model, cache.encoded(model, taps)), expected, rtol=tolerance, atol=tolerance)
    with torch.no_grad():  # the reductions train on: nothing of them is stored
        for parameter in model.decoder.reduces.parameters():
            parameter.mul_(-1)
    expected = answer(model, model.encode_images(pixels))
    torch.testing.assert_close(answer(model, cache.encoded(model, taps)), expected, rtol=tolerance, atol=tolerance)


def test_a_picture_is_stored_once(tmp_path):
    cache = FeatureCache.fill(frozen(), [Pictures(6), Pictures(4, first=2)], tmp_path, size=SIZE)
    assert rows_of(cache) == b"\1" * 4, "three pictures, and two of which one is new"
    assert cache.shape == (3, 17, 24)
    assert (cache.folder / "taps.bin").stat().st_size == 4 * cache.row_bytes == 4 * 3 * 17 * 24 * 4


def test_gradients_are_those_without_it(tmp_path):
    model, data = frozen().train(), Pictures(4)
    cache = FeatureCache.fill(model, [data], tmp_path, size=SIZE)
    pictures = [data[index].picture for index in range(4)]
    gradients = []
    for encoded in (
        model.encode_images(torch.stack([to_pixels(picture, SIZE) for picture in pictures])),
        cache.encoded(model, torch.stack([cache.taps(picture) for picture in pictures])),
    ):
        model.zero_grad()
        answer(model, encoded).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.decoder.parameters()])
    for with_pixels, with_cache in zip(*gradients, strict=True):
        torch.testing.assert_close(with_pixels, with_cache, rtol=1e-5, atol=1e-6)


def test_filling_goes_on_where_it_was_killed(tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total):
        assert total == 4
        if done == 2:
            raise Killed

    model, data = frozen(), Pictures(8)
    with pytest.raises(Killed):
        FeatureCache.fill(model, [data], tmp_path, size=SIZE, batch=1, on_progress=kill)
    (place,) = tmp_path.iterdir()
    with (place / "taps.bin").open("ab") as file:
        file.write(b"half a row, and no mark that it is done")
    heard = []
    cache = FeatureCache.fill(
        model, [data], tmp_path, size=SIZE, batch=1, on_progress=lambda done, total: heard.append((done, total))
    )
    assert heard == [(1, 2), (2, 2)]
    whole = FeatureCache.fill(model, [data], tmp_path / "whole", size=SIZE, batch=1)
    assert (cache.folder / "taps.bin").read_bytes() == (whole.folder / "taps.bin").read_bytes()
    data.read.clear()
    heard.clear()
    FeatureCache.fill(model, [data], tmp_path, size=SIZE, batch=1, on_progress=lambda *counts: heard.append(counts))
    assert not heard
    assert len(data.read) == 8, "some pictures tell that it is the same data set"


def test_processes_share_the_work(tmp_path):
    """Each stores its blocks and waits for the others'."""

    def one(rank):
        heard = []
        cache = FeatureCache.fill(
            frozen(), [Pictures(8)], tmp_path, size=SIZE, batch=1, rank=rank, world=2,
            on_progress=lambda done, total: heard.append((done, total)),
        )  # fmt: skip
        return [cache.taps(sample.picture) for sample in Pictures(8)], heard

    with ThreadPoolExecutor(2) as threads:
        (first, heard), (second, also) = threads.map(one, (0, 1))
    alone = FeatureCache.fill(frozen(), [Pictures(8)], tmp_path / "alone", size=SIZE, batch=1)
    for index, sample in enumerate(Pictures(8)):
        assert torch.equal(first[index], second[index])
        same(first[index], alone.taps(sample.picture))
    assert [heard[-1], also[-1]] == [(2, 2), (2, 2)]


def test_two_runs_may_add_pictures_at_once(tmp_path, monkeypatch):
    """Neither takes the rows of the other, whoever has looked at the list first."""
    model, data = frozen(), (Pictures(4), Pictures(4, first=2))
    fill = partial(FeatureCache.fill, model, size=SIZE)
    fill([], tmp_path)
    listed = feature_cache._listed

    def late(place):
        """What the list was before the other run had added to it."""
        found = listed(place)
        monkeypatch.setattr(feature_cache, "_listed", listed)
        fill([data[0]], tmp_path)
        return found

    monkeypatch.setattr(feature_cache, "_listed", late)
    cache = fill([data[1]], tmp_path)
    alone = fill([*data], tmp_path / "alone")
    for sample in (*data[0], *data[1]):
        same(FeatureCache(cache.folder).taps(sample.picture), alone.taps(sample.picture))
    with (cache.folder / "pictures.bin").open("ab") as file:
        file.write(b"cut short")
    more = fill([Pictures(2, first=7)], tmp_path)
    same(more.taps(data[1][0].picture), alone.taps(data[1][0].picture))


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    """What is stored stays, and the same command goes on."""
    model, data, real = frozen(), Pictures(8), os.fsync
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) == 8:  # whatever is written before the pictures, and some of them
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    fill = partial(FeatureCache.fill, model, [data], tmp_path, size=SIZE, batch=1)
    monkeypatch.setattr(os, "fsync", full)
    calls.extend([0] * 3)
    with pytest.raises(OutputError, match=r"No space left.*start the same command again"):
        fill()
    (place,) = tmp_path.iterdir()
    stored = sum((place / "done.bin").read_bytes())
    assert 0 < stored < 4
    heard = []
    fill(on_progress=lambda *counts: heard.append(counts))
    assert heard[-1] == (4 - stored, 4 - stored)


@pytest.mark.parametrize("change", ["weights", "size", "dtype", "layers", "decoder"])
def test_what_it_belongs_to(tmp_path, change):
    """Other weights of CLIP, preprocessing or type are another cache; another decoder is the same one."""
    data = Pictures(2)
    FeatureCache.fill(frozen(), [data], tmp_path, size=SIZE)
    model = frozen(int(change == "weights"), extract_layers=[0, 1, 3] if change == "layers" else [0, 1, 2])
    if change == "decoder":
        model.decoder.initialise(model.config)
    options = {"size": 32 if change == "size" else SIZE, "dtype": "float16" if change == "dtype" else "float32"}
    FeatureCache.fill(model, [data], tmp_path, **options)
    assert len(list(tmp_path.iterdir())) == 1 + (change != "decoder")


def test_a_full_disk_is_told_before_anything_is_stored(tmp_path, monkeypatch):
    needed = 3 * 3 * 17 * 24 * 4
    for free, fits in ((needed + SPARE_BYTES - 1, False), (needed + SPARE_BYTES, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: Usage(free, 0, free))
        if fits:
            FeatureCache.fill(frozen(), [Pictures(6)], tmp_path, size=SIZE)
            continue
        with pytest.raises(OutputError, match=r"needs 0.0 MB for 3 pictures .* 104.\d MB free; .*float16"):
            FeatureCache.fill(frozen(), [Pictures(6)], tmp_path, size=SIZE)
        (place,) = tmp_path.iterdir()
        assert not (place / "taps.bin").stat().st_size
        assert not any((place / "done.bin").read_bytes())


def test_what_cannot_be_stored(tmp_path):
    data = Pictures(2)
    free = tiny.segmenter().requires_grad_(True)
    with pytest.raises(UsageError, match="frozen CLIP"):
        FeatureCache.fill(free, [data], tmp_path, size=SIZE)
    with pytest.raises(UsageError, match="'float32' or 'float16'"):
        FeatureCache.fill(frozen(), [data], tmp_path, size=SIZE, dtype="int8")
    with pytest.raises(UsageError, match="at least 1"):
        FeatureCache.fill(frozen(), [data], tmp_path, size=SIZE, batch=0)
    loud = frozen()
    with torch.no_grad():
        loud.clip.vision_model.encoder.layers[0].mlp.fc2.bias.fill_(1e6)
    with pytest.raises(TrainingError, match="not finite as float16"):
        FeatureCache.fill(loud, [data], tmp_path, size=SIZE, dtype="float16")
    with pytest.raises(CheckpointError):
        FeatureCache(tmp_path / "nowhere")


def test_a_picture_that_is_not_there(tmp_path):
    cache = FeatureCache.fill(frozen(), [Pictures(2)], tmp_path, size=SIZE)
    with pytest.raises(DataError, match=r"50x49 is not in the feature cache .*cache=false"):
        cache.taps(Pictures(2, first=9)[0].picture)


def test_it_travels_to_other_processes(tmp_path):
    data = Pictures(2)
    cache = FeatureCache.fill(frozen(), [data], tmp_path, size=SIZE)
    cache.taps(data[0].picture)
    copied = pickle.dumps(cache)
    assert len(copied) < 1000, "its folder, not what is in it"
    assert torch.equal(pickle.loads(copied).taps(data[0].picture), cache.taps(data[0].picture))


def test_prompts_are_embedded_once(tmp_path, monkeypatch):
    model = frozen()
    cache = FeatureCache.fill(model, [], tmp_path, size=SIZE)
    texts, examples = tiny.texts(3), tiny.pixels(2, 48)
    given = texts["input_ids"], texts["attention_mask"]
    with torch.inference_mode():  # as in validation
        cache.prompts.texts(model, *given)
    first = cache.prompts.texts(model, *given), cache.prompts.examples(model, examples)
    torch.testing.assert_close(first[0], model.clip.get_text_features(*given), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first[1], model.clip.get_image_features(examples), rtol=1e-5, atol=1e-6)
    assert not first[0].requires_grad
    model.decoder.film_mul(first[0]).sum().backward()  # what is stored can be trained upon
    # A record that was cut short is no record.
    (stored,) = cache.folder.glob("prompts-*.bin")
    with stored.open("ab") as file:
        file.write(b"cut short")
    again = FeatureCache(cache.folder)
    assert len(again.prompts) == 5
    monkeypatch.setattr(model.clip, "get_text_features", None)
    monkeypatch.setattr(model.clip, "get_image_features", None)
    assert torch.equal(again.prompts.texts(model, *given), first[0])
    assert torch.equal(again.prompts.examples(model, examples.flip(0)), first[1].flip(0))


def test_an_embedding_does_not_depend_on_its_neighbours(tmp_path):
    model, texts = frozen(), tiny.texts(4)
    ids, keep = texts["input_ids"], texts["attention_mask"]
    together = FeatureCache.fill(model, [], tmp_path / "a", size=SIZE).prompts.texts(model, ids, keep)
    alone = FeatureCache.fill(model, [], tmp_path / "b", size=SIZE).prompts
    for row in (3, 1, 0, 2):
        shorter = int(keep[row].sum())
        found = alone.texts(model, ids[row : row + 1, :shorter], keep[row : row + 1, :shorter])
        same(found[0], together[row])
