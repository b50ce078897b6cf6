//! (front page follows)
pub mod channel;
pub mod config;
pub mod control;
pub mod edge;
pub mod event;
pub mod id;
pub mod limits;
pub mod machine;
pub mod placement;
pub mod record;
pub mod registry;
pub mod session;
pub mod shard;
pub mod time;
