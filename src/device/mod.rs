//! Where a model is measured: a worker process here, or a recorded study.
