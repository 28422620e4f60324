import copy
import pickle

import numpy as np
import pytest
import torch

from clipseg.errors import UsageError
from clipseg.processing.batch import BatchFeature


def test_a_dict_with_attributes():
    batch = BatchFeature(input_ids=[1, 2])
    assert batch.input_ids == batch["input_ids"] == [1, 2]
    assert isinstance(batch, dict)
    assert dict(**batch) == {"input_ids": [1, 2]}
    with pytest.raises(AttributeError, match="no 'pixel_values' in this batch, which holds input_ids"):
        _ = batch.pixel_values
    for twin in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert twin == batch
        assert isinstance(twin, BatchFeature)


def test_the_documented_arguments_are_the_columns_and_their_type():
    batch = BatchFeature(data={"input_ids": [[1, 2]], "pixel_values": [np.ones((3, 2, 2), np.float32)]})
    assert batch.data == dict(batch)
    assert (type(batch.data), list(batch)) == (dict, ["input_ids", "pixel_values"])
    assert batch.convert_to_tensors("pt") is batch
    assert (batch.input_ids.dtype, batch.pixel_values.shape) == (torch.int64, (1, 3, 2, 2))
    assert isinstance(BatchFeature({"input_ids": [1]}, tensor_type="np").input_ids, np.ndarray)
    assert isinstance(BatchFeature({"input_ids": [1]}, "pt").convert_to_tensors().input_ids, torch.Tensor)
    with pytest.raises(UsageError, match="resize or crop them"):
        BatchFeature({"pixel_values": [np.ones((3, 2, 2)), np.ones((3, 2, 3))]}, "pt")


@pytest.mark.parametrize("arguments", [{"args": ("cpu", torch.float16)}, {"args": (torch.float16,)}])
def test_only_floats_are_cast(arguments):
    batch = BatchFeature(input_ids=torch.ones(2, dtype=torch.int64), pixel_values=torch.ones(2), names=["a"])
    assert batch.to(*arguments["args"]) is batch
    assert (batch.input_ids.dtype, batch.pixel_values.dtype) == (torch.int64, torch.float16)
    assert batch.names == ["a"]
    assert batch.to(dtype=torch.float32).pixel_values.dtype == torch.float32


def test_a_dtype_comes_last_as_of_a_tensor():
    batch = BatchFeature(pixel_values=torch.ones(2))
    for arguments in (
        (torch.float16, "cpu"),
        ("cpu", "cpu"),
        (torch.float16, torch.float16),
        ("cpu", "cpu", torch.half),
    ):
        with pytest.raises(TypeError, match="takes a device, a dtype, or a device and a dtype"):
            batch.to(*arguments)
    assert batch.pixel_values.dtype == torch.float32


def test_tensors_in_lists_move_too():
    batch = BatchFeature(pixel_values=[torch.ones(2), torch.ones(3)], input_ids=[[1, 2]]).to("cpu", torch.float16)
    assert [each.dtype for each in batch.pixel_values] == [torch.float16] * 2
    assert batch.input_ids == [[1, 2]]


def test_tensors_move():
    batch = BatchFeature(pixel_values=torch.ones(2)).to("meta")
    assert batch.pixel_values.device.type == "meta"
    assert BatchFeature(pixel_values=torch.ones(2)).to(device="meta").pixel_values.is_meta
