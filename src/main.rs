//! The `tegu` executable: everything is in the library's `cli`.
fn main() {}
