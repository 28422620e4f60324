"""Section 11: where the documents are wrong, and what is right."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import ready
import released_layout
from clipseg import (
    CLIPForImageClassification,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModel,
    ViTImageProcessor,
)
from clipseg.pipelines import ZeroShotImageClassificationPipeline, pipeline
from rows import row
from tiny import clip_config, config, model, pixels, segmenter, texts


@row("11", "CLIPSegForImageSegmentation returns its own output", "all six fields, loss with labels")
def test_output_of_segmentation() -> None:
    output = segmenter()(**texts(1), pixel_values=pixels(1), labels=torch.zeros(1, 64, 64))
    assert type(output).__name__ == "CLIPSegImageSegmentationOutput"
    assert list(output) == [
        "loss", "logits", "conditional_embeddings", "pooled_output", "vision_model_output", "decoder_output",
    ]  # fmt: skip


@row("11", "labels are float masks", "loss is a scalar; attentions end in (N, N)")
def test_labels_and_shapes() -> None:
    output = segmenter()(**texts(1), pixel_values=pixels(1), labels=torch.rand(1, 64, 64), output_attentions=True)
    assert output.loss.shape == ()
    assert output.vision_model_output.attentions[0].shape == (1, 3, 17, 17)
    classes = model(CLIPForImageClassification, clip_config())(pixels(1), torch.tensor([1]), output_attentions=True)
    assert classes.loss.shape == ()
    assert classes.attentions[0].shape == (1, 3, 17, 17)


@row("11", "no return_loss; ids are Long")
def test_no_return_loss() -> None:
    assert "return_loss" not in inspect.signature(CLIPSegForImageSegmentation.forward).parameters
    given = texts(1)
    with pytest.raises(ValueError, match="input_ids"):
        segmenter()(input_ids=given["input_ids"].float(), pixel_values=pixels(1))


@row("11", "conditional_embeddings win over input_ids as well")
def test_embeddings_win() -> None:
    ours, wanted = segmenter(), torch.randn(1, 12)
    output = ours(**texts(1), pixel_values=pixels(1), conditional_embeddings=wanted)
    assert output.conditional_embeddings is wanted


@row("11", "pooler_output: end-of-text state, normalised class token")
def test_pooled_states() -> None:
    text, vision = model(CLIPTextModel, clip_config()), model(CLIPVisionModel, clip_config())
    ids = texts(3)["input_ids"]
    output = text(ids, output_hidden_states=True)
    ends = torch.arange(3), ids.eq(59).int().argmax(1)
    assert torch.equal(output.pooler_output, output.last_hidden_state[ends])
    raw = output.hidden_states[-1][ends]
    torch.testing.assert_close(output.pooler_output, text.text_model.final_layer_norm(raw))
    assert not torch.allclose(output.pooler_output, raw, atol=1e-2)
    seen = vision(pixels(2))
    norm = vision.vision_model.post_layernorm
    torch.testing.assert_close(seen.pooler_output, norm(seen.last_hidden_state[:, 0]))
    assert not torch.allclose(seen.last_hidden_state, norm(seen.last_hidden_state), atol=1e-2)


@row("11", "position_ids up to max_position_embeddings")
def test_positions() -> None:
    text = model(CLIPTextModel, clip_config())
    ids = texts(1)["input_ids"]
    assert torch.isfinite(text(ids, position_ids=torch.full_like(ids, 19)).pooler_output).all()
    with pytest.raises(ValueError, match="position_ids"):
        text(ids, position_ids=torch.full_like(ids, 20))


@row("11", "default patch size is 32")
def test_default_patch() -> None:
    assert CLIPSegConfig().vision_config.patch_size == 32


@row("11", "conditional_layer 0 is the deepest tap; two options have no effect")
def test_conditional_layer() -> None:
    states = {}
    for layer in range(3):
        ours = segmenter(conditional_layer=layer)
        with torch.inference_mode():
            pair = [
                ours(pixel_values=pixels(1), conditional_embeddings=torch.full((1, 12), x), output_hidden_states=True)
                for x in (0.0, 1.0)
            ]
        first, second = (output.decoder_output.hidden_states for output in pair)
        states[layer] = [not torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    assert states == {0: [True, True, True], 1: [False, True, True], 2: [False, False, True]}
    odd = segmenter(decoder_hidden_act="gelu", decoder_attention_dropout=0.9).train()
    same = segmenter().train()
    given = {"pixel_values": pixels(1), "conditional_embeddings": torch.ones(1, 12)}
    assert torch.equal(odd(**given).logits, same(**given).logits)


@row("11", "conditional_layer 0 is the deepest tap; two options have no effect")
@torch.inference_mode()
def test_the_first_step_takes_the_deepest_tap() -> None:
    ours, condition = segmenter(), torch.ones(1, 12)
    output = ours(pixel_values=pixels(1), conditional_embeddings=condition, output_hidden_states=True)
    decoder, deepest = ours.decoder, output.vision_model_output.hidden_states[ours.config.extract_layers[-1] + 1]
    modulated = decoder.film_mul(condition) * decoder.reduces[0](deepest) + decoder.film_add(condition)
    torch.testing.assert_close(decoder.layers[0](modulated)[0], output.decoder_output.hidden_states[0])


@row("11", "special tokens' defaults; plain normal initialisation")
def test_special_tokens_and_initialisation() -> None:
    tokenizer = ready.tokenizer()
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|startoftext|>", "<|endoftext|>")
    assert tokenizer.unk_token == tokenizer.pad_token == "<|endoftext|>"
    parameters = inspect.signature(CLIPTokenizer.__init__).parameters
    assert parameters["bos_token"].default == "<|startoftext|>"
    torch.manual_seed(0)
    whole = config(vision={"hidden_size": 96, "initializer_range": 0.5})
    weights = CLIPSegForImageSegmentation(whole).clip.vision_model.embeddings.patch_embedding.weight
    assert weights.abs().max() > 2.5 * 0.5, "a truncated normal would end at two standard deviations"


@row("11", "example 12: two untrained labels")
def test_untrained_labels(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="untrained"):
        ours = CLIPForImageClassification.from_pretrained(released_layout.write(released_layout.CLIP, tmp_path))
    assert ours.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


@row("11", "the pipeline's template ends in a full stop")
def test_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipeline("zero-shot-image-classification", str(ready.clip_folder(tmp_path)))
    assert isinstance(pipe, ZeroShotImageClassificationPipeline)
    read: list[Any] = []
    tokenizer = type(pipe.tokenizer)
    usual = tokenizer.__call__

    def heard(self: Any, text: Any, *args: Any, **kwargs: Any) -> Any:
        read.extend(text)
        return usual(self, text, *args, **kwargs)

    monkeypatch.setattr(tokenizer, "__call__", heard)
    pipe(ready.picture(), candidate_labels=["cat"])
    assert read == ["This is a photo of cat."]


@row("11", "ViTImageProcessor's own defaults, overridden by the file")
def test_image_processor_of_the_checkpoint(tmp_path: Path) -> None:
    own = ViTImageProcessor()
    assert (own.size, own.image_mean) == ({"height": 224, "width": 224}, [0.5, 0.5, 0.5])
    loaded = CLIPSegProcessor.from_pretrained(released_layout.write(released_layout.CLIPSEG, tmp_path)).image_processor
    assert type(loaded) is ViTImageProcessor
    assert (loaded.size, loaded.image_mean) == ({"height": 352, "width": 352}, [0.485, 0.456, 0.406])
