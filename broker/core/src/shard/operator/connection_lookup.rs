//! The channel and client of a connection's number, for operators: of open connections by their sessions, of those that
//! left by the recorder's notes, a bounded number in each step.

use crate::id::{ChannelKey, Identity, SessionKey};
use crate::session::Session;
use crate::shard::books::recorder::Recorder;
use crate::shard::directory::Directory;
use crate::shard::operator::trace;
use crate::shard::sockets::Sockets;
use std::num::NonZeroU64;

/// One step of looking for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStep {
    /// Its channel, if that exists still, and the client id of a viewer.
    pub found: Option<(Identity, Option<Box<str>>)>,
    /// The note before which the next step looks, if there is more to look at.
    pub next: Option<NonZeroU64>,
}

/// Looks at one step's notes; at the open connections first.
pub(crate) fn step(
    sockets: &Sockets,
    directory: &Directory,
    recorder: &Recorder,
    session: SessionKey,
    before: Option<NonZeroU64>,
) -> SessionStep {
    let open = sockets.session(session).and_then(Session::open);
    if let Some(web_socket) = open {
        let client_id = web_socket.role.client_id().map(Box::from);
        return found(directory, web_socket.channel, client_id);
    }
    let before = before.map_or_else(|| recorder.written(), NonZeroU64::get);
    match trace::left(recorder, session, before) {
        Ok((channel, client_id)) => found(directory, channel, client_id),
        Err(before) => SessionStep {
            found: None,
            next: NonZeroU64::new(before).filter(|before| before.get() > recorder.oldest()),
        },
    }
}

fn found(directory: &Directory, channel: ChannelKey, client_id: Option<Box<str>>) -> SessionStep {
    let channel = directory.channel(channel);
    let identity = channel.map(|channel| Identity::of(&channel.record.arn));
    SessionStep {
        found: identity.map(|identity| (identity, client_id)),
        next: None,
    }
}
