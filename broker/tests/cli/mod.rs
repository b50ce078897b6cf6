//! The command line from outside: exit codes, what is written to which stream, signals. Why a start is refused is
//! tested in `live/lifecycle/start.rs` as well; here are the cases that need files or a process with little memory or
//! few files.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

mod channels;
mod channels_back;
mod check_config;
mod corpus;
mod doctor;
mod flags;
mod signals;
mod start;
mod support;
