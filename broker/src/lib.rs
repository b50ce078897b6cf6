//! (front page follows)
pub mod id;
pub mod machine;
pub mod time;
