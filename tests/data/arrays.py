"""Makes the small NumPy archives that tests/data_sets.rs reads: python tests/data/arrays.py (numpy 2.4)."""

import os

import numpy as np

here = os.path.dirname(__file__)


def path(name):
    return os.path.join(here, name)


images = np.arange(4 * 2 * 5 * 3, dtype=np.uint8).reshape(4, 2, 5, 3)
arrays = {
    "x_train": images,
    "y_train": np.array([0, 1, 2, 1]),
    "x_test": images[:2] + 100,
    "y_test": np.array([[2], [0]], dtype=np.uint8),
}
np.savez(path("arrays.npz"), **arrays)
np.savez_compressed(path("arrays_packed.npz"), **arrays)
np.savez(path("features.npz"), x=np.arange(12).reshape(3, 4) / 2, y=np.array([1.0, 0.0, 1.0]))
np.savez(path("other_names.npz"), a=images, b=images)
np.savez(path("other_counts.npz"), x=images, y=np.array([0, 1, 2]))
np.savez(path("fortran.npz"), x=np.asfortranarray(images), y=np.array([0, 1, 2, 1]))
