//! From a graph and its weights to an ONNX model, and back to its metadata.
