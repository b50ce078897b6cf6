//! Sends inquiries to other nodes and answers theirs. An inquiry asks for a page of channels, for an account's number
//! of channels, or for a page of the admin listener.
//!
//! ```text
//!  a shard: list ──► begin: the part of its catalog; an inquiry to each node that owns a slot
//!                                                             │
//!  a shard: Answered ◄── parts of all slots ◄── replies ◄─────┘     another node's inquiry ──► own catalog ──► reply
//! ```
//! A separate thread processes events, and blocks only while there are none. Each question starts a *round*, which ends
//! when all nodes have replied or when it times out. An inquiry without a reply is sent again, unless it has side
//! effects.

use crate::edge::turn::shards_now;
use crate::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_HEAD_BYTES_MAX};
use crate::server::cluster::slot_orders::Desk;
use crate::side::{AskedPath, NodeReplies, NodeReply, Posted};
use broker_core::catalog::SharedCatalog;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::id::{CallRef, NodeId};
use broker_core::limits::{LIST_MERGED_MAX, LIST_PAGE_MAX, LISTS_OF_NODES_MAX};
use broker_core::refusal::Refusal;
use broker_core::shard::{Answer, PagePart, PageQuestion};
use broker_core::time::take_due;
use broker_core::wire;
use broker_core::{check::Check, record::Holding};
use broker_etcd::{Commands, Name};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

pub(crate) enum Event {
    List(CallRef, PageQuestion),
    /// A call needs the number of channels that an account has on other nodes. The account is given as
    /// `region:account:`.
    Count(CallRef, Box<str>),
    Get(String, oneshot::Sender<NodeReplies>),
    /// An operator sends a POST request to a path on the node with this name.
    Post(Name, String, Posted, oneshot::Sender<NodeReplies>),
    Inquired(Name, u64, Vec<u8>),
    Replied(Name, u64, Vec<u8>),
}

/// Maximum number of queued events. When the queue is full, further events are dropped or refused.
pub(crate) const EVENTS_MAX: usize = 256;

/// Maximum number of queued requests from other nodes to the admin listener. When the queue is full, requests get 503.
pub(crate) const PATHS_MAX: usize = 16;

/// Maximum number of calls that wait for their page to be collected. Further calls get 503.
const PAGES_WAITING_MAX: usize = 128;

/// Maximum number of concurrent requests to other nodes' admin listeners, and of concurrent channel counts. At the
/// limit, further requests are refused, and further counts assume that the other nodes have no channels.
const GETS_MAX: usize = 8;
const COUNTS_MAX: usize = 256;

const PAGE_MAX: Duration = Duration::from_secs(3);
const GET_MAX: Duration = Duration::from_secs(2);
const COUNT_MAX: Duration = Duration::from_millis(500);

/// How long a node may take to reply before it is queried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Inquiries {
    desk: Weak<Desk>,
    map: Arc<SlotMap>,
    catalog: Arc<dyn SharedCatalog>,
    others: Commands,
    admin: mpsc::Sender<AskedPath>,
    rounds: BTreeMap<u64, Round>,
    waiting: VecDeque<Page>,
    /// The next inquiry's number. The first number is random, so that replies meant for an earlier process are
    /// rejected.
    next: u64,
}

pub(crate) struct Round {
    what: RoundQuestion,
    inquiry: Vec<u8>,
    missing: Vec<Name>,
    until: Instant,
    /// The time when the nodes that have not replied are queried again, or a page is restarted.
    again: Instant,
}

/// The purpose of a round of inquiries, with the recipient of the result and the replies so far.
enum RoundQuestion {
    Page(Page),
    /// An account's number of channels, according to the replies so far.
    Count(CallRef, Holding),
    Get(oneshot::Sender<NodeReplies>, Vec<NodeReply>),
}

impl Inquiries {
    pub(crate) fn new(
        desk: &Arc<Desk>,
        (map, catalog): (Arc<SlotMap>, Arc<dyn SharedCatalog>),
        (others, next): (Commands, u64),
        admin: mpsc::Sender<AskedPath>,
    ) -> Self {
        Self {
            desk: Arc::downgrade(desk),
            map,
            catalog,
            others,
            admin,
            rounds: BTreeMap::new(),
            waiting: VecDeque::new(),
            next,
        }
    }

    pub(crate) fn run(mut self, events: &Receiver<Event>) {
        loop {
            let event = match self.next_due() {
                Some(due) => events.recv_deadline(due),
                None => events.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look(Instant::now());
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let rounds = self.rounds.values();
        let rounds = rounds.map(|round| round.again.min(round.until));
        let page = self.waiting.front().map(|page| page.until);
        rounds.chain(page).min()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::List(caller, question) => self.list(caller, question),
            Event::Count(caller, prefix) => self.count(caller, prefix),
            Event::Get(path, to) => {
                let nodes = self.nodes();
                self.ask_admins(&Inquiry::Get(path), nodes, to);
            }
            Event::Post(name, path, posted, to) => {
                self.ask_admins(&Inquiry::Post(path, posted), vec![name], to);
            }
            Event::Inquired(from, number, inquiry) => self.inquired(from, number, &inquiry),
            Event::Replied(from, number, reply) => self.replied(&from, number, &reply),
        }
    }

    fn look(&mut self, now: Instant) {
        let due = |round: &Round| round.again.min(round.until) <= now;
        let numbers = self.rounds.iter().filter(|(_, round)| due(round));
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(mut round) = self.rounds.remove(&number) else {
                continue;
            };
            if round.until <= now {
                self.end(round);
                continue;
            }
            match round.what {
                RoundQuestion::Page(page) if round.missing.is_empty() => self.begin_page(page),
                RoundQuestion::Page(_) | RoundQuestion::Count(..) | RoundQuestion::Get(..) => {
                    round.again = now + AGAIN;
                    self.ask(number, round);
                }
            }
        }
        self.look_at_waiting(now);
    }

    /// Starts a round that sends an inquiry to `nodes`. An inquiry with side effects is sent only once. If a node does
    /// not reply to it, the outcome is unknown.
    fn begin(&mut self, what: RoundQuestion, inquiry: &Inquiry, nodes: Vec<Name>, most: Duration) {
        let now = Instant::now();
        let until = now + most;
        let again = match inquiry {
            Inquiry::Post(..) => until,
            Inquiry::Page(_) | Inquiry::Count(_) | Inquiry::Get(_) => now + AGAIN,
        };
        let number = self.next;
        self.next = number.wrapping_add(1);
        let round = Round {
            what,
            inquiry: inquiry.bytes(),
            missing: nodes,
            until,
            again,
        };
        self.ask(number, round);
    }

    fn ask(&mut self, number: u64, round: Round) {
        for name in &round.missing {
            // Ignores failures. The inquiry is sent again later, unless it has side effects.
            let _ = self
                .others
                .inquire(name.clone(), number, round.inquiry.clone());
        }
        self.go_on(number, round);
    }

    fn nodes(&self) -> Vec<Name> {
        let others = self.map.others().into_iter();
        others
            .filter_map(|node| Name::new(self.map.name(node)))
            .collect()
    }

    fn count(&mut self, caller: CallRef, prefix: Box<str>) {
        let counts = self.rounds.values();
        let counts = counts.filter(|round| matches!(round.what, RoundQuestion::Count(..)));
        if counts.count() >= COUNTS_MAX {
            return self.answer(caller, Answer::Holding(Holding::default()));
        }
        let (inquiry, nodes) = (Inquiry::Count(prefix), self.nodes());
        let what = RoundQuestion::Count(caller, Holding::default());
        self.begin(what, &inquiry, nodes, COUNT_MAX);
    }

    /// Queries the admin listeners of the given nodes. If there are too many concurrent requests, drops `to` instead.
    fn ask_admins(&mut self, inquiry: &Inquiry, of: Vec<Name>, to: oneshot::Sender<NodeReplies>) {
        let gets = self.rounds.values();
        let gets = gets.filter(|round| matches!(round.what, RoundQuestion::Get(..)));
        if gets.count() < GETS_MAX {
            self.begin(RoundQuestion::Get(to, Vec::new()), inquiry, of, GET_MAX);
        }
    }

    fn replied(&mut self, from: &Name, number: u64, reply: &[u8]) {
        let Some(mut round) = self.rounds.remove(&number) else {
            return;
        };
        if let Some(place) = round.missing.iter().position(|name| name == from)
            && let Some(reply) = InquiryReply::read(reply)
            && round.what.add(from, reply)
        {
            round.missing.swap_remove(place);
        }
        self.go_on(number, round);
    }

    fn go_on(&mut self, number: u64, mut round: Round) {
        if round.missing.is_empty() && self.is_whole(&mut round) {
            return self.end(round);
        }
        self.rounds.insert(number, round);
    }

    fn end(&self, round: Round) {
        match round.what {
            RoundQuestion::Page(page) => self.end_page(page, &round.missing),
            RoundQuestion::Count(caller, sum) => self.answer(caller, Answer::Holding(sum)),
            RoundQuestion::Get(to, replies) => {
                let missing = round.missing.iter().map(|name| name.as_str().into());
                let missing = missing.collect();
                // The operator may have disconnected in the meantime.
                let _ = to.send(NodeReplies { replies, missing });
            }
        }
    }

    fn inquired(&mut self, from: Name, number: u64, inquiry: &[u8]) {
        match Inquiry::read(inquiry) {
            Some(Inquiry::Page(question)) => {
                let reply = InquiryReply::Page(Box::new(self.own_part(&question)));
                self.others.reply(from, number, reply.bytes());
            }
            Some(Inquiry::Count(prefix)) => {
                let count = self.catalog.ask(|catalog| catalog.held_by(&prefix));
                let reply = InquiryReply::Count(count);
                self.others.reply(from, number, reply.bytes());
            }
            Some(Inquiry::Get(path)) => self.ask_admin(from, number, path, None),
            Some(Inquiry::Post(path, posted)) => {
                self.ask_admin(from, number, path, Some(posted));
            }
            None => {}
        }
    }

    fn ask_admin(&self, from: Name, number: u64, path: String, posted: Option<Posted>) {
        let (others, to) = (self.others.clone(), from.clone());
        let reply = Box::new(move |status, body: &_| {
            let mut bytes = InquiryReply::admin(status, body).bytes();
            if bytes.len() > REPLY_BYTES_MAX {
                bytes = unavailable(TOO_LONG);
            }
            others.reply(to, number, bytes);
        });
        let asked = AskedPath {
            path,
            posted,
            reply,
        };
        if self.admin.try_send(asked).is_err() {
            self.others.reply(from, number, unavailable(BUSY));
        }
    }

    fn answer(&self, caller: CallRef, answer: Answer) {
        if let Some(desk) = self.desk.upgrade() {
            desk.answer((caller, Box::new(answer)));
        }
    }
}

impl RoundQuestion {
    /// Adds a reply. Returns `false` if the reply does not answer this question.
    fn add(&mut self, from: &Name, reply: InquiryReply) -> bool {
        match (self, reply) {
            (Self::Page(page), InquiryReply::Page(part)) => page.parts.push(*part),
            (Self::Count(_, sum), InquiryReply::Count(count)) => *sum = sum.and(count),
            (Self::Get(_, replies), InquiryReply::Admin(status, document)) => {
                let Ok(body) = serde_json::from_str(&document) else {
                    return false;
                };
                let node = from.as_str().into();
                replies.push(NodeReply { node, status, body });
            }
            (_, _) => return false,
        }
        true
    }
}

fn unavailable(why: &str) -> Vec<u8> {
    InquiryReply::admin(503, &json!({ "error": why })).bytes()
}

const BUSY: &str = "the admin listener of the node that has the channel is busy, or off";
const TOO_LONG: &str = "the answer is too long to be forwarded: ask the node that has the channel";

// Pages of channels. A page is complete once every slot is covered by a node that reports having served it since the
// call arrived. While slots move, the nodes are queried again. If a page stays incomplete, the call is refused rather
// than answered with channels missing.

/// Delay before a page is restarted because a slot is moving.
const MOVED: Duration = Duration::from_millis(100);

pub(crate) struct Page {
    caller: CallRef,
    question: PageQuestion,
    until: Instant,
    parts: Vec<PagePart>,
    whole: Option<Answer>,
    /// The owner, if known, of the first slot that the replies so far do not cover.
    lacking: Option<NodeId>,
}

impl Inquiries {
    pub(crate) fn list(&mut self, caller: CallRef, question: PageQuestion) {
        if self.waiting.len() >= PAGES_WAITING_MAX {
            return self.answer(caller, busy());
        }
        self.waiting.push_back(Page {
            caller,
            question,
            until: Instant::now() + PAGE_MAX,
            parts: Vec::new(),
            whole: None,
            lacking: None,
        });
    }

    /// Starts collecting pages for waiting calls, up to the concurrency limit. Refuses calls that have waited too long.
    fn look_at_waiting(&mut self, now: Instant) {
        while let Some(page) = take_due(&mut self.waiting, |page| page.until <= now) {
            self.answer(page.caller, busy());
        }
        let pages = self.rounds.values();
        let pages = pages.filter(|round| matches!(round.what, RoundQuestion::Page(_)));
        let mut free = LISTS_OF_NODES_MAX.saturating_sub(pages.count());
        while free > 0
            && let Some(page) = self.waiting.pop_front()
        {
            self.begin_page(page);
            free -= 1;
        }
    }

    fn begin_page(&mut self, mut page: Page) {
        let missing = self.nodes();
        let share = (LIST_MERGED_MAX / (missing.len() + 1)).max(1);
        let question = PageQuestion {
            limit: page.question.limit.min(share),
            ..page.question.clone()
        };
        page.parts.push(self.own_part(&question));
        let left = page.until.saturating_duration_since(Instant::now());
        self.begin(
            RoundQuestion::Page(page),
            &Inquiry::Page(question),
            missing,
            left,
        );
    }

    fn own_part(&self, question: &PageQuestion) -> PagePart {
        PagePart::of_node(&self.map, &*self.catalog, question, shards_now())
    }

    /// Returns whether a page is complete, and schedules a restart if it is not. Must be called once all nodes of the
    /// round have replied.
    pub(crate) fn is_whole(&self, round: &mut Round) -> bool {
        let RoundQuestion::Page(page) = &mut round.what else {
            return true;
        };
        let parts = std::mem::take(&mut page.parts);
        let found = PagePart::of_nodes(parts, page.question.limit);
        let lacking = found.slots.first_missing();
        // The next page starts after this page's last record, so a page that is not the last one must contain a record.
        let has_no_end = found.records.is_empty() && found.complete_to.is_some();
        if lacking.is_none() && !has_no_end {
            page.whole = Some(Answer::Page(found.records, found.complete_to.is_some()));
            return true;
        }
        // The restarted page keeps these parts. During a drain, some slot is always moving, but each slot moves only
        // for a short time.
        page.parts = vec![found];
        page.lacking = lacking.and_then(|slot| self.map.owner_of(slot));
        round.again = Instant::now() + MOVED;
        false
    }

    fn end_page(&self, page: Page, missing: &[Name]) {
        let answer = page.whole.unwrap_or_else(|| {
            let names = missing.iter().map(Name::as_str);
            let lacking = page.lacking.map(|node| self.map.name(node));
            incomplete(names.chain(lacking).collect())
        });
        self.answer(page.caller, answer);
    }
}

fn incomplete(mut nodes: Vec<&str>) -> Answer {
    nodes.sort_unstable();
    nodes.dedup();
    let why = if nodes.is_empty() {
        "some channels have no server".into()
    } else {
        format!("no answer from {}", nodes.join(", "))
    };
    let text = format!("The list of channels would be incomplete: {why}. Try again.");
    Refusal::unavailable(Check::ListIncomplete, text).into()
}

fn busy() -> Answer {
    let text = "The server is busy. Try again.";
    Refusal::unavailable(Check::MailboxFull, text).into()
}

// Encoding of inquiries and replies. New variants must be added at the end of an `enum`; earlier versions of the broker
// do not reply to them.

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Inquiry {
    Page(PageQuestion),
    /// Asks how many channels an account has. The account is given as `region:account:`.
    Count(Box<str>),
    Get(String),
    /// Sends a POST request to this path of the admin listener. The request is executed at most once.
    Post(String, Posted),
}

impl Inquiry {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        wire::write(self)
    }

    /// Decodes an inquiry. Returns `None` if it is malformed, or of a kind that this version does not know.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut inquiry = wire::read(bytes, BYTES_MAX)?;
        if let Self::Page(question) = &mut inquiry {
            question.limit = question.limit.clamp(1, LIST_PAGE_MAX);
        }
        Some(inquiry)
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum InquiryReply {
    Page(Box<PagePart>),
    Count(Holding),
    Admin(u16, Box<str>),
}

impl InquiryReply {
    pub(crate) fn admin(status: u16, document: &Value) -> Self {
        Self::Admin(status, document.to_string().into())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        wire::write(self)
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        wire::read(bytes, REPLY_BYTES_MAX)
    }
}

/// Maximum reply size in bytes: enough for any page of the admin listener. A node refuses to send longer replies. A
/// page of channels takes at most a quarter of this size.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// Maximum inquiry size in bytes: enough for any request to an admin listener.
const BYTES_MAX: usize = ADMIN_HEAD_BYTES_MAX + ADMIN_BODY_BYTES_MAX;

#[cfg(test)]
mod words_tests {
    use super::*;
    use broker_core::cluster::slot_maps::SlotSet;
    use broker_core::id::Slot;
    use broker_core::record::{ListedChannel, VERSION_BYTES, Version};
    use broker_core::time::Wall;
    use codec::control::ChannelStatus;
    use codec::identifiers::ChannelArn;
    use serde_json::json;

    fn listed() -> ListedChannel {
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/17";
        ListedChannel {
            arn: ChannelArn::parse(arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(17),
            version: Version::from_bytes([b'v'; VERSION_BYTES]).unwrap(),
            status: ChannelStatus::Deleting,
        }
    }

    fn part(channels: usize) -> InquiryReply {
        let mut slots = SlotSet::default();
        slots.insert(Slot(4095));
        InquiryReply::Page(Box::new(PagePart {
            records: vec![listed(); channels],
            complete_to: Some("cam".into()),
            slots,
        }))
    }

    /// Checks that `read` refuses truncated bytes and a surplus byte, and never panics on a changed byte.
    fn bear(bytes: &[u8], read: impl Fn(&[u8]) -> Option<String>) {
        for at in 0..bytes.len() {
            assert_eq!(read(&bytes[..at]), None, "{at} bytes");
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = byte;
                read(&changed);
            }
        }
        assert_eq!(read(&[bytes, &[0]].concat()), None);
    }

    #[test]
    fn inquiries_arrive_as_they_were_sent() {
        let page = |after: Option<&str>, limit| {
            Inquiry::Page(PageQuestion {
                prefix: "us-west-2:1:c".into(),
                after: after.map(Into::into),
                limit,
            })
        };
        let posted = Posted {
            body: "{\"role\":\"all\"}".into(),
            remote: ([127, 0, 0, 1], 9).into(),
        };
        for inquiry in [
            page(None, 1),
            page(Some("us-west-2:1:cam"), LIST_PAGE_MAX),
            Inquiry::Count("us-west-2:1:".into()),
            Inquiry::Get("/channels?prefix=a%22".into()),
            Inquiry::Post("/log".into(), posted),
        ] {
            let bytes = inquiry.bytes();
            bear(&bytes, |bytes| {
                Inquiry::read(bytes).map(|read| format!("{read:?}"))
            });
            assert_eq!(Inquiry::read(&bytes), Some(inquiry));
        }
        for (asked, limit) in [(0, 1), (usize::MAX, LIST_PAGE_MAX)] {
            let read = Inquiry::read(&page(None, asked).bytes());
            assert_eq!(read, Some(page(None, limit)));
        }
        let long = Inquiry::Get("/".repeat(BYTES_MAX));
        assert_eq!(Inquiry::read(&long.bytes()), None);
        for former in ["{\"get\":\"/live\"}", "{\"count\":\"us-west-2:1:\"}"] {
            assert_eq!(Inquiry::read(former.as_bytes()), None, "{former}");
        }
    }

    #[test]
    fn replies_arrive_as_they_were_sent() {
        let holding = Holding {
            channels: 7,
            bytes: 1 << 33,
        };
        let document = json!({ "error": "no such channel" });
        for reply in [
            part(1),
            InquiryReply::Count(holding),
            InquiryReply::admin(404, &document),
        ] {
            let bytes = reply.bytes();
            let read = |bytes: &[u8]| InquiryReply::read(bytes).map(|read| format!("{read:?}"));
            assert_eq!(read(&bytes), Some(format!("{reply:?}")));
            bear(&bytes, read);
        }
        assert!(InquiryReply::read(&part(LIST_PAGE_MAX).bytes()).is_some());
        assert!(InquiryReply::read(&part(LIST_PAGE_MAX + 1).bytes()).is_none());
        let mut unknown = part(1).bytes();
        let text = listed().version.as_str().to_owned();
        let at = unknown
            .windows(text.len())
            .position(|bytes| bytes == text.as_bytes());
        unknown[at.unwrap()] = b'-';
        assert!(
            InquiryReply::read(&unknown).is_none(),
            "no version has such a character"
        );
    }
}
