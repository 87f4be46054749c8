//! One file a search strategy; ask and tell.
