"""Checks quantised ONNX models: valid by onnx.checker, computed by onnxruntime as onnx's own reference computes them in
floats (fake quantisation), and on integers where they should be.

Usage: check_quantized.py CASES.json
Each case: {"model": PATH, "input": {"dims": [...], "values": [...]}, "output": [...], "integer": N, "tolerance": T, "reference": BOOL};
"output" is what the caller has computed with the model, "integer" the least number of integer operators that onnxruntime
is to make of it, "tolerance" what outputs may differ by, of the largest, "reference" whether onnx's reference has all its operators
right (if not, the caller's output is held against onnxruntime alone).
Prints one line a case and exits with 1 if one is wrong.
"""

import json
import os
import sys

import numpy
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

INTEGER = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger")


def difference(found, expected):
    scale = max(float(numpy.abs(expected).max()), 1e-6)
    return float(numpy.abs(found - expected).max()) / scale


def check(case):
    path = case["model"]
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    read = {name for node in model.graph.node for name in node.input}
    unused = [tensor.name for tensor in model.graph.initializer if tensor.name not in read]
    assert not unused, f"initializers that nothing reads: {unused}"

    values = numpy.array(case["input"]["values"], dtype=numpy.float32).reshape(case["input"]["dims"])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = path + ".optimized"
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": values})[0]
    # The reference has these operators, of the same meaning, from a later opset on.
    model.opset_import[0].version = max(model.opset_import[0].version, 21)
    model.ir_version = max(model.ir_version, 10)
    expected = ReferenceEvaluator(model).run(None, {"input": values})[0] if case["reference"] else found
    worst = difference(found, expected)
    allowed = case["tolerance"]
    assert worst <= allowed, f"onnxruntime differs from fake quantisation by {worst:.2e}"
    given = difference(numpy.array(case["output"], dtype=numpy.float32).reshape(expected.shape), expected)
    assert given <= allowed, f"the caller's output differs from fake quantisation by {given:.2e}"
    operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    os.remove(options.optimized_model_filepath)
    integer = sum(operator.startswith(INTEGER) for operator in operators)
    assert integer >= case["integer"], f"{integer} integer operators, expected {case['integer']}: {operators}"
    return worst, integer, len(operators)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    failed = 0
    for case in cases:
        try:
            worst, integer, total = check(case)
            print(f"{case['model']}: fine, differs by {worst:.1e}, {integer} of {total} operators on integers")
        except Exception as error:  # one line for whatever is wrong with a model
            failed += 1
            print(f"{case['model']}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


main()
