"""Folders we save are read by the reference implementation, and the reverse, with the same answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import CLASSES, COMPARING, READING
from clipseg.checkpoints.files import read_weights
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel, CLIPVisionModelWithProjection
from tiny import clip_config, config, model, pixels, segmenter, texts
from twins import Twin, difference, quiet

TOLERANCE = 1e-5
every_class = pytest.mark.parametrize("cls", CLASSES)
sharded = pytest.mark.parametrize("shard", ["5GB", "20KB"])


def built(cls: type[PreTrainedModel]) -> Any:
    """A small model of a class; its configuration is worth writing down."""
    if "Seg" in cls.__name__:
        return model(cls, config(use_complex_transposed_convolution=True, conditional_layer=1))
    whole = clip_config({"projection_dim": 12}, {"projection_dim": 12}, num_labels=3, problem_type="regression")
    return model(cls, whole)


def inputs_of(cls: type[PreTrainedModel]) -> dict[str, Any]:
    inputs: dict[str, Any] = texts(2) if cls in READING else {"pixel_values": pixels(2)}
    return inputs | texts(2) if cls in (*COMPARING, CLIPSegForImageSegmentation) else inputs


def reference(name: str, folder: Path, missing: tuple[str, ...] = (), whole: bool = True, **options: Any) -> Any:
    """Load a folder as a class of the reference, which must miss nothing else and, of its whole, leave nothing."""
    import transformers

    with quiet():
        loaded, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, **options)
    assert set(report["missing_keys"]) == set(missing)
    assert not report["mismatched_keys"]
    assert not (whole and report["unexpected_keys"])
    return loaded.eval()


def answers(cls: type[PreTrainedModel], ours: Any, theirs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad(), quiet():
        return ours(**inputs_of(cls))[0], theirs(**inputs_of(cls))[0]


# Models


@sharded
@every_class
def test_ours_to_theirs(tmp_path: Path, cls: type[PreTrainedModel], shard: str) -> None:
    ours = built(cls)
    ours.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    assert difference(*answers(cls, ours, reference(cls.__name__, tmp_path))) <= TOLERANCE


@sharded
@every_class
def test_theirs_to_ours(tmp_path: Path, cls: type[PreTrainedModel], shard: str) -> None:
    before = built(cls)
    theirs = Twin(before, "sdpa").model
    with quiet():
        theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    ours = cls.from_pretrained(tmp_path)
    weights = ours.state_dict()
    assert weights.keys() == before.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in before.state_dict().items())
    assert difference(*answers(cls, ours, theirs)) <= TOLERANCE


@every_class
def test_half_precision_both_ways(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    ours = built(cls)
    ours.save_pretrained(tmp_path / "ours", dtype="float16")
    theirs = reference(cls.__name__, tmp_path / "ours", dtype="auto")
    assert theirs.dtype == torch.float16
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    back = cls.from_pretrained(tmp_path / "theirs", dtype="auto")
    assert back.dtype == torch.float16
    assert all(torch.equal(back.state_dict()[key], value.half()) for key, value in ours.state_dict().items())


def automatic(package: Any, cls: type[PreTrainedModel], folder: Path) -> str:
    """What the automatic class of a package that is meant for a model class makes of a folder."""
    heads = {CLIPForImageClassification: "ForImageClassification", CLIPModel: "ForZeroShotImageClassification"}
    with quiet():
        return type(getattr(package, f"AutoModel{heads.get(cls, '')}").from_pretrained(folder)).__name__


@every_class
def test_automatic_classes_both_ways(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    import transformers

    import clipseg

    model_of_the_kind = cls.__name__.removesuffix("WithProjection").replace("ForImageSegmentation", "Model")
    ours = built(cls)
    with quiet():
        Twin(ours, "sdpa").model.save_pretrained(tmp_path / "theirs")
    assert automatic(clipseg, cls, tmp_path / "theirs") == model_of_the_kind
    if cls not in (CLIPSegTextModel, CLIPSegVisionModel):  # for which the reference has no automatic class
        ours.save_pretrained(tmp_path / "ours")
        assert automatic(transformers, cls, tmp_path / "ours") == model_of_the_kind


# Configurations


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """What a configuration means, without who wrote it."""
    authors = ("clipseg_version", "transformers_version", "architectures", "dtype")
    kept = {key: value for key, value in values.items() if key not in authors}
    return {key: plain(value) if key.endswith("_config") else value for key, value in kept.items()}


@every_class
def test_configurations_both_ways(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    import transformers

    ours = built(cls).config
    ours.save_pretrained(tmp_path / "ours")
    with quiet():
        theirs = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
        assert type(theirs).__name__ == type(ours).__name__
        theirs.save_pretrained(tmp_path / "theirs")
    written, read = plain(json.loads(ours.to_json_string())), json.loads(theirs.to_json_string(use_diff=False))
    for part in ("", "text_config", "vision_config"):
        if part in ("", *written):
            mine, other = (written[part], read[part]) if part else (written, read)
            values = {key: value for key, value in mine.items() if not key.endswith("_config")}
            assert {key: other.get(key) for key in values} == values
    back = type(ours).from_pretrained(tmp_path / "theirs")
    assert plain(json.loads(back.to_json_string())) == written


# Parts of a whole

PARTS = {
    CLIPModel: (
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPVisionModel,
        CLIPVisionModelWithProjection,
        CLIPForImageClassification,
    ),
    CLIPSegForImageSegmentation: (CLIPSegModel, CLIPSegTextModel, CLIPSegVisionModel),
    CLIPSegModel: (CLIPSegTextModel, CLIPSegVisionModel),
    CLIPTextModelWithProjection: (CLIPTextModel,),
    CLIPVisionModelWithProjection: (CLIPVisionModel,),
    CLIPForImageClassification: (CLIPVisionModel,),
}
PAIRS = [(whole, part) for whole, parts in PARTS.items() for part in parts]


@pytest.mark.parametrize(("whole", "part"), PAIRS)
def test_parts_of_a_whole(tmp_path: Path, whole: type[PreTrainedModel], part: type[PreTrainedModel]) -> None:
    before = built(whole)
    before.save_pretrained(tmp_path / "ours")
    with quiet():
        Twin(before, "sdpa").model.save_pretrained(tmp_path / "theirs")
    held = {key.removeprefix("clip."): value for key, value in before.state_dict().items()}
    new = ("classifier.weight", "classifier.bias") if part is CLIPForImageClassification else ()
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        if new:
            with pytest.warns(UserWarning, match=r"classifier\.\* weights.* starts untrained"):
                ours = part.from_pretrained(folder)
        else:
            ours = part.from_pretrained(folder)
        assert all(torch.equal(value, held[key]) for key, value in ours.state_dict().items() if key not in new)
    if whole is CLIPSegForImageSegmentation and part is not CLIPSegModel:
        return  # the reference's towers do not find themselves in a segmentation folder, not even in its own
    theirs = reference(part.__name__, tmp_path / "ours", missing=new, whole=False)
    if new:
        theirs.classifier.load_state_dict(ours.classifier.state_dict())
    assert difference(*answers(part, ours, theirs)) <= TOLERANCE


def test_a_reference_clip_under_a_new_decoder(tmp_path: Path) -> None:
    before = built(CLIPModel)
    with quiet():
        Twin(before, "sdpa").model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"decoder\.\* weights"):
        ours = CLIPSegForImageSegmentation.from_pretrained(tmp_path, extract_layers=[0, 2], reduce_dim=8)
    with torch.no_grad():
        assert torch.equal(ours.clip.get_text_features(**texts(2)), before.get_text_features(**texts(2)))
        assert torch.equal(ours.clip.get_image_features(pixels(2)), before.get_image_features(pixels(2)))


def test_names_in_files_are_those_of_the_released_ones(tmp_path: Path) -> None:
    """The reference saves towers under other names in some releases; ours are always those of whole checkpoints."""
    whole = segmenter()
    for cls in (CLIPSegTextModel, CLIPSegVisionModel, CLIPTextModel, CLIPVisionModelWithProjection):
        built(cls).save_pretrained(tmp_path)
        names = {f"clip.{name}" for name in read_weights(tmp_path)}
        assert names <= whole.state_dict().keys()
