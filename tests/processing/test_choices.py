"""A member of a documented enumeration stands for its plain name wherever an option is taken."""

import numpy as np
import torch
from PIL import Image

from clipseg import BatchFeature, CLIPImageProcessor, TensorType
from clipseg.image_utils import ChannelDimension, PILImageResampling
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 30, 20), dtype=np.uint8)


def test_where_channels_are():
    processor = CLIPImageProcessor(resample=PILImageResampling.BILINEAR)
    plain = processor(PIXELS, return_tensors="np", data_format="channels_last", input_data_format="channels_first")
    named = processor(
        PIXELS,
        return_tensors=TensorType.NUMPY,
        data_format=ChannelDimension.LAST,
        input_data_format=ChannelDimension.FIRST,
    )
    assert named.pixel_values.shape == (1, 224, 224, 3)
    assert np.array_equal(named.pixel_values, plain.pixel_values)
    flat = processor(PIXELS[0], input_data_format=ChannelDimension.NONE, return_tensors=TensorType.PYTORCH)
    assert flat.pixel_values.shape == (1, 3, 224, 224)
    assert PILImageResampling is Image.Resampling


def test_what_a_batch_is_made_of():
    tokenizer = CLIPTokenizer(*train_vocabulary(["a cat"], 520))
    assert isinstance(tokenizer("a cat", return_tensors=TensorType.PYTORCH).input_ids, torch.Tensor)
    assert isinstance(BatchFeature({"input_ids": [1]}, tensor_type=TensorType("np")).input_ids, np.ndarray)
    assert ChannelDimension("channels_first") is ChannelDimension.FIRST
