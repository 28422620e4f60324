"""The rows of the documented contract, section by section, and the mark that ties tests to them.

    pytestmark = row("4", "CLIPModel.forward")

`table.py` writes `docs/api.md` from both; a row without a test is an error.
"""

import pytest

SECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "1": (
        "Which edition is followed",
        (
            "get_*_features answer with a tensor",
            "one prompt keeps its axis",
            "interpolate_pos_encoding: CLIPSeg True, CLIP False",
            "the position table's target grid is (H // p, W // p)",
            "over-long text is a ValueError",
            "CLIPSegConfig.from_text_vision_configs, no warning",
            "pooler_output in towers' outputs is before the projection",
            "decoder hidden_states: one a layer",
            "batch_decode and decode on the processor",
            "get_special_tokens_mask and save_vocabulary work",
            "PIL results are the reference, Fast is the tensor back end",
        ),
    ),
    "2": (
        "Names that must exist",
        (
            "CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig, CLIPSegProcessor",
            "CLIPSegModel",
            "CLIPSegTextModel, CLIPSegVisionModel, CLIPSegForImageSegmentation",
            "CLIPConfig, CLIPTextConfig, CLIPVisionConfig, CLIPProcessor",
            "CLIPTokenizer, CLIPTokenizerFast",
            "CLIPImageProcessor, CLIPImageProcessorFast",
            "ViTImageProcessor",
            "CLIPModel, CLIPForImageClassification",
            "CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModel, CLIPVisionModelWithProjection",
            "AutoProcessor, AutoTokenizer, AutoModel, AutoImageProcessor",
            "pipeline, image_utils.load_image",
            "CLIPSegForImageSegmentation.get_conditional_embeddings",
        ),
    ),
    "3": (
        "Configuration classes",
        (
            *(
                f"CLIPSegConfig.{name}"
                for name in (
                    "text_config", "vision_config", "projection_dim", "logit_scale_init_value", "extract_layers",
                    "reduce_dim", "decoder_num_attention_heads", "decoder_attention_dropout", "decoder_hidden_act",
                    "decoder_intermediate_size", "conditional_layer", "use_complex_transposed_convolution", "**kwargs",
                    "initializer_factor", "from_text_vision_configs",
                )
            ),
            *(
                f"CLIPConfig.{name}"
                for name in ("text_config", "vision_config", "projection_dim", "logit_scale_init_value", "**kwargs")
            ),
            *(
                f"text configurations: {name}"
                for name in (
                    "vocab_size", "hidden_size", "intermediate_size", "projection_dim (CLIP only)", "num_hidden_layers",
                    "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps",
                    "attention_dropout", "initializer_range", "initializer_factor", "pad_token_id", "bos_token_id",
                    "eos_token_id", "**kwargs",
                )
            ),
            *(
                f"vision configurations: {name}"
                for name in (
                    "hidden_size", "intermediate_size", "projection_dim (CLIP only)", "num_hidden_layers",
                    "num_attention_heads", "num_channels", "image_size", "patch_size", "hidden_act", "layer_norm_eps",
                    "attention_dropout", "initializer_range", "initializer_factor", "**kwargs",
                )
            ),
            "model_type of each class",
            "activations by name or callable",
            "unknown keywords are kept",
            "to_dict, to_json_string, to_json_file, from_dict, from_json_file",
            "save_pretrained, from_pretrained, subfolder, a missing file is an OSError",
            "a part is loaded from a whole file",
            "num_labels, id2label and label2id stay in step",
            "return_dict, output_attentions, output_hidden_states, dtype, torch_dtype, attn_implementation",
            "sub_configs, has_no_defaults_at_init, get_text_config",
            "hidden_size not divisible by the heads is a ValueError",
        ),
    ),
    "4": (
        "Models",
        (
            "CLIPSegModel.forward",
            "CLIPSegModel.get_text_features",
            "CLIPSegModel.get_image_features",
            "CLIPSegTextModel.forward",
            "CLIPSegVisionModel.forward",
            "CLIPSegForImageSegmentation.forward",
            "CLIPSegForImageSegmentation.get_conditional_embeddings",
            "CLIPModel.forward",
            "CLIPModel.get_text_features",
            "CLIPModel.get_image_features",
            "CLIPTextModel.forward",
            "CLIPTextModelWithProjection.forward",
            "CLIPVisionModel.forward",
            "CLIPVisionModelWithProjection.forward",
            "CLIPForImageClassification.forward",
            "argument input_ids",
            "argument pixel_values",
            "argument attention_mask",
            "argument position_ids",
            "argument return_loss",
            "argument conditional_pixel_values",
            "argument conditional_embeddings",
            "argument labels (segmentation)",
            "argument labels (classification)",
            "argument interpolate_pos_encoding",
            "constructors take their configuration; a wrong part is a TypeError",
            "base API: from_pretrained and its keywords, save_pretrained, eval mode",
            "base API: config, dtype, device, embeddings, attention, checkpointing",
            "error: fixed-size input of another size",
            "error: text longer than the table",
            "error: texts and images differ in number",
            "error: prompt images and images differ in number",
            "error: embeddings and images differ in number",
            "error: embedding of another width",
            "error: no condition at all",
            "error: input_ids or pixel_values missing",
        ),
    ),
    "5": (
        "Outputs",
        (
            "CLIPSegOutput, CLIPOutput",
            "BaseModelOutputWithPooling",
            "CLIPSegImageSegmentationOutput",
            "CLIPSegDecoderOutput",
            "CLIPTextModelOutput",
            "CLIPVisionModelOutput",
            "ImageClassifierOutput",
            "ordered, dict-like, by attribute, key, index and slice",
            "return_dict=False, by argument or configuration",
            "hidden_states and attentions only on request, under any attention",
        ),
    ),
    "6": (
        "Processors",
        (
            "constructor",
            "missing part",
            "deprecated alias",
            "call",
            "nothing given",
            "text and visual prompt",
            "pass-through",
            "keys: text + images",
            "keys: images + visual_prompt",
            "keys: text",
            "keys: images",
            "keys: visual_prompt",
            "the result has .to(device)",
            "keywords are split by name, unknown ones reported",
            "text as str, list or split words",
        ),
    ),
    "7": (
        "Image processors",
        (
            "do_resize",
            "size",
            "resample",
            "do_center_crop",
            "crop_size",
            "do_rescale, rescale_factor",
            "do_normalize",
            "image_mean",
            "image_std",
            "do_convert_rgb",
            "do_pad, pad_size",
            "device, disable_grouping, image_seq_length",
            "per-call overrides",
            "return_tensors",
            "data_format, input_data_format",
            "inputs: PIL, numpy, torch, single or list",
            "a warning when scaled input would be scaled again",
            "files: to_dict … from_pretrained",
            "an unsupported input is a ValueError",
        ),
    ),
    "8": (
        "Tokenizer",
        (
            "constructor",
            "__call__",
            "encode, decode, batch_decode, tokenize",
            "convert_tokens_to_ids, convert_ids_to_tokens, convert_tokens_to_string",
            "build_inputs_with_special_tokens",
            "create_token_type_ids_from_sequences",
            "get_special_tokens_mask",
            "save_vocabulary",
            "get_vocab, vocab_size, len, special ids, sides, input names, model_max_length",
            "from_pretrained, save_pretrained",
            "CLIPTokenizerFast is the same class or a subclass",
        ),
    ),
    "9": (
        "Auto classes, dtype, attention, pipeline",
        (
            "AutoModel",
            "AutoProcessor",
            "AutoTokenizer",
            "AutoImageProcessor",
            "AutoConfig, AutoModelForImageClassification, AutoModelForZeroShotImageClassification",
            "dtype and torch_dtype; pixels are cast",
            "attn_implementation",
            "pipeline: construction",
            "pipeline: image",
            "pipeline: hypothesis_template",
            "pipeline: text",
            "pipeline: timeout, batch_size",
            "pipeline: score",
            "pipeline: result",
            "pipeline: image segmentation",
        ),
    ),
    "10": ("Documented examples", tuple(f"example {number}" for number in range(1, 13))),
    "11": (
        "Where the documents are wrong",
        (
            "CLIPSegForImageSegmentation returns its own output",
            "all six fields, loss with labels",
            "labels are float masks",
            "no return_loss; ids are Long",
            "conditional_embeddings win over input_ids as well",
            "loss is a scalar; attentions end in (N, N)",
            "pooler_output: end-of-text state, normalised class token",
            "position_ids up to max_position_embeddings",
            "default patch size is 32",
            "conditional_layer 0 is the deepest tap; two options have no effect",
            "special tokens' defaults; plain normal initialisation",
            "example 12: two untrained labels",
            "the pipeline's template ends in a full stop",
            "ViTImageProcessor's own defaults, overridden by the file",
        ),
    ),
    "12": (
        "Golden values (need released weights)",
        (
            "logits of a cat, a remote, a blanket",
            "conditional_embeddings",
            "pooled_output after PIL preprocessing",
            "pooled_output after tensor preprocessing",
            "logits_per_image of CLIP",
            "last_hidden_state at 180 x 180",
            "180 x 180 without interpolation is refused",
            "pipeline scores",
            "conversion check: embeddings",
            "conversion check: logits",
        ),
    ),
    "13": (
        "Tokenizer vectors",
        (
            "tokenize lower newer",
            "tokens to ids",
            "tokenize slow, lowest",
            "call lower newer",
            "call with padding",
            "call with truncation",
            "call with a pair",
            "call with nothing, unknown, special",
            "special-tokens mask",
            "decode",
            "batch_decode",
            "offsets",
            "the real vocabulary",
        ),
    ),
    "14": (
        "Behaviour without weights",
        (
            "save and load are equal, no missing or unexpected keys",
            "a batch's row equals the single forward",
            "dict and tuple outputs are equal",
            "shapes and counts of hidden_states and attentions",
            "right padding never changes pooled text",
            "eager and sdpa agree, padded rows too",
            "half-precision loading by either keyword",
            "the text tower works without an end-of-text id",
            "zero labels give a finite loss and decoder gradients",
            "logit_scale starts at 2.6592",
            "a small model of image 30, patch 2",
            "num_labels=0 is the identity",
        ),
    ),
}  # fmt: skip
"""Section -> its title and its rows."""


def row(section: str, *names: str) -> pytest.MarkDecorator:
    """The mark of a test that covers rows of a section."""
    unknown = set(names) - set(SECTIONS[section][1])
    assert not unknown, f"section {section} has no rows {unknown}"
    return pytest.mark.row(section, *names)
