//! The cost of refusing: wrong signatures, of keys and of tokens, against one shard, beside pairs that go on relaying.
//!
//! ```text
//! cargo build --release -p broker
//! cargo run --release -p broker --example forged -- target/release/heliograph --rate 10000 --seconds 8
//! ```
//! Starts that broker with one shard on CPU 0, and goes itself to CPU 1 (with `taskset` of util-linux). Each phase
//! prints a line: how many requests were made a second, CPU of the broker for each (less what it takes when only the
//! pairs are there), and how long the pairs' messages took. Requests that lack a signature show what a connection or
//! call costs without one.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod flood;
mod pair;
mod server;
mod token;

use clap::Parser;
use flood::{Flood, Target};
use pair::{Pairs, Spread};
use server::Server;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Wrong signatures against one shard.
#[derive(Parser)]
struct Flags {
    /// The broker's binary.
    broker: PathBuf,
    /// Wrong signatures a second.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Seconds that each phase takes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Threads that ask.
    #[arg(long, default_value_t = 2)]
    threads: u32,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    let server = Server::start(&flags.broker)?;
    leave_its_cpu()?;
    let pairs = Pairs::connect(&server)?;
    let span = Duration::from_secs(flags.seconds);
    println!(
        "phase                     asked/s  us CPU each   messages   p50 us   p99 us   max us"
    );
    let before = server.cpu()?;
    let (spread, pairs) = pairs.relay(|| std::thread::sleep(span))?;
    let quiet = (server.cpu()? - before) / span.as_secs_f64();
    line("quiet", 0.0, quiet * 1e6, &spread.1);
    let mut pairs = Some(pairs);
    for (name, target) in [
        ("upgrade, unsigned", Target::Upgrade(None)),
        ("upgrade, forged", Target::Upgrade(Some(server::KEY_ID))),
        ("upgrade, unknown key", Target::Upgrade(Some("AKIDNOBODY"))),
        ("call, unsigned", Target::Call(None)),
        ("call, forged", Target::Call(Some(server::KEY_ID))),
        ("call, unknown key", Target::Call(Some("AKIDNOBODY"))),
        ("sign-in, forged token", Target::SignIn),
    ] {
        let flood = Flood {
            target,
            rate: flags.rate,
            threads: flags.threads,
            span,
        };
        let before = server.cpu()?;
        let now = pairs.take().ok_or("no pairs")?;
        let ((asked, spread), now) = now.relay(|| flood.run(&server))?;
        pairs = Some(now);
        let (asked, took) = asked?;
        let cpu = server.cpu()? - before - quiet * took;
        let count = f64::from(asked);
        line(name, count / took, cpu / count * 1e6, &spread);
    }
    Ok(())
}

/// Goes to CPU 1, with all threads that come.
fn leave_its_cpu() -> Result<(), Failure> {
    let own = std::process::id().to_string();
    let moved = Command::new("taskset")
        .args(["-acp", "1", &own])
        .stdout(Stdio::null())
        .status()?;
    if moved.success() {
        return Ok(());
    }
    Err("taskset failed: this needs two CPUs".into())
}

fn line(name: &str, rate: f64, each: f64, spread: &Spread) {
    let Spread {
        count,
        p50,
        p99,
        max,
    } = spread;
    println!("{name:<24} {rate:>8.0} {each:>12.1} {count:>10} {p50:>8} {p99:>8} {max:>8}");
}
