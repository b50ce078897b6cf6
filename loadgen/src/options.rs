//! The command line, as given.

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// Load for services that speak KVS signaling.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put a load on a service and report what became of it.
    ///
    /// Exit codes: 0 all well; 1 messages lost, duplicated, reordered, corrupted or misrouted; 2 usage or limits;
    /// 3 the target failed; 130 stopped by Ctrl-C, with its report.
    Run(Options),
}

/// What kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Masters and viewers exchange messages in a closed loop: CPU per message.
    Relay,
    /// Connections that are held and do nothing: memory per connection.
    Idle,
    /// Connect, upgrade, close, and again: CPU per connection.
    Connect,
}

/// The flags of `loadgen run`, as given.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Options {
    /// The service: http://, https://, ws:// or wss:// HOST[:PORT]
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// What kind of load
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// Channels, each with one master
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub channels: u32,
    /// Viewers of each channel; with --mode connect they alone connect, or the masters if this is 0
    #[arg(long, value_name = "V", default_value_t = 1)]
    pub viewers_per_channel: u32,
    /// Seconds of load that are measured, after a warm-up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub duration: f64,
    /// Messages that each peer begins with towards each counterpart (relay)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub window: u32,
    /// Characters of each message's payload, a multiple of 4
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub payload: usize,
    /// The server's process on this machine, for its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// CPUs to use, one thread pinned to each, such as 1 or 0,2-3; without it one thread, not pinned
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cores: Option<CpuList>,
    /// Local addresses to connect from in turn: 127.0.1.1/24 or FIRST-LAST
    #[arg(long, value_name = "RANGE")]
    pub source_addresses: Option<String>,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(long)]
    pub quiet: bool,
    /// The authority (PEM) that the service's certificate must come from
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub tls_ca: Option<PathBuf>,
    /// Take any certificate; loopback only
    #[arg(long)]
    pub insecure: bool,
    /// Allow a target that is not on this machine
    #[arg(long)]
    pub i_own_this_target: bool,
    /// Send no signatures (the only way so far)
    #[arg(long)]
    pub no_auth: bool,
    /// Region of the channels' ARNs
    #[arg(long, value_name = "NAME", default_value = "us-west-2")]
    pub region: String,
    /// Account of the channels' ARNs
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    pub account_id: String,
    /// Channels are called this and a number
    #[arg(long, value_name = "TEXT", default_value = "loadgen-")]
    pub channel_prefix: String,
}

/// CPU numbers, at least one, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CpuList(pub Vec<usize>);

/// Reads `1` or `0,2-3`.
fn cpu_list(text: &str) -> Result<CpuList, String> {
    let wrong = || format!("{text}: allowed are CPU numbers below {CPUS_MAX}, such as 1 or 0,2-3");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if first > last || last >= CPUS_MAX {
            return Err(wrong());
        }
        list.extend(first..=last);
    }
    list.sort_unstable();
    list.dedup();
    Ok(CpuList(list))
}

/// What a kernel's default CPU mask holds.
const CPUS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("3,0-1,1"), Ok(CpuList(vec![0, 1, 3])));
        assert!(cpu_list("").is_err() && cpu_list("1024").is_err());
    }
}
