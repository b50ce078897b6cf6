//! Serves one of the rivals: `rival NAME [--tls]`. Prints its port, and ends when its standard input does.

use benches::relay::Rival;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(rival) = Rival::of(&name) else {
        let names = Rival::ALL.map(Rival::name).join(", ");
        // Nothing is left to report to if this fails.
        let _ = writeln!(io::stderr(), "rival {name}: allowed are {names}");
        return ExitCode::from(2);
    };
    let is_tls = std::env::args().nth(2).is_some_and(|flag| flag == "--tls");
    if let Err(error) = serve(rival, is_tls) {
        let _ = writeln!(io::stderr(), "rival {name}: {error}");
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
    // As long as the broker's: std asks for 128.
    rustix::net::listen(&listener, 4096)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    rival.serve(listener, is_tls)
}
