//! The events that the flight recorder notes. See the theory of operation in `core/src/shard/flight_recorder.rs`: of
//! each event the model knows how many notes it takes, so it knows the serial numbers too, and which notes are
//! overwritten.

use super::messages::{self, delivery};
use super::{ConnId, Model};
use broker_core::journal::EndReason;
use broker_core::shard::Passage;
use codec::signal::Action;

/// The events that one shard recorded since its start.
#[derive(Default)]
pub(crate) struct Trail {
    /// In the order of their serial numbers.
    pub(crate) events: Vec<Recorded>,
    /// Notes so far.
    pub(crate) written: u64,
}

/// One event.
pub(crate) struct Recorded {
    pub(crate) channel: usize,
    pub(crate) at: u64,
    /// The number of its first note, which has a part of a name, and that of its last one, which is the event's.
    pub(crate) first: u64,
    pub(crate) serial: u64,
    pub(crate) what: What,
}

/// The kind of an event.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Joined(ConnId),
    /// With its reason, or what else that may be.
    Left(ConnId, EndReason, Option<EndReason>),
    Superseded(ConnId, ConnId),
    ToldToGo(ConnId),
    Message(Passing),
}

/// Something of a message.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    pub(crate) action: Option<Action>,
    pub(crate) to_master: bool,
    pub(crate) passage: Passage,
    pub(crate) bytes: usize,
    /// The longest payload that is allowed, of one whose payload is too long.
    pub(crate) most: usize,
    pub(crate) from: Option<ConnId>,
    pub(crate) to: Option<ConnId>,
    /// The viewer whose connection is not named.
    pub(crate) viewer: Option<String>,
}

impl What {
    /// Whether it is that nobody came for a kept message in time.
    pub(crate) fn is_expiry(&self) -> bool {
        matches!(self, Self::Message(passing) if passing.passage == Passage::Expired)
    }
}

impl Passing {
    /// Whether a master wrote the client id.
    pub(crate) fn is_named(&self) -> bool {
        self.from.is_some() && self.viewer.is_some()
    }
}

/// Bytes of a client id in one note.
const NAME_BYTES: usize = 24;

impl Model {
    /// An event of a channel.
    pub(crate) fn happens(&mut self, channel: usize, what: What) {
        self.out.trail.push((channel, what));
    }

    /// The number of notes with names and addresses that precede that of an event.
    pub(crate) fn notes_before(&self, what: &What) -> u64 {
        let pieces = |name: Option<&str>| name.map_or(0, |name| name.len().div_ceil(NAME_BYTES));
        let notes = match what {
            What::Joined(_) | What::Superseded(..) | What::ToldToGo(_) => 0,
            What::Left(conn, ..) => {
                let ws = self.conns[*conn].ws.as_ref().expect("it had a slot");
                1 + pieces(ws.viewer.as_deref())
            }
            What::Message(passing) if passing.is_named() => pieces(passing.viewer.as_deref()),
            What::Message(_) => 0,
        };
        notes as u64
    }

    /// A message went from one connection to another.
    pub(crate) fn record_relayed(&mut self, channel: usize, number: usize, to: ConnId) {
        let from = self.messages[number].from;
        let passing = Passing {
            from,
            to: Some(to),
            viewer: None,
            ..self.passing(number, Passage::Relayed)
        };
        self.happens(channel, What::Message(passing));
    }

    /// A message came and is kept.
    pub(crate) fn record_new_kept(&mut self, channel: usize, number: usize) {
        let message = &self.messages[number];
        let (from, to_master) = (message.from, message.to_master);
        let mut passing = Passing {
            from,
            ..self.passing(number, Passage::Kept)
        };
        passing.viewer.take_if(|_| to_master);
        self.happens(channel, What::Message(passing));
    }

    /// Something became of a message that was kept or in an outbox; `to` got it or had it.
    pub(crate) fn record_kept(
        &mut self,
        channel: usize,
        number: usize,
        passage: Passage,
        to: Option<ConnId>,
    ) {
        let passing = Passing {
            to,
            ..self.passing(number, passage)
        };
        self.happens(channel, What::Message(passing));
    }

    fn passing(&self, number: usize, passage: Passage) -> Passing {
        let message = &self.messages[number];
        Passing {
            action: Some(message.action),
            to_master: message.to_master,
            passage,
            bytes: message.bytes(),
            most: 0,
            from: None,
            to: None,
            viewer: Some(message.viewer.clone()),
        }
    }

    /// The same of one that was on its way, unless a fault held it back.
    pub(crate) fn record_passing(&mut self, passing: &messages::Passing, passage: Passage) {
        if let Some(from) = passing.from {
            let (action, recipient) = (passing.action, &passing.recipient);
            self.record_came(from, action, &passing.payload, recipient, passage);
        }
    }

    /// A message that was understood came and went no further.
    pub(crate) fn record_came(
        &mut self,
        id: ConnId,
        action: Action,
        payload: &str,
        recipient: &str,
        passage: Passage,
    ) {
        let ws = self.conns[id].ws.as_ref().expect("open");
        let delivered = delivery(action, payload, ws.viewer.as_deref());
        let viewer = match ws.viewer {
            None => Some(recipient.to_owned()),
            Some(_) => None,
        };
        let passing = Passing {
            action: Some(action),
            to_master: ws.viewer.is_some(),
            passage,
            bytes: crate::sim::wire::frame_bytes(delivered.len()),
            most: 0,
            from: Some(id),
            to: None,
            viewer,
        };
        self.happens(ws.channel, What::Message(passing));
    }
}
