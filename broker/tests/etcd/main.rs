//! `heliograph cluster` against a real etcd, which each test starts on loopback with a directory of its own.
#![expect(clippy::unwrap_used, reason = "a test fails where it is")]

mod commands;
mod dns;
mod exchange;
#[path = "../../etcd/tests/etcd/server.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod server;
mod support;
