//! `heliograph cluster` against a real etcd, which each test starts on loopback with a directory of its own.

#![expect(clippy::unwrap_used, reason = "a test fails where it is")]

mod commands;
mod exchange;
mod support;
