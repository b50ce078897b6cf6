//! (front page follows)
pub mod config;
pub mod edge;
pub mod id;
pub mod limits;
pub mod machine;
pub mod time;
