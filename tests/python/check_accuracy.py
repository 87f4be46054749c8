"""Python's onnxruntime on a model that takes bytes, from nothing but its file and the images: check_accuracy.py MODEL IMAGES LABELS

IMAGES and LABELS are MNIST's files (gz). Prints the accuracy, and ends with 1 where it is not what the model says of itself.
"""

import gzip
import json
import sys

import numpy
import onnxruntime


def idx(path, header):
    with gzip.open(path, "rb") as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=header)


model, images, labels = sys.argv[1:]
labels = idx(labels, 8)
images = idx(images, 16).reshape(len(labels), 1, 28, 28)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
said = json.loads(session.get_modelmeta().custom_metadata_map["tegu.accuracy"])["test"]
(name,) = [value.name for value in session.get_inputs()]
batch = session.get_inputs()[0].shape[0]
batch = batch if isinstance(batch, int) else 100
right = 0
for begin in range(0, len(labels), batch):
    part = images[begin : begin + batch]
    (rows, *_) = session.run(None, {name: part})
    right += int((rows.argmax(axis=1) == labels[begin : begin + batch]).sum())
found = right / len(labels)
print(f"{model}: {found:.4%} of {len(labels)} images, the file says {said:.4%}")
sys.exit(abs(found - said) > 5e-4)
