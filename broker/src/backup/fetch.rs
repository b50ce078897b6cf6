//! The request to a running broker: `POST /backup` at its admin listener.

use crate::admin_client::{REFUSAL_BYTES_MAX, ask as request};
use crate::terminal::plain;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::PathBuf;

/// An answer of 200: its body follows.
pub(super) struct Answer {
    /// What is left to read: the body, up to the end of the connection.
    pub(super) body: BufReader<TcpStream>,
    /// The data directory of the broker, if it is on this machine.
    pub(super) data_dir: Option<PathBuf>,
}

/// Asks `host`, such as `127.0.0.1:8090`, for a backup.
///
/// # Errors
/// What went wrong, with what to do.
pub(super) fn ask(host: &str, token: Option<&str>) -> Result<Answer, String> {
    let answer = request(host, "POST", "/backup", token).map_err(|error| {
        format!(
            "the broker at http://{host} does not answer: {error}: if none runs, copy its directory with --data-dir \
             DIR; if \
             its admin listener is elsewhere, --admin URL"
        )
    })?;
    if answer.status != "200" {
        let status = answer.status.clone();
        let text = answer.text(REFUSAL_BYTES_MAX).unwrap_or_default();
        return Err(format!(
            "the broker at http://{host} refuses: {}: {}",
            plain(&status),
            plain(text.trim())
        ));
    }
    let data_dir = answer.header(crate::side::DATA_DIR_HEADER);
    let is_local = answer.peer.ip().is_loopback();
    let data_dir = data_dir.filter(|_| is_local).map(PathBuf::from);
    Ok(Answer {
        body: answer.body,
        data_dir,
    })
}
