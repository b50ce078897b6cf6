//! The command line from outside: exit codes, what is written to which stream, signals. Each refused configuration is
//! one case of the [`corpus`].

#![expect(clippy::unwrap_used, reason = "support code of tests")]

mod channels;
mod channels_back;
mod check_config;
mod corpus;
mod doctor;
mod flags;
mod printed;
mod signals;
mod start;
mod support;
