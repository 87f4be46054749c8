//! Training-free scores, one file an indicator.
