//! An echo server on the broker's own edge and codec: for Autobahn, for load tests, and as an example of the seam.
//!
//! ```text
//! cargo run --release -p broker --example echo -- \
//!     --listen http://127.0.0.1:9001 --listen https://127.0.0.1:9002 --shards 2
//! ```
//! Prints `ready URL…` when all listeners accept; ends with the process.

mod certificate;
#[expect(
    dead_code,
    reason = "the edge's tests drain it; this program runs until it is killed"
)]
mod machine;
#[expect(
    dead_code,
    reason = "the edge's tests scrape, drain and stop it; this program runs until it is killed"
)]
mod server;
mod session;

use broker::edge::{EdgeSettings, ShardEvent};
use clap::Parser;
use server::{Listen, Server};
use std::io::Write;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Echoes WebSocket messages.
#[derive(Parser)]
struct Flags {
    /// `http://ADDR:PORT` or `https://ADDR:PORT`; repeatable; port 0 picks one.
    #[arg(long, required = true)]
    listen: Vec<String>,
    /// Shards; every second connection moves to the next one.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// PEM files of the TLS listeners; without them a certificate is made.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// Connections beyond which accepting pauses.
    #[arg(long, default_value_t = 60_000)]
    connections: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    ring::probe().map_err(|obstacle| obstacle.to_string())?;
    let listens = flags
        .listen
        .iter()
        .map(|url| listen(url))
        .collect::<Result<Vec<_>, _>>()?;
    let tls = match (&flags.cert, &flags.key) {
        (Some(cert), Some(key)) => certificate::from_files(cert, key)?,
        (Some(_) | None, _) => certificate::self_made()?.0,
    };
    let shards = flags.shards;
    let make = move |id| machine::Echo::new(id, shards);
    let settings = EdgeSettings {
        connections: flags.connections,
        ..EdgeSettings::default()
    };
    let server = Server::start(
        &listens,
        flags.shards,
        Some(tls),
        settings,
        (4096, 256),
        make,
    )?;
    let mut ready = String::from("ready");
    for (listen, addr) in listens.iter().zip(&server.addrs) {
        ready += if listen.tls { " https://" } else { " http://" };
        ready += &addr.to_string();
    }
    writeln!(std::io::stdout(), "{ready}")?;
    // A shard ends only when it fails.
    loop {
        match server.events.recv()? {
            ShardEvent::Drained(_) => {}
            ShardEvent::Ended(id) => return Err(format!("shard {} ended", id.0).into()),
        }
    }
}

fn listen(url: &str) -> Result<Listen, String> {
    let (scheme, addr) = url
        .split_once("://")
        .ok_or_else(|| format!("{url}: http://ADDR:PORT"))?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        other => return Err(format!("{other}: http or https")),
    };
    let addr = addr.parse().map_err(|error| format!("{url}: {error}"))?;
    Ok(Listen { addr, tls })
}
