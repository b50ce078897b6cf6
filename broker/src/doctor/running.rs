//! The broker that runs, by its admin listener; or the ports that one would need.

use crate::admin_client::{AdminListener, reached};
use crate::doctor::line::Line;
use crate::failure::Failure;
use crate::server::preflight;
use crate::terminal::{plain, write};
use broker_core::settings::Settings;
use serde_json::Value;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The status of a broker that answers, such as `ok` or `draining`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where a process does not answer; any other where none is that could.
pub(crate) fn status(listener: &AdminListener) -> io::Result<String> {
    let answer = listener.ask("GET", "/ready")?;
    let text = answer.text(STATUS_BYTES_MAX)?;
    let document: Value = serde_json::from_str(&text)?;
    let status = document["status"].as_str().map(plain);
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Asks whether a broker is ready.
///
/// # Errors
/// [`Failure::Fatal`] when it is not, or does not answer.
pub(crate) fn ready(listener: &AdminListener, out: &mut dyn Write) -> Result<(), Failure> {
    let host = &listener.host;
    match status(listener) {
        Ok(status) if status == READY => write(out, "ready\n"),
        Ok(status) => Err(Failure::Fatal(format!(
            "the broker at http://{host} is not ready: {status}"
        ))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}"
        ))),
        Err(_) => Err(Failure::Fatal(format!(
            "no broker answers at http://{host}: is it running? If its admin listener is elsewhere, name it by --admin \
             URL"
        ))),
    }
}

/// A broker that runs: whether it is ready, its version, and whether its listeners accept.
pub(crate) fn of_running(listener: &AdminListener, status: &str, settings: &Settings) -> Vec<Line> {
    let host = &listener.host;
    let version = version(listener).map_or_else(
        || "of a version that is shown with its token alone".to_owned(),
        |version| format!("version {version}"),
    );
    let mut lines = vec![match status {
        READY => Line::ok("broker", format!("one runs and is ready, {version}")),
        _ => Line::error(
            "broker",
            format!(
                "one runs, {version}, and is not ready: {status}: `curl -i http://{host}/ready`, and its log"
            ),
        ),
    }];
    for listen in &settings.listen {
        let addr = reached(listen.addr);
        let reaches = TcpStream::connect_timeout(&addr, CONNECT_MAX);
        lines.push(match reaches {
            Ok(_) => Line::ok("listen", format!("{listen} accepts connections")),
            Err(error) => Line::error(
                "listen",
                format!(
                    "{listen} does not accept connections: {error}: does the broker that runs have this configuration? \
                     `ss -ltnp sport = :{}`",
                    addr.port()
                ),
            ),
        });
    }
    lines
}

/// The ports that a start needs: each is bound as a start does, and given back.
pub(crate) fn of_ports(settings: &Settings) -> Vec<Line> {
    let all = preflight::listeners(settings).into_iter();
    all.map(|(addr, bound)| Line::of("ports", bound.map(|()| format!("{addr} is free"))))
        .collect()
}

/// The version of a broker, by its metrics.
fn version(listener: &AdminListener) -> Option<String> {
    let answer = listener.ask("GET", "/metrics").ok()?;
    let text = answer.text(METRICS_BYTES_MAX).ok()?;
    let mut lines = text.lines();
    let labels = lines.find_map(|line| line.strip_prefix("heliograph_build_info{"))?;
    let (_, rest) = labels.split_once("version=\"")?;
    Some(plain(rest.split_once('"')?.0))
}

/// The status of a broker that is ready.
const READY: &str = "ok";

/// Time for a listener of this machine to accept, at most.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Bytes of a status, and of metrics, that are read at most.
const STATUS_BYTES_MAX: u64 = 4 << 10;
const METRICS_BYTES_MAX: u64 = 16 << 20;
