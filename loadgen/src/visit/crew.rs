//! The parties on one thread and their connections.

use crate::peer::{Arrival, Event, LinkError, Name, PeerLink};
use crate::schedule::RunShare;
use crate::visit::discovery::{DiscoveryCalls, Reply};
use crate::visit::messages::MessageDesk;
pub use crate::visit::relay::Relay;
use crate::visit::{MessageBook, Stage, Viewer};
use ahash::AHashMap;
use std::collections::VecDeque;

/// The party that uses a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// No party: the connection is free, or its party has moved to another connection.
    Nobody,
    /// The master of the channel with this number, which serves sessions.
    Master(u32),
    /// A viewer and its session.
    Viewer(Viewer),
    /// A master or viewer without sessions, which stays connected and, if the run relays messages, exchanges them.
    Peer(Peer),
}

/// A party without sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's channel, and its number within that channel.
    pub name: Name,
    /// The connection's stage. This is [`Stage::Hold`] while the connection is open.
    pub stage: Stage,
}

/// The result of [`Crew::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveOutcome {
    /// There is nothing to report, although messages may have been received.
    Nothing,
    /// An API call succeeded. The party can make its next call, or connect.
    Answered,
    /// An API call failed, and the failure has been counted.
    Refused,
    /// The service accepted the upgrade.
    Opened,
    /// The closing handshake that this side started is complete.
    Closed,
    /// The service has closed the connection. Its close frame has already been answered.
    ClosedByService,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All messages were sent and received.
    Completed,
    /// The session timed out although its connections were open. Missing messages count as lost.
    TimedOut,
    /// The connection of the session or of its master broke. Missing messages do not count as lost.
    Broken,
}

/// The parties on one thread. Does no I/O, and takes the current time from `desk`.
#[derive(Debug)]
pub struct Crew {
    /// Counters, buffers and the current time, shared by all parties.
    pub desk: MessageDesk,
    /// The messages exchanged between peers.
    pub relay: Relay,
    pub(crate) share: RunShare,
    pub(crate) people: Vec<Person>,
    /// Each running session's connection, by session number.
    pub(crate) lines: AHashMap<u32, u32>,
    /// For each master of the share, when its connection was opened and the number of that connection. `None` if the
    /// master is not connected.
    pub(crate) masters: Vec<Option<(u64, u32)>>,
    /// Sessions that ended recently, with the messages from their viewers. They are kept to recognize duplicate and
    /// late messages.
    pub(crate) ended: VecDeque<(u32, MessageBook)>,
    pub(crate) settled: Vec<u32>,
    /// Connections whose sessions have been answered but still have candidates to send.
    pub(crate) answered: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Person {
    link: PeerLink,
    /// The API calls that the party makes on this connection before moving to another one.
    discovery: Option<Box<DiscoveryCalls>>,
    pub(crate) party: Party,
}

/// Memory in bytes that a [`Crew`] uses per connection. Includes the session's entry in the hash table, which is at
/// least half full.
pub const LINE_BYTES: usize = size_of::<Person>() + 2 * (2 * size_of::<u32>() + 1);

const _: () = assert!(
    size_of::<Person>() <= 96,
    "a million connections pay for each byte"
);

impl Crew {
    /// Creates a crew for the parties in this share.
    #[must_use]
    pub fn new(desk: MessageDesk, share: RunShare) -> Self {
        let masters = share.channels(desk.terms.channels).map(|_| None).collect();
        Self {
            relay: Relay::new(desk.terms, share),
            desk,
            share,
            people: Vec::new(),
            lines: AHashMap::new(),
            masters,
            ended: VecDeque::new(),
            settled: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Assigns a party to a free connection. If API calls are given, the party makes them first, and then moves to
    /// another connection.
    pub fn seat(&mut self, line: u32, party: Party, discovery: Option<Box<DiscoveryCalls>>) {
        let place = line as usize;
        let person = |party, discovery| Person {
            link: PeerLink::ended(),
            discovery,
            party,
        };
        if self.people.len() <= place {
            self.people
                .resize_with(place + 1, || person(Party::Nobody, None));
        }
        if let Party::Viewer(viewer) = &party {
            self.lines.insert(viewer.session, line);
        }
        if let Some(seat) = self.people.get_mut(place) {
            *seat = person(party, discovery);
        }
    }

    /// Returns the party on a connection.
    #[must_use]
    pub fn party(&self, line: u32) -> &Party {
        self.people
            .get(line as usize)
            .map_or(&Party::Nobody, |person| &person.party)
    }

    /// Returns whether the channel's master is connected. The channel must belong to the share.
    #[must_use]
    pub fn is_master_open(&self, channel: u32) -> bool {
        let master = self.masters.get(self.share.index(channel));
        master.is_some_and(Option::is_some)
    }

    /// Returns the API calls in progress on a connection. Returns `None` if the connection is free or carries messages.
    #[must_use]
    pub fn discovery(&self, line: u32) -> Option<&DiscoveryCalls> {
        self.people.get(line as usize)?.discovery.as_deref()
    }

    /// Removes a party from the connection it used for API calls, so that it can move to another one.
    pub fn move_on(&mut self, line: u32) -> Option<(Party, Box<DiscoveryCalls>)> {
        let person = self.people.get_mut(line as usize)?;
        let discovery = person.discovery.take()?;
        let party = std::mem::replace(&mut person.party, Party::Nobody);
        if let Party::Viewer(viewer) = &party {
            self.lines.remove(&viewer.session);
        }
        Some((party, discovery))
    }

    /// Starts the WebSocket upgrade on a connection by appending the request for this host and target to `out`.
    pub fn ask(&mut self, line: u32, host: &str, target: &str, out: &mut Vec<u8>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link = PeerLink::open(host, target, &mut self.desk.random, out);
        }
    }

    /// Processes bytes received on a connection and appends any replies. After an error, do not use the connection
    /// again.
    pub fn receive(
        &mut self,
        line: u32,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<ReceiveOutcome, LinkError> {
        let Some(person) = self.people.get_mut(line as usize) else {
            return Ok(ReceiveOutcome::Nothing);
        };
        if let Some(discovery) = &mut person.discovery {
            return Ok(match discovery.take_in(bytes) {
                Reply::Part => ReceiveOutcome::Nothing,
                Reply::Answered => ReceiveOutcome::Answered,
                Reply::Refused(kind, request_id) => {
                    self.desk.errors.count(&kind);
                    self.desk.errors.keep_request_id(&kind, &request_id);
                    ReceiveOutcome::Refused
                }
            });
        }
        if let Party::Peer(peer) = &mut person.party {
            let (link, relay, desk) = (&mut person.link, &mut self.relay, &mut self.desk);
            return relay.receive((peer, link), bytes, desk, out);
        }
        // Take the link out, because a master's messages are recorded in the book of a viewer on another connection.
        let mut link = std::mem::replace(&mut person.link, PeerLink::ended());
        let result = self.drive(line, &mut link, bytes, out);
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link = link;
        }
        result
    }

    fn drive(
        &mut self,
        line: u32,
        link: &mut PeerLink,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<ReceiveOutcome, LinkError> {
        let mut heard = ReceiveOutcome::Nothing;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, event) = link.next(rest, &mut self.desk.random, out)?;
            match event {
                None => {}
                Some(Event::Opened) => {
                    heard = ReceiveOutcome::Opened;
                    self.opened(line, out);
                }
                Some(Event::Closed) => heard = ReceiveOutcome::Closed,
                Some(Event::ClosedByService(code)) => {
                    self.desk.count_close(code);
                    heard = ReceiveOutcome::ClosedByService;
                }
                Some(Event::Message(text)) => self.message(line, text, out),
            }
            rest = &mut rest[used..];
        }
        Ok(heard)
    }

    /// Returns a connection whose session has completed its messages since the last call, or `None` if there is none.
    pub fn settled(&mut self) -> Option<u32> {
        self.settled.pop()
    }

    /// Starts the closing handshake on a connection.
    pub fn close(&mut self, line: u32, out: &mut Vec<u8>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link.close(&mut self.desk.random, out);
            match &mut person.party {
                Party::Viewer(viewer) => viewer.stage = Stage::AwaitCloseEcho,
                Party::Peer(peer) => peer.stage = Stage::AwaitCloseEcho,
                Party::Nobody | Party::Master(_) => {}
            }
        }
    }

    /// Removes the party from a connection. For a viewer, counts the session's missing messages as lost or as an error,
    /// depending on `verdict`. The session itself is left for the caller to count, since the viewer may reconnect.
    pub fn leave(&mut self, line: u32, verdict: Verdict) -> Party {
        let Some(person) = self.people.get_mut(line as usize) else {
            return Party::Nobody;
        };
        person.link = PeerLink::ended();
        person.discovery = None;
        let party = std::mem::replace(&mut person.party, Party::Nobody);
        match &party {
            Party::Nobody | Party::Peer(_) => {}
            Party::Master(channel) => self.set_master(*channel, None),
            Party::Viewer(viewer) => {
                self.lines.remove(&viewer.session);
                self.close_book(viewer, verdict);
            }
        }
        party
    }

    fn opened(&mut self, line: u32, out: &mut Vec<u8>) {
        let now_ns = self.desk.now_ns;
        let person = self.people.get_mut(line as usize);
        match person.map(|person| &mut person.party) {
            Some(Party::Viewer(viewer)) => {
                viewer.stage = Stage::AwaitAnswer;
                viewer.since_ns = now_ns;
                viewer.attempts = 0;
                viewer.write_to_master(&mut self.desk, out);
            }
            Some(Party::Master(channel)) => {
                let channel = *channel;
                self.set_master(channel, Some((now_ns, line)));
            }
            Some(Party::Nobody | Party::Peer(_)) | None => {}
        }
    }

    fn message(&mut self, line: u32, text: &mut [u8], out: &mut Vec<u8>) {
        match *self.party(line) {
            Party::Nobody | Party::Peer(_) => {}
            Party::Master(channel) => {
                if let Some(letter) = self.desk.read(text, Some("SDP_OFFER")) {
                    self.at_master(channel, letter, out);
                }
            }
            Party::Viewer(Viewer { session, .. }) => {
                if let Some(letter) = self.desk.read(text, Some("SDP_ANSWER")) {
                    self.at_viewer(line, session, letter, out);
                }
            }
        }
    }

    /// Returns the name under which to count an error. If the error is a refusal, also records its request id.
    pub fn kind_of(&mut self, error: &LinkError) -> String {
        let kind = error.kind();
        if let Some(id) = error.request_id() {
            self.desk.errors.keep_request_id(&kind, id);
        }
        kind
    }

    /// Makes the peer on a connection start exchanging messages, by appending a window of messages for each
    /// counterpart.
    pub fn start(&mut self, line: u32, out: &mut Vec<u8>) {
        if let Party::Peer(Peer { name, .. }) = *self.party(line) {
            self.relay.start(name, &mut self.desk, out);
        }
    }

    /// Appends the message that a peer was due to send at `due_ns`. If the peer is a master, `round` selects the
    /// recipient.
    pub fn say(&mut self, line: u32, round: u64, due_ns: u64, out: &mut Vec<u8>) {
        if let Party::Peer(Peer { name, .. }) = *self.party(line) {
            self.relay.say(name, (round, due_ns), &mut self.desk, out);
        }
    }

    /// Finishes the counts at the end of a run. Missing messages count as lost unless they arrived corrupted or at the
    /// wrong peer, or the service rejected them.
    ///
    /// The service only reports rejections of messages that have a correlation id. If it reported any, missing messages
    /// sent without an id count as rejected too.
    pub fn close_books(&mut self) {
        let tally = &mut self.desk.tally;
        let missing = tally.lost + self.relay.missing();
        let declined = tally.throttled + tally.refused;
        let known = tally.corrupted + tally.misrouted + declined;
        let unknown = missing.saturating_sub(known);
        let unasked = unknown.min(self.desk.unasked);
        let unasked = if declined > 0 { unasked } else { 0 };
        if tally.throttled > 0 {
            tally.throttled += unasked;
        } else {
            tally.refused += unasked;
        }
        tally.lost = unknown - unasked;
    }

    fn set_master(&mut self, channel: u32, open: Option<(u64, u32)>) {
        let place = self.share.index(channel);
        if let Some(master) = self.masters.get_mut(place) {
            *master = open;
        }
    }

    pub(crate) fn channel_of(&self, session: u32) -> u32 {
        session % self.desk.terms.channels
    }
}

impl Crew {
    /// Counts a message that belongs to an ended session. It counts as a duplicate if the same message has arrived
    /// before. Otherwise, or if the session is no longer on record, it counts as an error.
    pub(crate) fn of_ended(&mut self, session: u32, number: u64) {
        let mut ended = self.ended.iter_mut().rev();
        let found = ended.find(|(ended, _)| *ended == session);
        match found.map(|(_, book)| book.arrive(number)) {
            Some(Arrival::Again) => self.desk.tally.duplicated += 1,
            Some(Arrival::InOrder | Arrival::Late | Arrival::Unknown) | None => {
                self.desk.errors.count("message_of_an_ended_session");
            }
        }
    }
}
