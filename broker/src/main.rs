//! (front page follows)
fn main() {}
