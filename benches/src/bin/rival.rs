//! Serves one of the rival relays: `rival NAME [--tls]`. Prints the port it listens on, and exits when standard input
//! is closed.

use benches::relay::Rival;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;

/// Serves a rival on a loopback port
#[derive(Parser)]
struct Options {
    /// Relay to serve
    #[arg(value_enum)]
    rival: Rival,
    /// Serve TLS 1.3
    #[arg(long)]
    tls: bool,
}

fn main() -> ExitCode {
    let Options { rival, tls } = Options::parse();
    if let Err(error) = serve(rival, tls) {
        let _ = writeln!(io::stderr(), "rival {}: {error}", rival.name());
    }
    ExitCode::FAILURE
}

fn serve(rival: Rival, is_tls: bool) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The broker uses the same backlog; std uses 128.
    rustix::net::listen(&listener, 4096)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    rival.serve(listener, is_tls)
}
