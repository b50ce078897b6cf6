//! The parties of one thread, by the line (connection) that each is on.

use crate::peer::{Event, LinkError, Name, PeerLink};
use crate::schedule::RunShare;
use crate::visit::discovery::{DiscoveryCalls, Reply};
use crate::visit::messages::MessageDesk;
pub use crate::visit::relay::Relay;
use crate::visit::{Arrival, MessageBook, Stage, Viewer, sessions};
use ahash::AHashMap;
use std::collections::VecDeque;

/// The party on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Nobody: the line is free, or its party has left it.
    Nobody,
    /// The master of this channel, for sessions.
    Master(u32),
    /// A viewer, for one session.
    Viewer(Viewer),
    /// A master or a viewer without sessions: it is there, and relays if the run does.
    Peer(Peer),
}

/// A party without sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// The stage of its connection: [`Stage::Hold`] while it is open.
    pub stage: Stage,
}

/// The outcome of a call of [`Crew::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveOutcome {
    /// Messages, or nothing.
    Nothing,
    /// An API call was answered: the next one is due, or the connection.
    Answered,
    /// An API call was refused; that was counted.
    Refused,
    /// The upgrade was accepted.
    Opened,
    /// The closing handshake that we began is over.
    Closed,
    /// The service closed of its own accord; it was answered.
    ClosedByService,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was sent and received.
    Completed,
    /// The session's time is over while its connections are open: what is missing is lost.
    TimedOut,
    /// The session's connection, or its master's, broke: what was under way cannot be held against the service.
    Broken,
}

/// The parties of one thread. Owns no socket and no clock: the moment is in its desk.
#[derive(Debug)]
pub struct Crew {
    /// Counters, buffers, the moment.
    pub desk: MessageDesk,
    /// The messages between peers.
    pub relay: Relay,
    pub(crate) share: RunShare,
    pub(crate) people: Vec<Person>,
    /// The line of each session that runs.
    pub(crate) lines: AHashMap<u32, u32>,
    /// Since when each master of the share is open, and on which line.
    pub(crate) masters: Vec<Option<(u64, u32)>>,
    /// The books of the sessions that ended last, for what comes twice or late.
    pub(crate) ended: VecDeque<(u32, MessageBook, MessageBook)>,
    /// Lines whose sessions have received and sent everything.
    pub(crate) settled: Vec<u32>,
    /// Lines whose sessions have their answer, and candidates to say one after the other.
    pub(crate) answered: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Person {
    link: PeerLink,
    /// The API calls that are made on this line, before another one serves the party.
    discovery: Option<Box<DiscoveryCalls>>,
    pub(crate) party: Party,
}

/// Bytes that a crew keeps for each line, and for each session in its table of lines: the table is filled to a half at
/// least, a place in it is a key, a value and a byte.
pub const LINE_BYTES: usize = size_of::<Person>() + 2 * (2 * size_of::<u32>() + 1);

const _: () = assert!(
    size_of::<Person>() <= 96,
    "a million connections pay for each byte"
);

impl Crew {
    /// The crew of this share of the channels.
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

    /// Puts a party on a free line.
    pub fn seat(&mut self, line: u32, party: Party) {
        let place = line as usize;
        if self.people.len() <= place {
            self.people.resize_with(place + 1, || Person {
                link: PeerLink::ended(),
                discovery: None,
                party: Party::Nobody,
            });
        }
        if let Party::Viewer(viewer) = &party {
            self.lines.insert(viewer.session, line);
        }
        if let Some(person) = self.people.get_mut(place) {
            *person = Person {
                link: PeerLink::ended(),
                discovery: None,
                party,
            };
        }
    }

    /// The party on a line.
    #[must_use]
    pub fn party(&self, line: u32) -> &Party {
        self.people
            .get(line as usize)
            .map_or(&Party::Nobody, |person| &person.party)
    }

    /// The viewer on a line.
    pub fn viewer_mut(&mut self, line: u32) -> Option<&mut Viewer> {
        match &mut self.people.get_mut(line as usize)?.party {
            Party::Viewer(viewer) => Some(viewer),
            Party::Nobody | Party::Master(_) | Party::Peer(_) => None,
        }
    }

    /// Whether the master of this channel of the share is open.
    #[must_use]
    pub fn is_master_open(&self, channel: u32) -> bool {
        let master = self.masters.get(self.share.index(channel));
        master.is_some_and(Option::is_some)
    }

    /// Makes the party on a line send its API calls there, before another line serves it.
    pub fn begin_discovery(&mut self, line: u32, discovery: Box<DiscoveryCalls>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.discovery = Some(discovery);
        }
    }

    /// The API calls that are made on a line; `None` if it carries messages, or is free.
    #[must_use]
    pub fn discovery(&self, line: u32) -> Option<&DiscoveryCalls> {
        self.people.get(line as usize)?.discovery.as_deref()
    }

    /// Takes a party off a line on which it made API calls, for another one.
    pub fn move_on(&mut self, line: u32) -> Option<(Party, Box<DiscoveryCalls>)> {
        let person = self.people.get_mut(line as usize)?;
        let discovery = person.discovery.take()?;
        let party = std::mem::replace(&mut person.party, Party::Nobody);
        if let Party::Viewer(viewer) = &party {
            self.lines.remove(&viewer.session);
        }
        Some((party, discovery))
    }

    /// Begins a line's upgrade: appends the request for this host and target.
    pub fn ask(&mut self, line: u32, host: &str, target: &str, out: &mut Vec<u8>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link = PeerLink::open(host, target, &mut self.desk.random, out);
        }
    }

    /// Handles all of `bytes`, received on a line; appends what is to be sent on the same line in return.
    ///
    /// # Errors
    /// The connection is of no more use, see [`LinkError`].
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
        // Taken out for the call: what a master receives is written into the book of a viewer on another line.
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

    /// A line whose session has received and sent everything since the last call, if there is one.
    pub fn settled(&mut self) -> Option<u32> {
        self.settled.pop()
    }

    /// Begins a line's closing handshake.
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

    /// Takes the party off a line and closes a viewer's books: what is missing counts as `verdict` says. Whether the
    /// session as a whole completed or failed is the caller's to count, since it may connect again.
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
                if let Some(number) = viewer.to_master.compose() {
                    sessions::write_to_master(&mut self.desk, viewer.session, number, out);
                }
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

    /// The name under which this error is counted; the id of the request that was refused is kept.
    pub fn kind_of(&mut self, error: &LinkError) -> String {
        let kind = error.kind();
        if let Some(id) = error.request_id() {
            self.desk.errors.keep_request_id(&kind, id);
        }
        kind
    }

    /// Starts the exchange of messages of the peer on a line: appends a window of them for each counterpart.
    pub fn start(&mut self, line: u32, out: &mut Vec<u8>) {
        if let Party::Peer(Peer { name, .. }) = *self.party(line) {
            self.relay.start(name, &mut self.desk, out);
        }
    }

    /// Appends the message that the peer on a line was due to send at `due_ns`, in this round of all peers.
    pub fn say(&mut self, line: u32, round: u64, due_ns: u64, out: &mut Vec<u8>) {
        if let Party::Peer(Peer { name, .. }) = *self.party(line) {
            self.relay.say(name, (round, due_ns), &mut self.desk, out);
        }
    }

    /// Ends the accounts: what peers miss is lost, and what was missing because it came corrupted or at the wrong
    /// place, or because the service answered that it does not take it, is not lost as well.
    ///
    /// Of messages without an id the service says nothing. Where it says that it does not take those with one, the few
    /// before them count as not taken either.
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

// Messages of sessions that are over.

impl Crew {
    /// A message of a session that is over: it came twice, or too late, or its session is forgotten.
    pub(crate) fn of_ended(
        &mut self,
        session: u32,
        number: u64,
        book: impl Fn(&mut (u32, MessageBook, MessageBook)) -> &mut MessageBook,
    ) {
        let found = self
            .ended
            .iter_mut()
            .rev()
            .find(|(ended, _, _)| *ended == session);
        match found.map(|ended| book(ended).arrive(number)) {
            Some(Arrival::Again) => self.desk.tally.duplicated += 1,
            Some(Arrival::InOrder | Arrival::Late | Arrival::Unknown) | None => {
                self.desk.errors.count("message_of_an_ended_session");
            }
        }
    }
}
