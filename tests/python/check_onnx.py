"""Checks ONNX models: valid by onnx.checker, nothing in them without use, and their outputs by onnxruntime those that
were expected.

Usage: check_onnx.py CASES.json
Each case: {"model": PATH, "inputs": {NAME: TENSOR}, "outputs": {NAME: TENSOR}, "opset": N, "metadata": {KEY: VALUE}};
a TENSOR is {"dims": [...], "values": [...], "type": "float32"}. Opset, metadata and "tolerance" may be absent.
Prints one line a case and exits with 1 if one is wrong.
"""

import json
import sys

import numpy
import onnx
import onnxruntime

TOLERANCE = 1e-4


def array(tensor):
    return numpy.array(tensor["values"], dtype=tensor["type"]).reshape(tensor["dims"])


def check_alive(graph):
    """Everything in the file is needed for its outputs."""
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):  # they stand in topological order
        assert needed & set(node.output), f"{node.op_type} {node.output[0]} leads nowhere"
        needed |= set(node.input)
    unused = [tensor.name for tensor in graph.initializer if tensor.name not in needed]
    assert not unused, f"initializers that nothing reads: {unused}"


def check(case):
    path = case["model"]
    # By path: the checker looks at external data as well.
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if "opset" in case:
        assert opsets == {"": case["opset"]}, f"opsets {opsets}, expected {case['opset']}"
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for key, value in case.get("metadata", {}).items():
        assert metadata.get(key) == value, f"metadata {key}: {metadata.get(key)!r}, expected {value!r}"

    check_alive(model.graph)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {name: array(t) for name, t in case["inputs"].items()})))
    assert set(found) == set(case["outputs"]), f"outputs {sorted(found)}, expected {sorted(case['outputs'])}"
    worst = 0.0
    for name, tensor in case["outputs"].items():
        expected = array(tensor)
        assert found[name].shape == expected.shape, f"{name}: {found[name].shape}, expected {expected.shape}"
        scale = max(float(numpy.abs(expected).max(initial=0.0)), 1e-6)
        worst = max(worst, float(numpy.abs(found[name] - expected).max(initial=0.0)) / scale)
    allowed = case.get("tolerance", TOLERANCE)
    assert worst <= allowed, f"outputs differ by {worst:.2e} of the largest, expected at most {allowed}"
    return worst


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    failed = 0
    for case in cases:
        try:
            print(f"{case['model']}: fine, differs by {check(case):.1e}")
        except Exception as error:  # one line for whatever is wrong with a model
            failed += 1
            print(f"{case['model']}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


main()
