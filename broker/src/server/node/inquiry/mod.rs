//! Inquiries to all other nodes, and replies to theirs: pages of channels, the holdings of an account, and pages of
//! operators.
//!
//! ```text
//!  a shard: list ──► begin: a part of its own shards; an inquiry to each node that has a slot
//!                                                             │
//!  a shard: Answered ◄── parts of all slots ◄── replies ◄─────┘     another node's inquiry ──► own shards ──► reply
//! ```
//! One thread, which waits for nobody but its own shards, for a moment. Each question is a *round*: it ends when all
//! have replied, or when its time is over. An inquiry that gets no reply is sent again, except one that changes
//! something, which is sent once. The end of a round is in `page` for pages of channels, in this file for the others.

mod page;
mod words;

use crate::edge::Post;
use crate::server::node::desk::{Desk, Mailboxes};
use crate::side::{AskedPath, NodeReplies, NodeReply, Posted, Survey};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::id::{CallRef, ShardId};
use broker_core::record::Holding;
use broker_core::shard::{Answer, PageQuestion, Question, Reply, Shard};
use broker_etcd::{InquirySender, Name};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use page::Page;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use words::{Inquiry, REPLY_BYTES_MAX};

/// An event for the thread.
pub(crate) enum Event {
    /// A call wants a page.
    List(CallRef, PageQuestion),
    /// A call wants to know what an account has on other nodes: `region:account:`.
    Count(CallRef, Box<str>),
    /// An operator wants what the admin listeners of other nodes have at this path.
    Get(String, oneshot::Sender<NodeReplies>),
    /// An operator posts to a path of the node of this name.
    Post(Name, String, Posted, oneshot::Sender<NodeReplies>),
    /// Another node wants to know something.
    Inquired(Name, u64, Vec<u8>),
    /// Another node replies.
    Replied(Name, u64, Vec<u8>),
}

/// Events that wait for the thread. One more is lost, or refused.
pub(crate) const EVENTS_MAX: usize = 256;

/// Paths that other nodes ask for and that wait for the admin listener. One more is answered 503.
pub(crate) const PATHS_MAX: usize = 16;

/// Calls that wait until a page can be gathered for them. The next one is answered 503.
const PAGES_WAITING_MAX: usize = 128;

/// Paths of other nodes that are asked for or posted to at a time, and counts. One more is refused; a count is that of
/// this node.
const GETS_MAX: usize = 8;
const COUNTS_MAX: usize = 256;

/// Time for a page of channels, for one of operators, and for a count, at most.
const PAGE_MAX: Duration = Duration::from_secs(3);
const GET_MAX: Duration = Duration::from_secs(2);
const COUNT_MAX: Duration = Duration::from_millis(500);

/// After this long without a reply a node is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Time for this node's own shards to answer, at most.
const SHARDS_MAX: Duration = Duration::from_secs(1);

/// The thread's state.
pub(crate) struct Inquiries {
    desk: Weak<Desk>,
    map: Arc<SlotMap>,
    shards: Survey<Shard, (ShardId, Reply)>,
    others: InquirySender,
    admin: mpsc::Sender<AskedPath>,
    rounds: BTreeMap<u64, Round>,
    waiting: VecDeque<Page>,
    /// The number of the next inquiry. The first is drawn: replies to those of an earlier process are not this one's.
    next: u64,
}

/// Something that other nodes are asked.
pub(crate) struct Round {
    what: What,
    inquiry: Vec<u8>,
    /// Nodes whose reply has not come.
    missing: Vec<Name>,
    until: Instant,
    /// When those are asked again, or a page is begun again.
    again: Instant,
}

/// The question of a round, with its caller and the replies so far.
enum What {
    Page(Page),
    /// The channels of an account, so far.
    Count(CallRef, Holding),
    /// The answers of admin listeners to a request, so far.
    Get(oneshot::Sender<NodeReplies>, Vec<NodeReply>),
}

impl Inquiries {
    pub(crate) fn new(
        desk: &Arc<Desk>,
        (map, mailboxes): (Arc<SlotMap>, Mailboxes),
        (others, next): (InquirySender, u64),
        admin: mpsc::Sender<AskedPath>,
    ) -> Self {
        Self {
            desk: Arc::downgrade(desk),
            map,
            shards: Survey::new(mailboxes),
            others,
            admin,
            rounds: BTreeMap::new(),
            waiting: VecDeque::new(),
            next,
        }
    }

    /// Goes on until nobody is left who could ask.
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
        rounds.chain(self.next_page_due()).min()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::List(caller, question) => self.list(caller, question),
            Event::Count(caller, prefix) => self.count(caller, prefix),
            Event::Get(path, to) => self.get(&Inquiry::Get(path), to),
            Event::Post(name, path, posted, to) => self.post(name, path, posted, to),
            Event::Inquired(from, number, inquiry) => self.inquired(from, number, &inquiry),
            Event::Replied(from, number, reply) => self.replied(&from, number, &reply),
        }
    }

    /// Does what is due, and begins pages that there is room for.
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
            } else if let (What::Page(_), true) = (&round.what, round.missing.is_empty()) {
                self.begin_page_again(round);
            } else {
                round.again = now + AGAIN;
                self.ask(number, round);
            }
        }
        self.look_at_waiting(now);
    }

    /// Begins a round with all other nodes that have a slot.
    fn begin(&mut self, what: What, inquiry: &Inquiry, missing: Vec<Name>, until: Instant) {
        let again = Instant::now() + AGAIN;
        self.begin_round(what, inquiry, missing, (until, again));
    }

    fn begin_round(
        &mut self,
        what: What,
        inquiry: &Inquiry,
        missing: Vec<Name>,
        (until, again): (Instant, Instant),
    ) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let round = Round {
            what,
            inquiry: inquiry.bytes(),
            missing,
            until,
            again,
        };
        self.ask(number, round);
    }

    /// Asks those who have not replied.
    fn ask(&mut self, number: u64, round: Round) {
        for name in &round.missing {
            // A node that was not asked is asked again.
            let _ = self
                .others
                .inquire(name.clone(), number, round.inquiry.clone());
        }
        self.go_on(number, round);
    }

    /// The other nodes that have a slot.
    fn nodes(&self) -> Vec<Name> {
        let others = self.map.others().into_iter();
        others
            .filter_map(|node| Name::new(self.map.name(node)))
            .collect()
    }

    fn count(&mut self, caller: CallRef, prefix: Box<str>) {
        let counts = self.rounds.values();
        let counts = counts.filter(|round| matches!(round.what, What::Count(..)));
        if counts.count() >= COUNTS_MAX {
            return self.answer(caller, Answer::Holding(Holding::default()));
        }
        let (inquiry, nodes) = (Inquiry::Count(prefix), self.nodes());
        let until = Instant::now() + COUNT_MAX;
        self.begin(
            What::Count(caller, Holding::default()),
            &inquiry,
            nodes,
            until,
        );
    }

    /// Without room `to` is dropped.
    fn get(&mut self, inquiry: &Inquiry, to: oneshot::Sender<NodeReplies>) {
        if self.has_room() {
            let (nodes, until) = (self.nodes(), Instant::now() + GET_MAX);
            self.begin(What::Get(to, Vec::new()), inquiry, nodes, until);
        }
    }

    /// Without room `to` is dropped. It is sent once: without a reply nobody knows whether it was carried out.
    fn post(&mut self, of: Name, path: String, posted: Posted, to: oneshot::Sender<NodeReplies>) {
        if self.has_room() {
            let inquiry = Inquiry::Post(path, posted);
            let until = Instant::now() + GET_MAX;
            self.begin_round(
                What::Get(to, Vec::new()),
                &inquiry,
                vec![of],
                (until, until),
            );
        }
    }

    fn has_room(&self) -> bool {
        let gets = self.rounds.values();
        let gets = gets.filter(|round| matches!(round.what, What::Get(..)));
        gets.count() < GETS_MAX
    }

    fn replied(&mut self, from: &Name, number: u64, reply: &[u8]) {
        let Some(mut round) = self.rounds.remove(&number) else {
            return;
        };
        if let Some(place) = round.missing.iter().position(|name| name == from)
            && let Some(reply) = words::Reply::read(reply)
            && round.what.add(from, reply)
        {
            round.missing.swap_remove(place);
        }
        self.go_on(number, round);
    }

    /// Ends a round that all have replied to.
    fn go_on(&mut self, number: u64, mut round: Round) {
        if round.missing.is_empty() && self.is_whole(&mut round) {
            return self.end(round);
        }
        self.rounds.insert(number, round);
    }

    /// A round is over: all have replied, or its time is.
    fn end(&self, round: Round) {
        match round.what {
            What::Page(page) => self.end_page(page, &round.missing),
            What::Count(caller, sum) => self.answer(caller, Answer::Holding(sum)),
            What::Get(to, replies) => {
                let missing = round.missing.iter().map(|name| name.as_str().into());
                let missing = missing.collect();
                // The operator may have gone.
                let _ = to.send(NodeReplies { replies, missing });
            }
        }
    }

    fn inquired(&mut self, from: Name, number: u64, inquiry: &[u8]) {
        match Inquiry::read(inquiry) {
            Some(Inquiry::Page(question)) => {
                if let Some(part) = self.own_part(&question) {
                    let reply = words::Reply::Page(Box::new(part));
                    self.others.reply(from, number, reply.bytes());
                }
            }
            Some(Inquiry::Count(prefix)) => {
                if let Some(count) = self.own_count(&prefix) {
                    let reply = words::Reply::Count(count);
                    self.others.reply(from, number, reply.bytes());
                }
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
            let mut bytes = words::Reply::admin(status, body).bytes();
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

    fn own_count(&mut self, prefix: &str) -> Option<Holding> {
        let answers = self.ask_shards(&Question::Count(prefix.into()))?;
        let mut answers = answers.into_iter();
        answers.try_fold(Holding::default(), |sum, answer| {
            if let Reply::Count(count) = answer {
                Some(sum.and(count))
            } else {
                None
            }
        })
    }

    /// The answers of this node's own shards; `None` when one does not answer.
    fn ask_shards(&mut self, question: &Question) -> Option<Vec<Reply>> {
        let post = |to| Post::Inspect(Box::new(question.clone()), to);
        let answers = self.shards.ask(self.shards.all(), SHARDS_MAX, post);
        let answers = answers.into_iter();
        answers
            .map(|(_, answer)| answer.map(|(_, reply)| reply))
            .collect()
    }

    fn answer(&self, caller: CallRef, answer: Answer) {
        if let Some(desk) = self.desk.upgrade() {
            desk.answer((caller, Box::new(answer)));
        }
    }
}

impl What {
    /// Adds a reply; false if it is none to this question.
    fn add(&mut self, from: &Name, reply: words::Reply) -> bool {
        match (self, reply) {
            (Self::Page(page), words::Reply::Page(part)) => page.add(*part),
            (Self::Count(_, sum), words::Reply::Count(count)) => *sum = sum.and(count),
            (Self::Get(_, replies), words::Reply::Admin(status, document)) => {
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
    words::Reply::admin(503, &json!({ "error": why })).bytes()
}

const BUSY: &str = "the admin listener of the node that has the channel is busy, or off";
const TOO_LONG: &str = "the answer is too long to be passed on: ask the node that has the channel";
