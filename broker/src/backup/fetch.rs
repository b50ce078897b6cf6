//! The request to a running broker: `POST /backup` at its admin listener.

use crate::admin_client::AdminListener;
use crate::backup::wire;
use crate::failure::Failure;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::PathBuf;

/// An answer of 200: its body follows.
pub(crate) struct Answer {
    /// The body, not yet read: up to the end of the connection.
    pub(crate) body: BufReader<TcpStream>,
    /// The data directory of the broker, if it is on this machine.
    pub(crate) data_dir: Option<PathBuf>,
    /// Its last epoch of presence, if there was one.
    pub(crate) epoch: Option<u64>,
}

/// Asks for a backup.
///
/// # Errors
/// [`Failure::Fatal`]: what went wrong, with what to do.
pub(crate) fn ask(listener: &AdminListener) -> Result<Answer, Failure> {
    let answer = listener.ask("POST", "/backup").map_err(|error| {
        Failure::Fatal(format!(
            "the broker at http://{} does not answer: {error}: if none runs, copy its directory with --data-dir DIR; \
             if its admin listener is elsewhere, name it by --admin URL",
            listener.host
        ))
    })?;
    if answer.status != "200" {
        return Err(listener.refusal(answer)?.into());
    }
    let data_dir = answer.header(wire::DATA_DIR_HEADER);
    let is_local = answer.peer.ip().is_loopback();
    let data_dir = data_dir.filter(|_| is_local).map(PathBuf::from);
    let epoch = answer.header(wire::EPOCH_HEADER);
    Ok(Answer {
        epoch: epoch.and_then(|epoch| epoch.parse().ok()),
        body: answer.body,
        data_dir,
    })
}
