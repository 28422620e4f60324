"""Section 4: models, their arguments, what all of them can do, and their errors."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import clipseg
from clipseg import CLIPForImageClassification, CLIPModel, CLIPSegForImageSegmentation, CLIPSegModel, CLIPTextConfig
from clipseg.modeling.pretrained import PreTrainedModel
from rows import row
from tiny import VISION, clip_config, config, model, pixels, segmenter, texts

TOWER_FLAGS = ["output_attentions", "output_hidden_states"]
FLAGS = [*TOWER_FLAGS, "return_dict"]
WIDE = [*TOWER_FLAGS, "interpolate_pos_encoding", "return_dict"]
TEXT = ["input_ids", "attention_mask", "position_ids"]
BOTH = ["input_ids", "pixel_values", "attention_mask", "position_ids", "return_loss"]

# class.method -> its arguments in order; the outputs' flags of CLIP's classes are keywords
SIGNATURES = {
    "CLIPSegModel.forward": [*BOTH, *WIDE],
    "CLIPSegModel.get_text_features": [*TEXT, *FLAGS],
    "CLIPSegModel.get_image_features": ["pixel_values", *WIDE],
    "CLIPSegTextModel.forward": [*TEXT, *FLAGS],
    "CLIPSegVisionModel.forward": ["pixel_values", *WIDE],
    "CLIPSegForImageSegmentation.forward": [
        "input_ids", "pixel_values", "conditional_pixel_values", "conditional_embeddings", "attention_mask",
        "position_ids", "labels", *WIDE,
    ],
    "CLIPSegForImageSegmentation.get_conditional_embeddings": [
        "batch_size", "input_ids", "attention_mask", "position_ids", "conditional_pixel_values",
    ],
    "CLIPModel.forward": [*BOTH, "interpolate_pos_encoding", *FLAGS],
    "CLIPModel.get_text_features": TEXT,
    "CLIPModel.get_image_features": ["pixel_values", "interpolate_pos_encoding"],
    "CLIPTextModel.forward": [*TEXT, *FLAGS],
    "CLIPTextModelWithProjection.forward": [*TEXT, *FLAGS],
    "CLIPVisionModel.forward": ["pixel_values", "interpolate_pos_encoding", *FLAGS],
    "CLIPVisionModelWithProjection.forward": ["pixel_values", "interpolate_pos_encoding", *FLAGS],
    "CLIPForImageClassification.forward": ["pixel_values", "labels", *FLAGS],
}  # fmt: skip
REQUIRED = ("CLIPModel.get_text_features", "CLIPModel.get_image_features")
OUTPUTS = {
    "CLIPSegModel": "CLIPSegOutput",
    "CLIPSegTextModel": "BaseModelOutputWithPooling",
    "CLIPSegVisionModel": "BaseModelOutputWithPooling",
    "CLIPSegForImageSegmentation": "CLIPSegImageSegmentationOutput",
    "CLIPModel": "CLIPOutput",
    "CLIPTextModel": "BaseModelOutputWithPooling",
    "CLIPTextModelWithProjection": "CLIPTextModelOutput",
    "CLIPVisionModel": "BaseModelOutputWithPooling",
    "CLIPVisionModelWithProjection": "CLIPVisionModelOutput",
    "CLIPForImageClassification": "ImageClassifierOutput",
}


def built(name: str, **changes: Any) -> Any:
    whole = config(**changes) if name.startswith("CLIPSeg") else clip_config(**changes)
    return model(getattr(clipseg, name), whole)


def inputs_of(name: str) -> dict[str, torch.Tensor]:
    if "Text" in name:
        return texts(2)
    if "Vision" in name or "Classification" in name:
        return {"pixel_values": pixels(2)}
    return {**texts(2), "pixel_values": pixels(2)}


@pytest.mark.parametrize("path", [pytest.param(path, marks=row("4", path)) for path in SIGNATURES])
@torch.inference_mode()
def test_signatures_and_answers(path: str) -> None:
    name, method = path.split(".")
    parameters = inspect.signature(getattr(getattr(clipseg, name), method)).parameters
    order = [parameter for parameter in parameters if parameter != "self"]
    wanted = SIGNATURES[path]
    assert [p for p in order if p in wanted] == wanted
    usual = {"interpolate_pos_encoding": name.startswith("CLIPSeg")}
    by_keyword = {name for name in order if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY}
    assert by_keyword.isdisjoint(wanted if name.startswith("CLIPSeg") else set(wanted) - set(FLAGS))
    placed = [parameter for parameter in order if parameter not in by_keyword]
    assert all(ours == documented for ours, documented in zip(placed, wanted, strict=False))
    if path not in REQUIRED:
        assert all(parameters[parameter].default is usual.get(parameter) for parameter in wanted)
    ours = built(name)
    if method == "forward":
        assert type(ours(**inputs_of(name))).__name__ == OUTPUTS[name]
        return
    given: Any = {"text": texts(2), "image": {"pixel_values": pixels(2)}, "conditional": {"batch_size": 2, **texts(2)}}
    features = getattr(ours, method)(**given[method.removeprefix("get_").split("_")[0]])
    assert isinstance(features, torch.Tensor)
    assert features.shape == (2, 12)
    assert not torch.allclose(features.norm(dim=-1), torch.ones(2), atol=0.05), "not normalised"


@row("4", "CLIPModel.get_text_features", "CLIPModel.get_image_features")
def test_required_arguments() -> None:
    for path in REQUIRED:
        with pytest.raises(TypeError, match="missing 1 required"):
            getattr(built("CLIPModel"), path.split(".")[1])()


@row("4", "argument input_ids", "argument pixel_values", "argument attention_mask", "argument position_ids")
@pytest.mark.parametrize("name", ["CLIPModel", "CLIPSegModel"])
@torch.inference_mode()
def test_arguments_by_position_and_their_meaning(name: str) -> None:
    ours, both = built(name), {**texts(2), "pixel_values": pixels(2)}
    named = ours(**both)
    placed = ours(both["input_ids"], both["pixel_values"], both["attention_mask"])
    assert torch.equal(named.logits_per_image, placed.logits_per_image)
    unpadded = ours(both["input_ids"], both["pixel_values"])
    torch.testing.assert_close(unpadded.text_embeds, named.text_embeds)  # right padding cannot be seen
    hiding, other = both["attention_mask"].clone(), both["input_ids"].clone()
    hiding[:, 1], other[:, 1] = 0, 4
    hidden = ours(both["input_ids"], both["pixel_values"], hiding).text_embeds
    assert not torch.allclose(hidden, named.text_embeds, atol=1e-3)
    torch.testing.assert_close(ours(other, both["pixel_values"], hiding).text_embeds, hidden)
    usual = torch.arange(both["input_ids"].shape[1])[None].expand(2, -1)
    assert torch.equal(ours(**both, position_ids=usual).text_embeds, named.text_embeds)
    assert not torch.allclose(ours(**both, position_ids=usual + 3).text_embeds, named.text_embeds, atol=1e-3)


@row("4", "argument return_loss")
@pytest.mark.parametrize("name", ["CLIPModel", "CLIPSegModel"])
@torch.inference_mode()
def test_return_loss(name: str) -> None:
    ours = built(name)
    output = ours(**texts(2), pixel_values=pixels(2), return_loss=True)
    both_ways = [torch.nn.functional.cross_entropy(x, torch.arange(2)) for x in (output[1], output[2])]
    torch.testing.assert_close(output.loss, sum(both_ways) / 2)
    assert next(iter(output)) == "loss"
    with pytest.raises(ValueError, match="as many texts as pictures"):
        ours(**texts(3), pixel_values=pixels(2), return_loss=True)


@row("4", "argument conditional_pixel_values", "argument conditional_embeddings")
@torch.inference_mode()
def test_conditions_and_their_precedence() -> None:
    ours, queries = segmenter(), pixels(2)
    prompt = pixels(2, 48, seed=1)
    by_picture = ours(pixel_values=queries, conditional_pixel_values=prompt)
    embedded = ours.clip.get_image_features(prompt)
    assert torch.equal(by_picture.conditional_embeddings, embedded)
    by_embedding = ours(
        **texts(2),
        pixel_values=queries,
        conditional_pixel_values=pixels(2, 48, seed=2),
        conditional_embeddings=embedded,
    )
    torch.testing.assert_close(by_embedding.logits, by_picture.logits)
    by_text = ours(**texts(2), pixel_values=queries, conditional_pixel_values=prompt)
    assert torch.equal(by_text.conditional_embeddings, ours.clip.get_text_features(**texts(2)))


@row("4", "argument labels (segmentation)")
@torch.inference_mode()
def test_segmentation_labels() -> None:
    ours, labels = segmenter(), torch.rand(2, 64, 64)
    output = ours(**texts(2), pixel_values=pixels(2), labels=labels)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, labels)
    torch.testing.assert_close(output.loss, wanted)
    for hard in (labels > 0.5, (labels > 0.5).long()):
        assert torch.isfinite(ours(**texts(2), pixel_values=pixels(2), labels=hard).loss)
    with pytest.raises(ValueError, match="labels"):
        ours(**texts(2), pixel_values=pixels(2), labels=labels[:, :32])


@row("4", "argument labels (classification)")
@pytest.mark.parametrize(
    ("count", "labels", "loss"),
    [
        (3, torch.tensor([0, 2]), torch.nn.functional.cross_entropy),
        (1, torch.tensor([[0.3], [1.2]]), torch.nn.functional.mse_loss),
        (3, torch.tensor([[0.0, 1, 1], [1, 0, 0]]), torch.nn.functional.binary_cross_entropy_with_logits),
    ],
)
@torch.inference_mode()
def test_classification_labels(count: int, labels: torch.Tensor, loss: Any) -> None:
    ours = built("CLIPForImageClassification", num_labels=count)
    output = ours(pixels(2), labels)
    torch.testing.assert_close(output.loss, loss(output.logits, labels))
    assert ours.config.problem_type is None, "the configuration is not changed by a call"


@row("4", "argument interpolate_pos_encoding", "error: fixed-size input of another size")
@torch.inference_mode()
def test_interpolation() -> None:
    with pytest.raises(ValueError, match=r"Input image size \(96\*80\) doesn't match model \(64\*64\)\."):
        built("CLIPVisionModel")(pixels(1, 96, 80))
    assert built("CLIPVisionModel")(pixels(1, 96, 80), True).last_hidden_state.shape == (1, 31, 24)
    assert built("CLIPSegVisionModel")(pixels(1, 96, 80)).last_hidden_state.shape == (1, 31, 24)
    assert segmenter()(**texts(1), pixel_values=pixels(1, 96, 80)).logits.shape == (1, 96, 80)
    with pytest.raises(ValueError, match="doesn't match model"):
        segmenter()(**texts(1), pixel_values=pixels(1, 96, 80), interpolate_pos_encoding=False)


@row("4", "constructors take their configuration; a wrong part is a TypeError")
def test_constructors() -> None:
    for name in OUTPUTS:
        cls = getattr(clipseg, name)
        assert isinstance(built(name).config, cls.config_class)
        with pytest.raises(TypeError, match=cls.config_class.__name__):
            cls(VISION)
    for cls, whole, part in (
        (CLIPModel, clip_config(), config().text_config),
        (CLIPSegModel, config(), CLIPTextConfig()),
        (CLIPForImageClassification, clip_config(), config().vision_config),
    ):
        kind = "vision_config" if "vision" in part.model_type else "text_config"
        setattr(whole, kind, part)
        with pytest.raises(TypeError, match=kind):
            cls(whole)


@row("4", "base API: from_pretrained and its keywords, save_pretrained, eval mode")
@pytest.mark.parametrize("name", OUTPUTS)
def test_loading_and_saving(name: str, tmp_path: Path) -> None:
    cls, ours = getattr(clipseg, name), built(name)
    ours.train().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    again, info = cls.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not any(info.values())
    assert not again.training
    for half in ({"dtype": torch.bfloat16}, {"torch_dtype": "bfloat16"}):
        assert (
            cls.from_pretrained(tmp_path, **half, attn_implementation="eager", device_map="cpu").dtype is torch.bfloat16
        )
    assert cls.from_pretrained(tmp_path, config=ours.config).dtype is torch.float32


@row("4", "base API: config, dtype, device, embeddings, attention, checkpointing")
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_every_model_can_do(name: str) -> None:
    ours: PreTrainedModel = built(name)
    assert (ours.dtype, ours.device) == (torch.float32, torch.device("cpu"))
    embeddings = ours.get_input_embeddings()
    ours.set_input_embeddings(embeddings)
    assert ours.get_input_embeddings() is embeddings
    assert ours.get_output_embeddings() is None
    with torch.inference_mode():
        fused = ours(**inputs_of(name)).to_tuple()
        ours.set_attn_implementation("eager")
        plain = ours(**inputs_of(name)).to_tuple()
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    ours.gradient_checkpointing_enable()
    assert ours.is_gradient_checkpointing
    ours.gradient_checkpointing_disable()
    assert not ours.is_gradient_checkpointing
    assert ours.train().training
    assert not ours.eval().training
    assert ours.to(torch.float64).dtype is torch.float64


@row("4", "error: text longer than the table")
def test_error_long_text() -> None:
    for name in ("CLIPTextModel", "CLIPSegTextModel", "CLIPModel"):
        given = inputs_of(name) | texts(2, 21)
        with pytest.raises(ValueError, match=r"^Sequence length must be less than max_position_embeddings"):
            built(name)(**given)


ERRORS = [
    ("texts and images differ in number", {**texts(3)},
     "Make sure to pass as many prompt texts as there are query images"),
    ("prompt images and images differ in number", {"conditional_pixel_values": pixels(3)},
     "Make sure to pass as many prompt images as there are query images"),
    ("embeddings and images differ in number", {"conditional_embeddings": torch.ones(3, 12)},
     "Make sure to pass as many conditional embeddings as there are query images in the batch"),
    ("embedding of another width", {"conditional_embeddings": torch.ones(2, 11)},
     "Make sure that the feature dimension of the conditional embeddings matches"),
    ("no condition at all", {}, "Invalid conditional, should be either provided as"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "text"), [pytest.param(given, text, marks=row("4", f"error: {name}")) for name, given, text in ERRORS]
)
def test_errors_of_conditions(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        segmenter()(pixel_values=pixels(2), **given)


@row("4", "error: input_ids or pixel_values missing")
def test_errors_of_missing_inputs() -> None:
    for name in ("CLIPModel", "CLIPSegModel", "CLIPTextModel", "CLIPSegTextModel"):
        given = {"pixel_values": pixels(1)} if "Text" not in name else {}
        with pytest.raises(ValueError, match="You have to specify input_ids"):
            built(name)(**given)
    for name in ("CLIPModel", "CLIPSegModel", "CLIPVisionModel", "CLIPForImageClassification"):
        given = texts(1) if name.endswith("Model") and "Vision" not in name else {}
        with pytest.raises(ValueError, match="You have to specify pixel_values"):
            built(name)(**given)
    with pytest.raises(ValueError, match="You have to specify pixel_values"):
        CLIPSegForImageSegmentation(config())(**texts(1))
