//! Plays transcripts.
//!
//! ```text
//!  v1 > SDP_OFFER p1          | m < SDP_OFFER p1 from v1
//!  who does what              | who gets what, in the order of their first appearance; nothing else may come
//! ```
//! Names: `m…` are masters, `v…` viewers, `a…` callers of the API. A name is one connection; what follows a dash makes
//! another one of the same client: `v1-b` is `v1` again. Words:
//! ```text
//!  NAME connects [ARN-NAME | wss | gone]   NAME vanishes       NAME stalls       NAME reads [BYTES]
//!  NAME is cut: what is sent to it is lost, and its machine acknowledges nothing      NAME is mended
//!  NAME is reset
//!  NAME > ACTION PAYLOAD [to ID] [id CORRELATION]       NAME > raw TEXT   NAME > bytes HEX
//!  NAME > ping | pong [NUMBER] | empty | binary | unmasked | huge | close CODE
//!  NAME > create CHANNEL [TTL] | describe CHANNEL | delete CHANNEL | list
//!  NAME > alexa PAYLOAD as ID [to CHANNEL] | http TEXT
//!  NAME > api PATH BODY            where <NAME> in the body is the ARN of a channel created in the first moment
//!  handovers wait
//!  time 5s      leap 2h (at once)      stop 9s (the shards do not run)      drain 20s
//!  letters refused      letters wait      letters taken
//!  store waits      store commits      store fails ERROR      the last two for what waits, oldest first
//! ```

mod clients;

use crate::shard_transcripts::client::Client;
use crate::shard_transcripts::notes::Notes;
use crate::shard_transcripts::store::{Changes, SlowStore};
use crate::shard_transcripts::words::{self, CHANNEL, arn, millis, spoken};
use broker_core::id::{Identity, ShardId};
use broker_core::journal::Entry;
use broker_core::limits::RECONNECTS_PER_STEP;
use broker_core::machine::{Input, Machine};
use broker_core::placement::Placement;
use broker_core::presence::{Audience, Told};
use broker_core::registry::StoreError;
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Letter, Question, Reply, Shard, Start};
use broker_core::testing::TestCatalog;
use broker_core::time::Moment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Seeds of the placement of channels.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Somebody who follows all channels, once they do, and has no room now and then.
struct Follower {
    to: Sender<Told>,
    follows: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
}

impl Audience for Follower {
    fn tell(&mut self, told: Told) -> Result<(), Told> {
        if self.is_full.load(Relaxed) {
            return Err(told);
        }
        self.to.send(told).map_err(|error| error.0)
    }

    fn is_read(&self) -> bool {
        self.follows.load(Relaxed)
    }
}

/// Some shards, their clients, and the time.
pub(crate) struct Script {
    shards: Vec<Shard>,
    placement: Placement,
    clients: Vec<Client>,
    refuses: bool,
    /// Letters on their way, while they wait.
    held: Option<VecDeque<(usize, Letter)>>,
    changes: Changes,
    log: Receiver<Entry>,
    /// What those who follow all channels are told, from [`Self::follow`] on.
    told: Receiver<Told>,
    follows: Arc<AtomicBool>,
    /// The followers have no room.
    pub(crate) is_full: Arc<AtomicBool>,
    /// Places of the log for changes.
    pub(crate) places: Arc<AtomicUsize>,
    drained: usize,
    turns: u64,
    /// Connections are handed over at once; else never, as if answers before that were not taken.
    leaving: bool,
    at: Moment,
}

impl Script {
    /// Makes a world of one shard under `--dev`.
    pub(crate) fn dev() -> Self {
        Self::with(1, true, |_| ())
    }

    /// The same, with a master and a viewer.
    pub(crate) fn opened() -> Self {
        let mut script = Self::dev();
        script.play("m connects | m < 101\nv1 connects | v1 < 101");
        script
    }

    /// This many shards in `--dev`, on each of which this many Alexa calls may wait.
    pub(crate) fn with_waiting_calls(shards: u16, waiting_calls: usize) -> Self {
        Self::made(shards, true, (Some(waiting_calls), None), |_| ())
    }

    /// This many shards in `--dev`, on each of which this many devices may wait.
    pub(crate) fn with_wake_polls(shards: u16, wake_polls: usize) -> Self {
        Self::made(shards, true, (None, Some(wake_polls)), |settings| {
            settings.presence.wake_poll = true;
        })
    }

    /// This many shards, with these settings.
    pub(crate) fn with(shards: u16, dev: bool, change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(shards, dev, (None, None), change)
    }

    fn made(
        shards: u16,
        dev: bool,
        (waiting_calls, wake_polls): (Option<usize>, Option<usize>),
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::new(Profile::Default, dev);
        settings.shards = usize::from(shards);
        settings.dev_origins = vec!["http://h".into()]; // as which its clients know it
        change(&mut settings);
        let settings = Arc::new(settings);
        let placement = Placement::new(SEEDS, shards);
        let changes = Changes::default();
        let (notes, log) = channel();
        let (followed, told) = channel();
        let follows = Arc::new(AtomicBool::new(false));
        let is_full = Arc::new(AtomicBool::new(false));
        let places = Arc::new(AtomicUsize::new(1000));
        let catalog = Arc::new(TestCatalog::default());
        let shard = |id| {
            let plain = Start::bare(
                settings.clone(),
                ShardId(id),
                placement.clone(),
                [5, 6, 7, 8],
            );
            let start = Start {
                catalog: catalog.clone(),
                store: Box::new(SlowStore::new(id, &changes)),
                journal: Box::new(Notes {
                    to: notes.clone(),
                    places: Arc::clone(&places),
                    is_read: false,
                }),
                audience: Box::new(Follower {
                    to: followed.clone(),
                    follows: Arc::clone(&follows),
                    is_full: Arc::clone(&is_full),
                }),
                waiting_calls: waiting_calls.unwrap_or(plain.waiting_calls),
                wake_polls: wake_polls.unwrap_or(plain.wake_polls),
                ..plain
            };
            Shard::new(start)
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            placement,
            clients: Vec::new(),
            refuses: false,
            held: None,
            changes: changes.clone(),
            log,
            told,
            follows: Arc::clone(&follows),
            is_full: Arc::clone(&is_full),
            places: Arc::clone(&places),
            drained: 0,
            turns: 0,
            leaving: true,
            at: words::first_moment(),
        }
    }

    /// Plays each line and compares what everybody gets.
    ///
    /// # Panics
    /// At the first line where it is something else.
    pub(crate) fn play(&mut self, transcript: &str) {
        for line in transcript.lines().map(str::trim) {
            self.at.micros = self.at.micros.wrapping_add(1); // each line is a turn of its own
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (act, wanted) = line.split_once('|').unwrap_or((line, ""));
            self.act(act.trim());
            let got = self.heard();
            let wanted: Vec<&str> = wanted.split(';').map(str::trim).collect();
            let wanted: Vec<&str> = wanted.into_iter().filter(|one| !one.is_empty()).collect();
            assert_eq!(got, wanted, "\n    in: {line}\n   got: {}", got.join("; "));
            for shard in &self.shards {
                assert_eq!(shard.snapshot().counters.unaccounted(), 0, "after: {line}");
            }
        }
    }

    /// The sum of all shards' counters.
    pub(crate) fn counters(&self) -> broker_core::event::Counters {
        self.snapshot().counters
    }

    pub(crate) fn snapshot(&self) -> broker_core::shard::Snapshot {
        let mut sum = broker_core::shard::Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot());
        }
        sum
    }

    /// Time passes.
    pub(crate) fn pass_by(&mut self, ms: u64) {
        self.pass(ms);
    }

    /// The items that all clients get meanwhile.
    pub(crate) fn hear(&mut self) -> Vec<String> {
        self.heard()
    }

    /// The number of turns for deadlines, and of bytes that wait for all clients.
    pub(crate) fn turns(&mut self) -> (u64, u64) {
        let counters = self.counters();
        (self.turns, counters.outbox_bytes + counters.control_bytes)
    }

    /// An operator makes all clients fetch ICE servers again: how many are notified or closed.
    pub(crate) fn reconnect_ice(&mut self) -> u64 {
        let mut all = 0;
        for shard in &mut self.shards {
            let mut next = Some(0);
            while let Some(from) = next {
                let channel = None;
                let question = Question::ReconnectIce { channel, from };
                let Reply::Reconnected(many, then) = shard.inspect(question, self.at) else {
                    panic!("a step is answered by a step");
                };
                assert!(many <= RECONNECTS_PER_STEP as u64, "{many} in one step");
                (all, next) = (all + many, then);
            }
        }
        self.obey(VecDeque::new());
        all
    }

    /// The answer of each shard to an operator.
    pub(crate) fn inspect(&mut self, question: &Question) -> Vec<Reply> {
        let at = self.at;
        let answers = self.shards.iter_mut();
        answers
            .map(|shard| shard.inspect(question.clone(), at))
            .collect()
    }

    /// Entries of all shards' timer wheels, and how many sessions and channels there are.
    pub(crate) fn timers(&self) -> (u64, u64) {
        let mut sum = broker_core::shard::Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot());
        }
        let owners = sum.connections.iter().sum::<u64>() + sum.channels;
        (sum.timers, owners)
    }

    /// The entries of the log since the last call, of all shards.
    pub(crate) fn log(&self) -> impl Iterator<Item = Entry> {
        self.log.try_iter()
    }

    /// All channels are followed from here on.
    pub(crate) fn follow(&self) {
        self.follows.store(true, Relaxed);
    }

    /// The same, with an opening.
    pub(crate) fn followed(mut self, opening: &str) -> Self {
        self.follow();
        self.play(opening);
        self.told();
        self
    }

    /// Plays a transcript. Followers must be told `told`, and nothing else.
    pub(crate) fn tells(&mut self, transcript: &str, told: &str) {
        self.play(transcript);
        assert_eq!(self.told().join("; "), told);
    }

    /// What those who follow were told since the last call: the cause, what is known of the master, and who waits.
    pub(crate) fn told(&self) -> Vec<String> {
        let told = self.told.try_iter().filter_map(|told| match told {
            Told::Presence(presence) => Some(presence),
            Told::Lost => None,
        });
        told.map(|presence| {
            let cause: &str = presence.cause.into();
            let master = match presence.master {
                None => "gone",
                Some(master) if master.is_doubtful() => "doubtful",
                Some(_) => "there",
            };
            let reason = presence.reason.map(|reason| format!(" ({reason})"));
            let waiting = presence.waiting.len();
            format!(
                "{cause}{}: {master}, {waiting} wait",
                reason.unwrap_or_default()
            )
        })
        .collect()
    }

    /// The number of channels.
    pub(crate) fn channels(&self) -> u64 {
        let counts = self.shards.iter().map(|shard| shard.snapshot().channels);
        counts.sum()
    }

    /// Whether every shard said, once, that its drain is over.
    pub(crate) fn is_drained(&self) -> bool {
        assert!(self.drained <= self.shards.len(), "each says it once");
        self.drained == self.shards.len()
    }

    pub(crate) fn act(&mut self, act: &str) {
        let words: Vec<&str> = act.split_whitespace().collect();
        match words.as_slice() {
            ["time", span] => self.pass(millis(span)),
            ["leap", span] => self.leap(millis(span)),
            ["stop", span] => {
                let since = self.at.now;
                (self.at.now.0, self.at.wall.0) =
                    (since.0 + millis(span), self.at.wall.0 + millis(span));
                for shard in &mut self.shards {
                    shard.stood_still(since, self.at);
                }
            }
            ["drain", span] => {
                let within = millis(span);
                for shard in 0..self.shards.len() {
                    self.input(shard, Input::Letter(Letter::Drain(within)));
                }
            }
            ["handovers", "wait"] => self.leaving = false,
            ["letters", "refused"] => self.refuses = true,
            ["letters", "wait"] => self.held = Some(VecDeque::new()),
            ["letters", "taken"] => {
                self.refuses = false;
                let held = self.held.take().unwrap_or_default();
                self.obey(held);
            }
            ["store", "waits"] => self.changes.wait(),
            ["store", "commits"] => self.commit(Ok(())),
            ["store", "is", "busy"] => self.commit(Err(StoreError::Busy)),
            ["store", "fails", ..] => {
                let error = act.split_once("fails").expect("it is there").1.trim();
                self.commit(Err(StoreError::Failed(error.into())));
            }
            [name, "connects"] => self.connect(name, &arn(CHANNEL), false),
            [name, "connects", "wss"] => self.connect(name, &arn(CHANNEL), true),
            [name, "connects", "gone"] => self.connect_gone(name),
            [name, "connects", channel] => self.connect(name, &arn(channel), false),
            [name, "vanishes"] => {
                let (shard, session) = self.place(name);
                self.input(shard, Input::Ended { session });
            }
            [name, "is", "cut"] => self.client(name).cut = Some(0),
            [name, "is", "mended"] => self.client(name).cut = None,
            [name, "is", "reset"] => self.reset(name),
            [name, "stalls"] => self.client(name).stalled = true,
            [name, "reads"] => self.client(name).stalled = false,
            [name, "reads", bytes] => {
                let bytes = bytes.parse().expect("a number");
                let place = self.index(name);
                self.send(place, bytes);
            }
            [name, ">", ..] => {
                let text = act.split_once('>').expect("it is there").1.trim();
                let mut bytes = spoken(text, &self.at);
                let (shard, session) = self.place(name);
                let bytes = &mut bytes[..];
                self.input(shard, Input::Received { session, bytes });
            }
            other => panic!("what is {other:?}?"),
        }
    }

    /// The store reports its waiting changes, and those that follow from them.
    fn commit(&mut self, result: Result<(), StoreError>) {
        while let Some((shard, of)) = self.changes.next() {
            let letter = Letter::Committed(of, result.clone());
            self.input(shard, Input::Letter(letter));
        }
    }

    /// A channel name whose home is this shard.
    pub(crate) fn name_on(&self, shard: usize) -> String {
        let mut names = (0..).map(|number| format!("c{number}"));
        names
            .find(|name| self.home(name) == shard)
            .expect("names spread")
    }

    /// The home of a channel of this name.
    pub(crate) fn home(&self, name: &str) -> usize {
        let identity = Identity::new("us-west-2", "123456789012", name);
        self.placement.shard(&identity).index()
    }

    /// Alexa calls that shards took from others and that are not confirmed to be over.
    pub(crate) fn call_places(&self) -> u64 {
        let places = self.shards.iter().map(|shard| shard.snapshot().call_places);
        places.sum()
    }
}
