//! Plays transcripts.
//!
//! ```text
//!  v1 > SDP_OFFER p1          | m < SDP_OFFER p1 from v1
//!  who does what              | who gets what, in the order of their first appearance; nothing else may come
//! ```
//! Names: `m…` are masters, `v…` viewers, `a…` callers of the API. A name is one connection; what follows a dash makes
//! another one of the same client: `v1-b` is `v1` again. Words:
//! ```text
//!  NAME connects [ARN-NAME | wss]   NAME vanishes       NAME stalls       NAME reads [BYTES]
//!  NAME > ACTION PAYLOAD [to ID] [id CORRELATION]       NAME > raw TEXT   NAME > bytes HEX
//!  NAME > ping | pong | empty | binary | unmasked | huge | close CODE
//!  NAME > create CHANNEL [TTL] | describe CHANNEL | delete CHANNEL | list
//!  NAME > alexa PAYLOAD as ID [to CHANNEL] | http TEXT
//!  NAME > api PATH BODY            where <NAME> in the body is the ARN of a channel created in the first moment
//!  handovers wait
//!  time 5s      drain 20s      letters refused      letters wait      letters taken
//!  store waits      store commits      store fails ERROR      the last two for what waits, oldest first
//! ```

use crate::client::Client;
use crate::notes::Notes;
use crate::store::{Changes, SlowStore};
use crate::words::{CHANNEL, FIRST_MOMENT, arn, millis, spoken};
use broker_core::id::{Identity, SessionKey, ShardId};
use broker_core::journal::Entry;
use broker_core::limits::RECONNECTS_PER_STEP;
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::registry::StoreError;
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Letter, Question, Reply, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::ws;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};

/// Seeds of the placement of channels.
pub(crate) const SEEDS: [u64; 4] = [1, 2, 3, 4];

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
    /// Places of the log for changes.
    pub(crate) places: Arc<AtomicUsize>,
    drained: usize,
    turns: u64,
    /// Connections are handed over at once; else never, as if answers before that were not taken.
    leaving: bool,
    at: Moment,
}

impl Script {
    /// One shard in `--dev`.
    pub(crate) fn dev() -> Self {
        Self::with(1, true, |_| ())
    }

    /// This many shards in `--dev`, on each of which this many Alexa calls may wait.
    pub(crate) fn with_waiting_calls(shards: u16, waiting_calls: usize) -> Self {
        Self::made(shards, true, Some(waiting_calls), |_| ())
    }

    /// This many shards, with these settings.
    pub(crate) fn with(shards: u16, dev: bool, change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(shards, dev, None, change)
    }

    fn made(
        shards: u16,
        dev: bool,
        waiting_calls: Option<usize>,
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
        let places = Arc::new(AtomicUsize::new(1000));
        let shard = |id| {
            let plain = Start::bare(
                settings.clone(),
                ShardId(id),
                placement.clone(),
                [5, 6, 7, 8],
            );
            let start = Start {
                store: Box::new(SlowStore::new(id, &changes)),
                journal: Box::new(Notes {
                    to: notes.clone(),
                    places: Arc::clone(&places),
                }),
                waiting_calls: waiting_calls.unwrap_or(plain.waiting_calls),
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
            places: Arc::clone(&places),
            drained: 0,
            turns: 0,
            leaving: true,
            at: Moment {
                now: Now(1_000),
                wall: Wall(FIRST_MOMENT),
                micros: 0,
            },
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
        let mut sum = broker_core::shard::Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot());
        }
        sum.counters
    }

    /// Time passes.
    pub(crate) fn pass_by(&mut self, ms: u64) {
        self.pass(ms);
    }

    /// What everybody gets meanwhile.
    pub(crate) fn hear(&mut self) -> Vec<String> {
        self.heard()
    }

    /// How many turns there were for deadlines, and how many bytes wait for all.
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

    /// What each shard answers an operator.
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

    /// What was noted in the log since the last call, by all shards.
    pub(crate) fn log(&self) -> impl Iterator<Item = Entry> {
        self.log.try_iter()
    }

    /// How many channels there are.
    pub(crate) fn channels(&self) -> u64 {
        let counts = self.shards.iter().map(|shard| shard.snapshot().channels);
        counts.sum()
    }

    /// Whether every shard said, once, that its drain is over.
    pub(crate) fn is_drained(&self) -> bool {
        assert!(self.drained <= self.shards.len(), "each says it once");
        self.drained == self.shards.len()
    }

    fn act(&mut self, act: &str) {
        let words: Vec<&str> = act.split_whitespace().collect();
        match words.as_slice() {
            ["time", span] => self.pass(millis(span)),
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
            [name, "connects", channel] => self.connect(name, &arn(channel), false),
            [name, "vanishes"] => {
                let (shard, session) = self.place(name);
                self.input(shard, Input::Ended { session });
            }
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

    fn connect(&mut self, name: &str, arn: &str, wss: bool) {
        self.open(name);
        if name.starts_with('a') {
            return;
        }
        let encoded = arn.replace(':', "%3A").replace('/', "%2F");
        let mut target = format!("/?X-Amz-ChannelARN={encoded}");
        if name.starts_with('v') {
            let id = name.split('-').next().expect("a name");
            target.push_str(&format!("&X-Amz-ClientId={id}"));
        }
        let mut head = Vec::new();
        ws::request(&mut head, "h:8080", &target, "dGhlIHNhbXBsZSBub25jZQ==");
        if wss {
            head.truncate(head.len() - 2);
            head.extend_from_slice(b"Sec-WebSocket-Protocol: wss\r\n\r\n");
        }
        let (shard, session) = self.place(name);
        let bytes = &mut head[..];
        self.input(shard, Input::Received { session, bytes });
    }

    /// A connection that has said nothing, on shard 0.
    fn open(&mut self, name: &str) {
        let peer = Peer {
            remote: ([127, 0, 0, 1], 4000).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let key = self.shards[0].open(peer, self.at).expect("there is room");
        self.clients.push(Client::new(name, key));
    }

    /// One input, and everything that follows from it.
    fn input(&mut self, shard: usize, input: Input<'_, Letter>) {
        self.shards[shard].handle(input, self.at);
        self.obey(VecDeque::new());
    }

    fn obey(&mut self, mut mail: VecDeque<(usize, Letter)>) {
        loop {
            for shard in 0..self.shards.len() {
                while let Some(output) = self.shards[shard].poll_output() {
                    match output {
                        Output::Send(key) => self.keyed(shard, key).announced = true,
                        Output::Reset(_) => {}
                        Output::Drained => self.drained += 1,
                        Output::Post(to, letter) => {
                            if self.refuses && Shard::refusable(&letter) {
                                self.shards[shard].handle(Input::Refused(letter), self.at);
                            } else if let Some(held) = &mut self.held {
                                held.push_back((to.index(), letter));
                            } else {
                                mail.push_back((to.index(), letter));
                            }
                        }
                        Output::HandOver(key, to) if self.leaving => {
                            self.hand_over(shard, key, to.index());
                        }
                        Output::HandOver(..) | Output::Tunnel(..) => {}
                        Output::Close(key) => self.keyed(shard, key).ending = true,
                        Output::Abort(key) => {
                            let client = self.keyed(shard, key);
                            (client.ending, client.stalled) = (true, true);
                        }
                    }
                }
            }
            let Some((to, letter)) = mail.pop_front() else {
                return;
            };
            self.shards[to].handle(Input::Letter(letter), self.at);
        }
    }

    fn hand_over(&mut self, from: usize, key: SessionKey, to: usize) {
        let parcel = self.shards[from].release(key);
        let key_there = self.shards[to].adopt(parcel, self.at);
        let client = self.keyed(from, key);
        (client.shard, client.key) = (to, key_there);
    }

    /// Everybody who reads gets what waits; then connections that ended are gone.
    fn heard(&mut self) -> Vec<String> {
        let mut got = Vec::new();
        loop {
            let before = got.len();
            for place in 0..self.clients.len() {
                let client = &self.clients[place];
                if !client.stalled && (client.announced || client.ending) {
                    self.send(place, usize::MAX);
                }
                got.extend(self.clients[place].reads());
                let client = &self.clients[place];
                if client.ending && !client.over && (client.stalled || self.unsent(place) == 0) {
                    self.clients[place].over = true;
                    got.push(format!("{} < end", self.clients[place].name));
                    let (shard, session) = (self.clients[place].shard, self.clients[place].key);
                    self.input(shard, Input::Gone { session });
                }
            }
            if got.len() == before {
                return got;
            }
        }
    }

    /// The edge sends this many of the unsent bytes.
    fn send(&mut self, place: usize, bytes: usize) {
        let client = &mut self.clients[place];
        if client.over {
            return;
        }
        let unsent = self.shards[client.shard].unsent(client.key);
        let bytes = bytes.min(unsent.len());
        client.stream.extend_from_slice(&unsent[..bytes]);
        client.announced = bytes < unsent.len();
        let (shard, session) = (client.shard, client.key);
        if bytes > 0 {
            self.input(shard, Input::Sent { session, bytes });
        }
    }

    fn unsent(&self, place: usize) -> usize {
        let client = &self.clients[place];
        self.shards[client.shard].unsent(client.key).len()
    }

    /// Time goes from deadline to deadline.
    fn pass(&mut self, ms: u64) {
        let until = self.at.now.0 + ms;
        self.at.wall.0 += ms;
        loop {
            let next = self.shards.iter().filter_map(Machine::deadline).min();
            let Some(next) = next.filter(|next| next.0 <= until) else {
                break;
            };
            self.at.now = self.at.now.max(next);
            self.turns += 1;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::Tick);
            }
        }
        self.at.now = Now(until);
    }

    fn index(&self, name: &str) -> usize {
        let same = |client: &Client| client.name == *name;
        self.clients
            .iter()
            .position(same)
            .unwrap_or_else(|| panic!("who is {name}?"))
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let place = self.index(name);
        &mut self.clients[place]
    }

    fn keyed(&mut self, shard: usize, key: SessionKey) -> &mut Client {
        let mut clients = self.clients.iter_mut();
        let found =
            clients.find(|client| client.shard == shard && client.key == key && !client.over);
        found.expect("an output names a living session")
    }

    fn place(&self, name: &str) -> (usize, SessionKey) {
        let client = &self.clients[self.index(name)];
        (client.shard, client.key)
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
