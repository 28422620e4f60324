"""The models that runs begin with."""

import dataclasses
import warnings

import pytest
import torch

import ready
from clipseg.data.pictograms import Pictogram
from clipseg.errors import CheckpointNotFoundError
from clipseg.modeling.clip import CLIPModel
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation
from clipseg.training.dropout import decoder_dropout
from clipseg.training.models import TOKEN_VECTORS, new_model, started_model
from clipseg.training.recipes import ModelRecipe, StartModel, TowerRecipe

NEW = {"reduce_dim": 12, "extract_layers": (1, 2), "decoder_intermediate_size": 20}


@pytest.fixture(autouse=True)
def chance():
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("error")  # a new decoder is what was asked for
        yield


@pytest.mark.parametrize("plain", [True, False], ids=["CLIP", "CLIPSeg"])
def test_the_towers_of_a_checkpoint_under_a_new_decoder(tmp_path, plain):
    (ready.clip_folder if plain else ready.folder)(tmp_path)
    begun = started_model(StartModel(str(tmp_path), **NEW), 48)
    source = CLIPModel.from_pretrained(tmp_path) if plain else ready.model().clip
    for name, tensor in source.state_dict().items():
        assert torch.equal(begun.model.clip.state_dict()[name], tensor)
    assert begun.model.config.reduce_dim == 12
    assert begun.model.config.extract_layers == [1, 2]
    assert not any(parameter.requires_grad for parameter in begun.model.clip.parameters())
    assert begun.processor.image_processor.size == {"height": 48, "width": 48}
    assert begun.processor.tokenizer("a cat")["input_ids"] == ready.tokenizer()("a cat")["input_ids"]


def test_a_kept_decoder_and_new_towers(tmp_path):
    ready.folder(tmp_path)
    kept = started_model(StartModel(str(tmp_path), decoder="kept"), 64).model
    assert all(torch.equal(kept.state_dict()[name], tensor) for name, tensor in ready.model().state_dict().items())
    new = started_model(StartModel(str(tmp_path), towers="new", **NEW), 64).model
    weight = "clip.vision_model.encoder.layers.0.mlp.fc1.weight"
    assert new.state_dict()[weight].shape == kept.state_dict()[weight].shape
    assert not torch.equal(new.state_dict()[weight], kept.state_dict()[weight])


def test_the_baseline(tmp_path):
    ready.folder(tmp_path)
    recipe = StartModel(str(tmp_path), kind="deconv", extract_layers=(2,), reduce_dim=8, decoder_intermediate_size=8)
    begun = started_model(recipe, 64).model
    assert isinstance(begun, CLIPDeconvForImageSegmentation)
    assert torch.equal(begun.clip.text_projection.weight, ready.model().clip.text_projection.weight)


def test_a_new_edition_begins_with_what_fits_of_an_earlier_one(tmp_path):
    tower = TowerRecipe(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    recipe = ModelRecipe(
        text=tower, vision=tower, image_size=32, patch_size=8, vocab_size=640, projection_dim=8, reduce_dim=8,
        extract_layers=(0,), decoder_intermediate_size=16,
    )  # fmt: skip
    earlier = new_model(recipe, [Pictogram("🐱", "cat", ("kitten",)), Pictogram("🐟", "fish", ())])
    earlier.model.save_pretrained(tmp_path, dtype="float32")
    earlier.processor.save_pretrained(tmp_path)
    kinds = [Pictogram("🐟", "fish", ()), Pictogram("🏠", "house", ("home",)), Pictogram("🐱", "cat", ("kitten",))]
    refined = dataclasses.replace(recipe, begin=str(tmp_path), use_complex_transposed_convolution=True)
    later = new_model(refined, kinds)
    given, own = earlier.model.state_dict(), later.model.state_dict()
    head = "decoder.transposed_convolution"
    assert all(own[name].equal(given[name]) for name in given if head not in name and name != TOKEN_VECTORS)
    words, known = later.processor.tokenizer.get_vocab(), earlier.processor.tokenizer.get_vocab()
    shared = words.keys() & known.keys()
    assert len(shared) > 500
    assert all(own[TOKEN_VECTORS][words[word]].equal(given[TOKEN_VECTORS][known[word]]) for word in shared)
    larger = new_model(dataclasses.replace(refined, image_size=48), kinds).model
    expected = earlier.model.clip.vision_model.embeddings.positions((6, 6))[0]
    assert larger.clip.vision_model.embeddings.position_embedding.weight.equal(expected), "on the grid of the new model"
    assert "house</w>" in words.keys() - known.keys(), "and new ones are new"


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        started_model(StartModel(str(tmp_path / "nowhere")), 64)


def test_dropout_is_for_the_decoder_in_training():
    model = ready.model().train()
    pixels, condition = torch.randn(1, 3, 32, 32), torch.randn(1, 12)
    plain = model.decode(model.encode_images(pixels), condition)
    with decoder_dropout(model.decoder, 0.3):
        one, two = (model.decode(model.encode_images(pixels), condition) for _ in range(2))
        assert not torch.equal(one, two)
        assert torch.equal(model.encode_images(pixels).reduced[0], model.encode_images(pixels).reduced[0])
        model.eval()
        assert torch.equal(model.decode(model.encode_images(pixels), condition), plain)
    model.train()
    assert torch.equal(model.decode(model.encode_images(pixels), condition), plain), "nothing of it stays"


def test_dropout_is_that_of_torchs_own_layer():
    """On average nothing changes, and the four places together vary as much as torch's layer does."""
    from clipseg.modeling.layers import Layer

    ours = Layer(8, 2, 32, "relu", norm_first=False)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 32, dropout=0.2, batch_first=True)
    attention = ours.self_attn
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
            **{f"self_attn.out_proj.{name}": value for name, value in attention.out_proj.state_dict().items()},
            **{f"linear1.{name}": value for name, value in ours.mlp.fc1.state_dict().items()},
            **{f"linear2.{name}": value for name, value in ours.mlp.fc2.state_dict().items()},
            **{f"norm1.{name}": value for name, value in ours.layer_norm1.state_dict().items()},
            **{f"norm2.{name}": value for name, value in ours.layer_norm2.state_dict().items()},
        }
    )
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).expand(4000, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad(), decoder_dropout(torch.nn.ModuleList([ours]), 0.2):
        found = ours.train()(x)[0]
        expected = theirs.train()(x)
    torch.testing.assert_close(found.mean(0), expected.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(found.std(0), expected.std(0), rtol=0.1, atol=0.01)
