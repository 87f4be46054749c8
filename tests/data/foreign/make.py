"""Writes keras.onnx, pytorch.onnx and refused.onnx: small networks in the habits of tf2onnx and of torch.onnx, with random weights.

    python make.py    (needs onnx and numpy)
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

HERE = Path(__file__).parent


class Model:
    def __init__(self, seed):
        self.random, self.nodes, self.constants = np.random.default_rng(seed), [], []

    def constant(self, name, values, dtype=np.float32):
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, name, *dims):
        scale = 1 / np.sqrt(max(np.prod(dims[1:]), 1))
        return self.constant(name, self.random.normal(0, scale, dims))

    def op(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, name, of, channels, reads, kernel, groups=1, bias=True, **attributes):
        inputs = [of, self.weight(f"{name}.weight", channels, reads // groups, kernel, kernel)]
        if bias:
            inputs.append(self.weight(f"{name}.bias", channels))
        return self.op("Conv", inputs, name, group=groups, kernel_shape=[kernel] * 2, **attributes)

    def save(self, name, source, output, opset):
        value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        graph = helper.make_graph(self.nodes, name, [value(*source)], [value(*output)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        checker.check_model(model, full_check=True)
        (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def keras():
    """Channels last outside, SAME padding, biases as sums, ReLU6 as Clip, hard-swish in pieces, a mean by ReduceMean."""
    m = Model(1)
    zero, six, three = m.constant("zero", 0), m.constant("six", 6), m.constant("three", 3)
    sixth = m.constant("sixth", 1 / 6)
    x = m.op("Transpose", ["images"], "to_nchw", perm=[0, 3, 1, 2])
    x = m.conv("stem", x, 8, 3, 3, bias=False, strides=[2, 2], auto_pad="SAME_UPPER")
    x = m.op("Add", [x, m.weight("stem/bias_reshaped", 1, 8, 1, 1)], "stem/BiasAdd")
    x = m.op("Clip", [x, zero, six], "relu6")
    x = m.conv("depthwise", x, 8, 8, 3, groups=8, strides=[2, 2], pads=[0, 0, 1, 1])
    shifted = m.op("Add", [x, three], "shifted")
    clipped = m.op("Clip", [shifted, zero, six], "clipped")
    gated = m.op("Mul", [x, clipped], "gated")
    x = m.op("Mul", [gated, sixth], "hard_swish")
    pooled = m.op("ReduceMean", [x], "squeeze", axes=[2, 3], keepdims=1)
    gate = m.op("Relu", [m.conv("reduce", pooled, 4, 8, 1)], "reduce/Relu")
    gate = m.op("Sigmoid", [m.conv("expand", gate, 8, 4, 1)], "gate")
    x = m.op("Mul", [x, gate], "excited")
    x = m.op("Transpose", [x], "to_nhwc", perm=[0, 2, 3, 1])
    x = m.op("ReduceMean", [x], "mean", axes=[1, 2], keepdims=0)
    x = m.op("MatMul", [x, m.weight("dense/kernel", 8, 5)], "dense")
    x = m.op("Add", [x, m.weight("dense/bias", 5)], "dense/BiasAdd")
    m.op("Softmax", [x], "probabilities", axis=-1)
    m.save("keras", ("images", [1, 18, 17, 3]), ("probabilities", [1, 5]), 13)


def pytorch():
    """Folded and unfolded batch norms, a residual sum, branches that are joined, ceil_mode, Gemm behind Flatten of a map."""
    m = Model(2)
    x = m.op("Relu", [m.conv("conv1", "input", 8, 3, 3, strides=[2, 2], pads=[1] * 4)], "relu1")
    x = m.op("MaxPool", [x], "maxpool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    y = m.conv("conv2", x, 8, 8, 3, groups=2, bias=False, pads=[1] * 4)
    norm = [m.weight(f"bn2.{part}", 8) for part in ("weight", "bias", "running_mean")]
    norm.append(m.constant("bn2.running_var", m.random.uniform(0.5, 1.5, 8)))
    y = m.op("BatchNormalization", [y, *norm], "bn2", epsilon=1e-3)
    y = m.op("Relu", [m.op("Add", [y, x], "residual")], "relu2")
    left = m.op("HardSwish", [m.conv("left", y, 4, 8, 1)], "left.act")
    pool = m.op("AveragePool", [y], "avgpool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=1)
    right = m.conv("right", pool, 6, 8, 3, pads=[2] * 4, dilations=[2, 2])
    x = m.op("Concat", [left, right], "concat", axis=1)
    x = m.op("Flatten", [x], "flatten", axis=1)
    m.op("Gemm", [x, m.weight("fc.weight", 5, 10 * 5 * 5), m.weight("fc.bias", 5)], "logits", transB=1)
    m.save("pytorch", ("input", [1, 3, 19, 19]), ("logits", [1, 5]), 14)


def refused():
    """Three operators that a graph has not, and one that it has."""
    m = Model(3)
    x = m.op("LRN", ["input"], "norm", size=3)
    x = m.op("Relu", [x], "relu")
    x = m.op("InstanceNormalization", ["input", m.weight("a", 3), m.weight("b", 3)], "instance")
    m.op("Elu", ["input"], "elu")
    m.op("Relu", ["input"], "result")
    m.save("refused", ("input", [1, 3, 8, 8]), ("result", [1, 3, 8, 8]), 14)


keras()
pytorch()
refused()
