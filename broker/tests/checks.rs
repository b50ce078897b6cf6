//! All that needs no running service, or one of its own, in one program, which builds and links once.
//!
//! * [`cases`]: those of tests in text files.
//! * [`cli`]: the command line from outside; [`config`]: the configuration file; [`deploy`]: the files of `deploy/`.
//! * [`edge_live`]: the edge under echo shards in this process.
//! * [`packages`]: packages as their users have them; [`supply`]: the crates that all is built from.
//! * [`tidy`]: the shape of the sources, and links.

mod cases;
mod cli;
mod config;
mod deploy;
mod edge_live;
mod packages;
mod supply;
mod tidy;
