"""8-bit weights for an ONNX graph: every product with a matrix of weights is one with whole numbers.

    x @ W   ->   (quantised(x) @ Q) * (scale of x * scale of each column of Q)      by ONNX Runtime
    x @ W   ->   x @ (Q * scale of each column)                                     for OpenVINO

The weights are rounded once, symmetrically, a scale a column: W ≈ Q * scale. The activations are rounded at run time:
in the first form as the graph says, a scale a tensor (DynamicQuantizeLinear), in the second as the engine does it where
it finds weights of that form. ONNX Runtime fuses the four operations of the first into one.

Shapes: K inputs · M outputs of a matrix of weights.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 127  # of 8 bits with a sign, the same on both sides of zero


def quantise(model: Any, *, weights_alone: bool = False) -> None:
    """Turn an ONNX model's matrices of weights into 8 bit, in place; convolutions and tables stay as they are.

    `weights_alone` is the form for OpenVINO.
    """
    onnx: Any = importlib.import_module("onnx")
    make, graph = onnx.helper.make_node, model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    made: set[str] = set()  # what several products share: q, k and v their input, twice used weights themselves
    nodes: list[Any] = []
    for node in graph.node:
        weight = tensors.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2 or weight.data_type != onnx.TensorProto.FLOAT:
            nodes.append(node)
            continue
        (x, w), (y,) = node.input, node.output
        if f"{w}_rounded" not in tensors:
            whole, scale = _columns(onnx.numpy_helper.to_array(weight))
            for name, array in ((f"{w}_rounded", whole), (f"{w}_scale", scale)):
                tensors[name] = onnx.numpy_helper.from_array(array, name)
        if weights_alone:
            if w not in made:
                nodes.append(make("DequantizeLinear", [f"{w}_rounded", f"{w}_scale"], [f"{w}_near"], axis=1))
            nodes.append(make("MatMul", [x, f"{w}_near"], [y]))
            made.add(w)
            continue
        if x not in made:
            nodes.append(make("DynamicQuantizeLinear", [x], [f"{x}_rounded", f"{x}_scale", f"{x}_zero"]))
        nodes += [
            make("MatMulInteger", [f"{x}_rounded", f"{w}_rounded", f"{x}_zero"], [f"{y}_product"]),
            make("Cast", [f"{y}_product"], [f"{y}_product_cast"], to=onnx.TensorProto.FLOAT),
            make("Mul", [f"{x}_scale", f"{w}_scale"], [f"{y}_product_scale"]),
            make("Mul", [f"{y}_product_cast", f"{y}_product_scale"], [y]),
        ]
        made.add(x)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in tensors.items() if name in used)


def _columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (K, M) -> whole numbers of their shape and the scale of each column (M,)."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / LARGEST
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)
