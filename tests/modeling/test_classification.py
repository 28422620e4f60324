"""The image classifier: what it pools, its three losses, and its head, which most files do not have."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipseg.errors import CheckpointMismatchError, ConfigurationError, PictureError, UsageError
from clipseg.modeling.classification import CLIPForImageClassification, classification_loss
from clipseg.modeling.clip import CLIPModel
from tiny import clip_config, pixels, segmenter
from tiny import model as tiny_model


def classifier(**changes: Any) -> CLIPForImageClassification:
    return tiny_model(CLIPForImageClassification, clip_config(**changes))


def test_the_mean_of_the_patches_is_classified() -> None:
    model = classifier(num_labels=3)
    output = model(pixels(2), output_hidden_states=True, output_attentions=True)
    states = model.vision_model(pixels(2)).last_hidden_state
    assert torch.allclose(output.logits, model.classifier(states[:, 1:].mean(1)))
    assert list(output) == ["logits", "hidden_states", "attentions"]
    assert [len(output.hidden_states), len(output.attentions)] == [5, 4]
    assert set(dict(model.named_children())) == {"vision_model", "classifier"}


def test_no_labels_leave_the_mean_as_it_is() -> None:
    model = classifier(num_labels=0)
    assert model(pixels(2)).logits.shape == (2, 24)
    assert not [key for key in model.state_dict() if key.startswith("classifier")]


def test_sizes() -> None:
    model = classifier()
    with pytest.raises(PictureError, match="doesn't match model"):
        model(pixels(1, 80))
    assert model(pixels(1, 80), interpolate_pos_encoding=True).logits.shape == (1, 2)


def test_the_tuple_begins_with_the_loss() -> None:
    model = classifier()
    loss, logits = model(pixels(2), torch.tensor([0, 1]), return_dict=False)
    assert loss.shape == ()
    assert torch.equal(logits, model(pixels(2)).logits)


LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
ONE = LOGITS[:, :1]


@pytest.mark.parametrize("problem", [None, "said"])
def test_losses(problem: str | None) -> None:
    def loss(logits: torch.Tensor, labels: torch.Tensor, said: str) -> torch.Tensor:
        return classification_loss(logits, labels, said if problem else None)

    values, classes, flags = torch.tensor([0.5, 2.0]), torch.tensor([2, 1]), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    assert torch.equal(loss(ONE, values, "regression"), F.mse_loss(ONE[:, 0], values))
    assert torch.equal(loss(ONE, values[:, None], "regression"), F.mse_loss(ONE[:, 0], values))
    assert torch.equal(loss(LOGITS, classes, "single_label_classification"), F.cross_entropy(LOGITS, classes))
    several = loss(LOGITS, flags, "multi_label_classification")
    assert torch.equal(several, F.binary_cross_entropy_with_logits(LOGITS, flags))


def test_what_is_said_counts_more_than_what_it_looks_like() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    several = classification_loss(LOGITS, labels, "multi_label_classification")
    assert torch.equal(several, F.binary_cross_entropy_with_logits(LOGITS, labels.float()))
    assert torch.equal(classification_loss(LOGITS, labels, "regression"), F.mse_loss(LOGITS, labels.float()))


def test_the_configuration_stays_as_it_is_and_says_the_problem() -> None:
    model = classifier(num_labels=3)
    assert model(pixels(2), torch.tensor([0, 2])).loss.isfinite()
    assert model.config.problem_type is None
    model.config.problem_type = "multi_label_classification"
    assert model(pixels(2), torch.ones(2, 3)).loss.isfinite()
    model.config.problem_type = "guess"
    with pytest.raises(ConfigurationError, match="unknown problem_type 'guess'"):
        model(pixels(2), torch.ones(2, 3))


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 2]), torch.ones(2, 2), torch.ones(2)])
def test_labels_of_another_shape(labels: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="labels have shape"):
        classification_loss(LOGITS, labels, None)


def test_the_head_is_learnt() -> None:
    model = classifier().train()
    model(pixels(2), torch.tensor([0, 1])).loss.backward()
    assert model.classifier.weight.grad is not None
    assert model.vision_model.embeddings.class_embedding.grad is not None


# Files


def test_from_files_without_a_head(tmp_path: Path) -> None:
    clip = tiny_model(CLIPModel, clip_config())
    clip.save_pretrained(tmp_path / "clip")
    segmenter().save_pretrained(tmp_path / "clipseg")
    for folder in ("clip", "clipseg"):
        with pytest.warns(UserWarning, match=r"holds no classifier\.\* weights"):
            model = CLIPForImageClassification.from_pretrained(tmp_path / folder, num_labels=5)
        assert model(pixels(1)).logits.shape == (1, 5)
        assert isinstance(model.classifier, nn.Linear)
        assert not model.classifier.bias.any()
        assert model.config.id2label[4] == "LABEL_4"
    again = CLIPForImageClassification.from_pretrained(tmp_path / "clip", num_labels=0)  # nothing to warn about
    assert torch.equal(again.vision_model(pixels(1))[0], clip.vision_model(pixels(1))[0])


def test_there_and_back(tmp_path: Path) -> None:
    model = classifier(id2label={0: "cat", 1: "dog", 2: "jar"})
    model.save_pretrained(tmp_path)
    back = CLIPForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(back(pixels(1)).logits, model(pixels(1)).logits)
    assert back.config.id2label == {0: "cat", 1: "dog", 2: "jar"}


def test_a_head_of_another_size(tmp_path: Path) -> None:
    classifier(num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(CheckpointMismatchError, match="name the file's own num_labels, or set ignore_mismatched_sizes"):
        CLIPForImageClassification.from_pretrained(tmp_path, num_labels=5)
    with pytest.warns(UserWarning, match=r"holds other shapes for classifier\.\* weights"):
        model, info = CLIPForImageClassification.from_pretrained(
            tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert model(pixels(1)).logits.shape == (1, 5)
    assert sorted(info["mismatched_keys"]) == [
        ("classifier.bias", (3,), (5,)),
        ("classifier.weight", (3, 24), (5, 24)),
    ]
    assert sorted(info["missing_keys"]) == ["classifier.bias", "classifier.weight"]
