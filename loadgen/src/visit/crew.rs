//! The masters and viewers of one thread, by the line (connection) that each is on.

mod ended;
mod trickle;

use super::book::{Arrival, Book};
use super::desk::{Desk, Letter, MASTER};
use super::inquiry::{Inquiry, Reply};
use super::viewer::{Stage, Viewer};
use crate::peer::{Event, Link, LinkError};
use crate::schedule::Share;
use ahash::AHashMap;
use std::collections::VecDeque;

/// Who is on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Nobody: the line is free, or its party has left it.
    Nobody,
    /// The master of this channel.
    Master(u32),
    /// A viewer.
    Viewer(Viewer),
}

/// What a call of [`Crew::receive`] brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
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

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was said and heard.
    Completed,
    /// The session's time is over while its connections stand: what is missing is lost.
    TimedOut,
    /// The session's connection, or its master's, broke: what was under way cannot be held against the service.
    Broken,
}

/// The parties of one thread. Owns no socket and no clock: the moment is in its desk.
#[derive(Debug)]
pub struct Crew {
    /// Counters, buffers, the moment.
    pub desk: Desk,
    share: Share,
    people: Vec<Person>,
    /// The line of each session that runs.
    lines: AHashMap<u32, u32>,
    /// Since when each master of the share is open, and on which line.
    masters: Vec<Option<(u64, u32)>>,
    /// The books of the sessions that ended last, for what comes twice or late.
    ended: VecDeque<(u32, Book, Book)>,
    /// Lines whose sessions have heard and said everything.
    settled: Vec<u32>,
    /// Lines whose sessions have their answer, and candidates to say one after the other.
    answered: Vec<u32>,
}

#[derive(Debug)]
struct Person {
    link: Link,
    /// The API calls that are made on this line, before another one serves the party.
    inquiry: Option<Box<Inquiry>>,
    party: Party,
}

/// What a crew keeps for each line, and for each session in its table of lines, in bytes: the table is filled to a half at
/// least, a place in it is a key, a value and a byte.
pub const LINE_BYTES: usize = size_of::<Person>() + 2 * (2 * size_of::<u32>() + 1);

const _: () = assert!(
    size_of::<Person>() <= 96,
    "a million connections pay for each byte"
);

impl Crew {
    /// The crew of this share of the channels.
    #[must_use]
    pub fn new(desk: Desk, share: Share) -> Self {
        let masters = share.channels(desk.terms.channels).map(|_| None).collect();
        Self {
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
                link: Link::ended(),
                inquiry: None,
                party: Party::Nobody,
            });
        }
        if let Party::Viewer(viewer) = &party {
            self.lines.insert(viewer.session, line);
        }
        if let Some(person) = self.people.get_mut(place) {
            *person = Person {
                link: Link::ended(),
                inquiry: None,
                party,
            };
        }
    }

    /// Who is on a line.
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
            Party::Nobody | Party::Master(_) => None,
        }
    }

    /// Whether the master of this channel of the share is open.
    #[must_use]
    pub fn is_master_open(&self, channel: u32) -> bool {
        let master = self.masters.get(self.share.index(channel));
        master.is_some_and(Option::is_some)
    }

    /// Has the party on a line make API calls there, before another line serves it.
    pub fn inquire(&mut self, line: u32, inquiry: Box<Inquiry>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.inquiry = Some(inquiry);
        }
    }

    /// The API calls that are made on a line; `None` if it serves for messages, or for nobody.
    #[must_use]
    pub fn inquiry(&self, line: u32) -> Option<&Inquiry> {
        self.people.get(line as usize)?.inquiry.as_deref()
    }

    /// Takes a party off a line on which it made API calls, for another one.
    pub fn move_on(&mut self, line: u32) -> Option<(Party, Box<Inquiry>)> {
        let person = self.people.get_mut(line as usize)?;
        let inquiry = person.inquiry.take()?;
        let party = std::mem::replace(&mut person.party, Party::Nobody);
        if let Party::Viewer(viewer) = &party {
            self.lines.remove(&viewer.session);
        }
        Some((party, inquiry))
    }

    /// Begins a line's upgrade: appends the request for this host and target.
    pub fn ask(&mut self, line: u32, host: &str, target: &str, out: &mut Vec<u8>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link = Link::open(host, target, &mut self.desk.random, out);
        }
    }

    /// Takes in all of `bytes` that came on a line; appends what is to be sent on the same line because of them.
    ///
    /// # Errors
    /// The connection is of no more use, see [`LinkError`].
    pub fn receive(
        &mut self,
        line: u32,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Heard, LinkError> {
        let Some(person) = self.people.get_mut(line as usize) else {
            return Ok(Heard::Nothing);
        };
        if let Some(inquiry) = &mut person.inquiry {
            return Ok(match inquiry.take_in(bytes) {
                Reply::Part => Heard::Nothing,
                Reply::Answered => Heard::Answered,
                Reply::Refused(kind) => {
                    self.desk.errors.count(&kind);
                    Heard::Refused
                }
            });
        }
        // Taken out for the call: what a master hears is written into the book of a viewer on another line.
        let mut link = std::mem::replace(&mut person.link, Link::ended());
        let result = self.drive(line, &mut link, bytes, out);
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link = link;
        }
        result
    }

    fn drive(
        &mut self,
        line: u32,
        link: &mut Link,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Heard, LinkError> {
        let mut heard = Heard::Nothing;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, event) = link.next(rest, &mut self.desk.random, out)?;
            match event {
                None => {}
                Some(Event::Opened) => {
                    heard = Heard::Opened;
                    self.opened(line, out);
                }
                Some(Event::Closed) => heard = Heard::Closed,
                Some(Event::ClosedByService(code)) => {
                    let code = code.map_or_else(|| "none".into(), |code| code.to_string());
                    self.desk.errors.count(&format!("closed_by_service_{code}"));
                    heard = Heard::ClosedByService;
                }
                Some(Event::Message(text)) => self.message(line, text, out),
            }
            rest = &mut rest[used..];
        }
        Ok(heard)
    }

    /// A line whose session has heard and said everything since the last call, if there is one.
    pub fn settled(&mut self) -> Option<u32> {
        self.settled.pop()
    }

    /// Begins a line's closing handshake.
    pub fn close(&mut self, line: u32, out: &mut Vec<u8>) {
        if let Some(person) = self.people.get_mut(line as usize) {
            person.link.close(&mut self.desk.random, out);
            if let Party::Viewer(viewer) = &mut person.party {
                viewer.stage = Stage::AwaitCloseEcho;
            }
        }
    }

    /// Takes the party off a line and closes a viewer's books: what is missing counts as `verdict` says. Whether the session as
    /// a whole completed or failed is the caller's to count, since it may connect again.
    pub fn leave(&mut self, line: u32, verdict: Verdict) -> Party {
        let Some(person) = self.people.get_mut(line as usize) else {
            return Party::Nobody;
        };
        person.link = Link::ended();
        person.inquiry = None;
        let party = std::mem::replace(&mut person.party, Party::Nobody);
        match &party {
            Party::Nobody => {}
            Party::Master(channel) => self.set_master(*channel, None),
            Party::Viewer(viewer) => {
                self.lines.remove(&viewer.session);
                self.close_book(viewer, verdict);
            }
        }
        party
    }

    fn close_book(&mut self, viewer: &Viewer, verdict: Verdict) {
        let master = self
            .masters
            .get(self.share.index(self.channel_of(viewer.session)));
        let master_stood = master
            .copied()
            .flatten()
            .is_some_and(|(since_ns, _)| since_ns <= viewer.since_ns);
        let missing = viewer.missing();
        match verdict {
            Verdict::Completed | Verdict::TimedOut if master_stood => {
                self.desk.tally.lost += missing
            }
            Verdict::Completed | Verdict::TimedOut | Verdict::Broken => {
                self.desk
                    .errors
                    .count_many("messages_of_broken_connections", missing);
            }
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended
            .push_back((viewer.session, viewer.to_master, viewer.to_viewer));
    }

    fn opened(&mut self, line: u32, out: &mut Vec<u8>) {
        let now_ns = self.desk.now_ns;
        match self
            .people
            .get_mut(line as usize)
            .map(|person| &mut person.party)
        {
            Some(Party::Viewer(viewer)) => {
                viewer.stage = Stage::AwaitAnswer;
                viewer.since_ns = now_ns;
                viewer.attempts = 0;
                if let Some(number) = viewer.to_master.compose() {
                    self.desk.write_to_master(viewer.session, number, out);
                }
            }
            Some(Party::Master(channel)) => {
                let channel = *channel;
                self.set_master(channel, Some((now_ns, line)));
            }
            Some(Party::Nobody) | None => {}
        }
    }

    fn message(&mut self, line: u32, text: &mut [u8], out: &mut Vec<u8>) {
        match self.party(line) {
            Party::Nobody => {}
            Party::Master(channel) => {
                let channel = *channel;
                if let Some(letter) = self.desk.read(text, "SDP_OFFER") {
                    self.at_master(channel, letter, out);
                }
            }
            Party::Viewer(viewer) => {
                let session = viewer.session;
                if let Some(letter) = self.desk.read(text, "SDP_ANSWER") {
                    self.at_viewer(line, session, letter, out);
                }
            }
        }
    }

    fn at_master(&mut self, channel: u32, letter: Letter, out: &mut Vec<u8>) {
        let stamp = letter.stamp;
        let session = stamp.from.checked_sub(1).filter(|&session| {
            let own = self.channel_of(session) == channel && stamp.channel == channel;
            own && stamp.to == MASTER && letter.sender == Some(session)
        });
        let Some(session) = session else {
            self.desk.tally.misrouted += 1;
            return;
        };
        let line = self.lines.get(&session).copied();
        let candidates = self.desk.terms.candidates;
        let Some(line) = line else {
            return self.of_ended(session, stamp.sequence, |(_, to_master, _)| to_master);
        };
        let Some(Person {
            party: Party::Viewer(viewer),
            ..
        }) = self.people.get_mut(line as usize)
        else {
            return;
        };
        if stamp.sent_ns < viewer.since_ns {
            return self.desk.errors.count("message_of_an_earlier_connection");
        }
        let arrival = viewer.to_master.arrive(stamp.sequence);
        if stamp.sequence == 0 && arrival != Arrival::Again {
            let at_once = if self.desk.terms.trickle_ns == 0 {
                candidates
            } else {
                0
            };
            for _ in 0..=at_once {
                if let Some(number) = viewer.to_viewer.compose() {
                    self.desk.write_to_viewer(session, number, out);
                }
            }
        }
        self.count(line, arrival, stamp.sent_ns);
    }

    fn at_viewer(&mut self, line: u32, session: u32, letter: Letter, out: &mut Vec<u8>) {
        let stamp = letter.stamp;
        let meant = stamp.to == session + 1 && stamp.from == MASTER && letter.sender.is_none();
        if !meant || stamp.channel != self.channel_of(session) {
            self.desk.tally.misrouted += 1;
            return;
        }
        let candidates = self.desk.terms.candidates;
        let Some(Person {
            party: Party::Viewer(viewer),
            ..
        }) = self.people.get_mut(line as usize)
        else {
            return;
        };
        if stamp.sent_ns < viewer.since_ns {
            return self.desk.errors.count("message_of_an_earlier_connection");
        }
        let arrival = viewer.to_viewer.arrive(stamp.sequence);
        if stamp.sequence == 0 && viewer.stage == Stage::AwaitAnswer {
            viewer.stage = Stage::AwaitRest;
            let now_ns = self.desk.now_ns;
            let latencies = &mut self.desk.latencies;
            latencies
                .offer_answer
                .record_ns(now_ns.saturating_sub(viewer.since_ns));
            let setup_ns = now_ns.saturating_sub(viewer.due_ns);
            latencies.setup.record_ns(setup_ns);
            self.desk.recent.record_ns(setup_ns);
            let trickles = self.desk.terms.trickle_ns > 0;
            if trickles && candidates > 0 {
                self.answered.push(line);
            }
            for _ in 0..if trickles { 0 } else { candidates } {
                if let Some(number) = viewer.to_master.compose() {
                    self.desk.write_to_master(session, number, out);
                }
            }
        }
        self.count(line, arrival, stamp.sent_ns);
    }

    /// Counts an arrival of a session that runs, and finds out whether it was the last.
    fn count(&mut self, line: u32, arrival: Arrival, sent_ns: u64) {
        match arrival {
            Arrival::InOrder => {}
            Arrival::Late => self.desk.tally.reordered += 1,
            Arrival::Again => {
                self.desk.tally.duplicated += 1;
                return;
            }
            Arrival::Unknown => {
                self.desk.tally.corrupted += 1;
                return;
            }
        }
        let span_ns = self.desk.now_ns.saturating_sub(sent_ns);
        self.desk.latencies.message.record_ns(span_ns);
        let candidates = self.desk.terms.candidates;
        if let Some(viewer) = self.viewer_mut(line)
            && matches!(viewer.stage, Stage::AwaitAnswer | Stage::AwaitRest)
            && viewer.is_complete(candidates)
        {
            viewer.stage = Stage::Hold;
            self.settled.push(line);
        }
    }

    fn set_master(&mut self, channel: u32, open: Option<(u64, u32)>) {
        let place = self.share.index(channel);
        if let Some(master) = self.masters.get_mut(place) {
            *master = open;
        }
    }

    fn channel_of(&self, session: u32) -> u32 {
        session % self.desk.terms.channels
    }
}

/// Sessions whose books are kept after their end: 24 bytes each.
const ENDED_MAX: usize = 4096;
