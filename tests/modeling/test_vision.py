"""The vision tower: sizes it takes, and the table of positions that is kept for each grid."""

import copy

import pytest
import torch
import torch.nn.functional as F

from clipseg.errors import PictureError
from clipseg.modeling.vision import (
    MOST_GRIDS,
    CLIPSegVisionModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    VisionEmbeddings,
)
from tiny import clip_config, config, pixels, randomise
from tiny import model as tiny_model


@pytest.fixture
def model() -> CLIPSegVisionModel:
    return randomise(CLIPSegVisionModel(config().vision_config)).eval()


@pytest.fixture
def embeddings(model: CLIPSegVisionModel) -> VisionEmbeddings:
    return model.requires_grad_(False).vision_model.embeddings


def resized(embeddings: VisionEmbeddings, grid: tuple[int, int]) -> torch.Tensor:
    """The table for a grid, made by hand."""
    table = embeddings.position_embedding.weight.detach()
    square = table[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(square, grid, mode="bicubic", align_corners=False)[0].flatten(1).T
    return torch.cat([table[:1], patches])[None]


# Sizes


def test_a_fixed_size_is_kept_to_on_request(model: CLIPSegVisionModel) -> None:
    with pytest.raises(PictureError, match=r"^Input image size \(64\*80\) doesn't match model \(64\*64\)\."):
        model(pixels(1, 64, 80), interpolate_pos_encoding=False)


def test_a_picture_has_at_least_one_patch(model: CLIPSegVisionModel) -> None:
    assert model(pixels(1, 16, 16)).last_hidden_state.shape == (1, 2, 24)
    with pytest.raises(PictureError, match="15x40 pixels is smaller than one patch of 16"):
        model(pixels(1, 15, 40))


def test_pixels_are_needed(model: CLIPSegVisionModel) -> None:
    with pytest.raises(PictureError, match=r"^You have to specify pixel_values"):
        model()


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (64, 64), (1, 1, 3, 64, 64)])
def test_pixels_have_four_axes_and_the_model_s_channels(model: CLIPSegVisionModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match=r"pixel_values has shape .*; expected \(batch, 3, height, width\)"):
        model(torch.zeros(shape))


def test_pixels_are_a_tensor(model: CLIPSegVisionModel) -> None:
    with pytest.raises(PictureError, match="pixel_values is a ndarray; expected a tensor"):
        model(pixels(1).numpy())


def test_the_grid_is_told(model: CLIPSegVisionModel) -> None:
    assert model.vision_model.look(pixels(1, 50, 111))[2] == (3, 6)


def test_the_patch_embedding_is_the_input_embedding(model: CLIPSegVisionModel) -> None:
    assert tuple(model.get_input_embeddings().weight.shape) == (24, 3, 16, 16)


# CLIP's own


def test_clip_s_tower_is_the_same_but_for_its_sizes(model: CLIPSegVisionModel) -> None:
    clip = CLIPVisionModel(clip_config().vision_config).eval()
    clip.load_state_dict(model.state_dict())
    for output in (clip(pixels(2)), clip(pixels(2), True), clip.vision_model(pixels(2))):
        assert torch.equal(output[0], model(pixels(2))[0])
    for tower in (clip, clip.vision_model):
        with pytest.raises(PictureError, match="doesn't match model"):
            tower(pixels(1, 80))
        assert torch.equal(tower(pixels(1, 80), interpolate_pos_encoding=True)[1], model(pixels(1, 80))[1])
    with pytest.raises(TypeError, match="labels"):
        clip(pixels(1), labels=None)


def test_a_projection_on_top() -> None:
    model = tiny_model(CLIPVisionModelWithProjection, clip_config())
    output = model(pixels(2), output_hidden_states=True, output_attentions=True)
    tower = model.vision_model(pixels(2))
    assert list(output) == ["image_embeds", "last_hidden_state", "hidden_states", "attentions"]
    assert output.image_embeds.shape == (2, 14)
    assert torch.allclose(output.image_embeds, model.visual_projection(tower.pooler_output), atol=1e-6)
    assert torch.allclose(output.last_hidden_state, tower.last_hidden_state, atol=1e-5)
    assert [len(output.hidden_states), len(output.attentions)] == [5, 4]
    assert type(model(pixels(2), return_dict=False)) is tuple


# The table of positions


def test_the_own_grid_takes_the_table_as_it_is(embeddings: VisionEmbeddings) -> None:
    assert torch.equal(embeddings.positions((4, 4))[0], embeddings.position_embedding.weight)


@pytest.mark.parametrize("grid", [(5, 5), (2, 8), (8, 2), (3, 4)])
def test_other_grids_are_resized(embeddings: VisionEmbeddings, grid: tuple[int, int]) -> None:
    assert torch.equal(embeddings.positions(grid), resized(embeddings, grid))


def test_each_grid_is_resized_once(embeddings: VisionEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embeddings.positions((2, 8))
    assert embeddings.positions((8, 2)) is not first
    assert embeddings.positions((2, 8)) is first
    monkeypatch.setattr(F, "interpolate", None)  # not called again
    assert embeddings.positions((2, 8)) is first


def test_it_does_not_grow_with_every_size_it_sees(embeddings: VisionEmbeddings) -> None:
    tables = [embeddings.positions((1, width)) for width in range(5, 205)]
    assert all(torch.equal(tables[at], resized(embeddings, (1, at + 5))) for at in (0, 99, 199))
    assert len(embeddings._resized) <= MOST_GRIDS


def test_changed_weights_are_noticed(embeddings: VisionEmbeddings) -> None:
    weight = embeddings.position_embedding.weight

    def fresh() -> bool:
        return torch.equal(embeddings.positions((5, 5)), resized(embeddings, (5, 5)))

    assert fresh()
    weight.mul_(2)  # in place
    assert fresh()
    weight.requires_grad_()
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.1).step()
    weight.requires_grad_(False)
    assert fresh()
    state = {key: torch.randn_like(value) for key, value in embeddings.state_dict().items()}
    embeddings.load_state_dict(state)
    assert fresh()
    for seed in range(20):  # a new table may lie where an old one lay
        noise = torch.randn(17, 24, generator=torch.Generator().manual_seed(seed))
        embeddings.load_state_dict({**state, "position_embedding.weight": noise}, assign=True)
        del noise
        assert fresh()


def test_another_type_and_back_is_noticed(embeddings: VisionEmbeddings) -> None:
    for _ in range(20):
        embeddings.position_embedding.weight.normal_()
        embeddings.positions((5, 5))
        embeddings.to(torch.bfloat16).to(torch.float32)  # rounds, and may bring the table back to its old place
        assert torch.equal(embeddings.positions((5, 5)), resized(embeddings, (5, 5)))


def test_a_copy_has_a_table_of_its_own(embeddings: VisionEmbeddings) -> None:
    embeddings.positions((5, 5))
    other = copy.deepcopy(embeddings)
    other.position_embedding.weight.zero_()
    assert not other.positions((5, 5)).any()
    assert torch.equal(embeddings.positions((5, 5)), resized(embeddings, (5, 5)))


def test_a_table_first_made_in_inference_serves_training(model: CLIPSegVisionModel) -> None:
    model.requires_grad_(False)
    with torch.inference_mode():
        expected = model(pixels(1, 80)).last_hidden_state
    picture = pixels(1, 80).requires_grad_()
    states = model(picture).last_hidden_state
    states.square().sum().backward()
    assert picture.grad is not None
    assert torch.equal(states.detach(), expected)


def test_gradients_reach_the_table_through_a_resized_one(model: CLIPSegVisionModel) -> None:
    with torch.no_grad():
        model(pixels(1, 80))  # makes a table without gradients
    model(pixels(1, 80)).last_hidden_state.square().sum().backward()
    gradient = model.vision_model.embeddings.position_embedding.weight.grad
    assert gradient is not None
    assert (gradient.abs().amax(1) > 0).all()


def test_the_cache_is_not_saved(embeddings: VisionEmbeddings) -> None:
    embeddings.positions((5, 5))
    assert set(embeddings.state_dict()) == {
        "class_embedding",
        "patch_embedding.weight",
        "position_embedding.weight",
    }
