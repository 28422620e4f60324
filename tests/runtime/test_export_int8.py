"""Weights in 8 bit: how near they stay, and that a graph with them computes nearly the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.runtime.export_int8 import _columns, quantise


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(1e-20, 1e20), st.integers(0, 99))
def test_no_weight_moves_by_more_than_half_a_step(inputs: int, outputs: int, spread: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    weight = (draw.normal(size=(inputs, outputs)) * spread).astype(np.float32)
    weight[:, 0] = 0
    whole, scale = _columns(weight)
    assert (whole.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (outputs,))
    assert np.abs(whole).max() <= 127
    assert (np.abs(whole * scale - weight) <= 0.501 * scale).all()
    assert not whole[:, 0].any()


def graph(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    free = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 16])
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 16])
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    body = onnx.helper.make_graph(nodes, "graph", [free], [made], tensors)
    return onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def test_products_share_what_they_can() -> None:
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(16, 16)).astype(np.float32) for name in ("p", "q")}
    node = onnx.helper.make_node
    products = [node("MatMul", ["x", "p"], ["a"]), node("MatMul", ["x", "q"], ["b"]), node("MatMul", ["b", "q"], ["c"])]
    model = graph(*products, node("Add", ["a", "c"], ["y"]), **weights)
    x = draw.normal(size=(5, 16)).astype(np.float32)
    expected = answer(model, x)
    quantise(model)
    onnx.checker.check_model(model)
    kinds = [one.op_type for one in model.graph.node]
    assert kinds.count("DynamicQuantizeLinear") == 2  # of x, for two products, and of b
    assert kinds.count("MatMulInteger") == 3
    assert {tensor.name for tensor in model.graph.initializer} == {"p_rounded", "p_scale", "q_rounded", "q_scale"}
    error = np.sqrt(np.mean((answer(model, x) - expected) ** 2)) / expected.std()
    assert 1e-4 < error < 0.05


def test_weights_alone() -> None:
    draw = np.random.default_rng(0)
    weights = {"p": draw.normal(size=(16, 16)).astype(np.float32)}
    node = onnx.helper.make_node
    model = graph(node("MatMul", ["x", "p"], ["a"]), node("MatMul", ["a", "p"], ["y"]), **weights)
    x = draw.normal(size=(5, 16)).astype(np.float32)
    expected = answer(model, x)
    quantise(model, weights_alone=True)
    onnx.checker.check_model(model)
    assert [one.op_type for one in model.graph.node] == ["DequantizeLinear", "MatMul", "MatMul"]
    error = np.sqrt(np.mean((answer(model, x) - expected) ** 2)) / expected.std()
    assert 1e-4 < error < 0.02


def test_what_is_no_product_with_weights_stays() -> None:
    node, square = onnx.helper.make_node, np.eye(16, dtype=np.float32)
    two = [node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["s"]), node("MatMul", ["s", "x"], ["z"])]
    model = graph(*two, node("Gemm", ["z", "w"], ["y"]), w=square)
    before = model.SerializeToString()
    quantise(model)
    assert model.SerializeToString() == before
