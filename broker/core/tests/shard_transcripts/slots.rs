//! A shard whose slots come and go: who is admitted, who waits, and what becomes of kept messages.

use crate::shard_transcripts::client::{self, peer};
use crate::shard_transcripts::words::{self, post, upgrade};
use broker_core::cluster::message::{Held, Packed, ReleaseCause, SlotOrder};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::cluster::types::{Incarnation, ParcelId, Revision};
use broker_core::id::{CallRef, Identity, NodeId, SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output};
use broker_core::placement::Placement;
use broker_core::record::{Record, Version};
use broker_core::registry::Store;
use broker_core::settings::{Auth, Settings};
use broker_core::shard::{
    Answer, Letter, NodesAnswer, PageQuestion, Shard, ShardOrder, SlotOrders, Start,
};
use broker_core::testing::{MemoryStore, TestCatalog};
use broker_core::time::{Moment, Now, Wall};
use codec::identifiers::ChannelArn;
use std::{collections::BTreeMap, collections::VecDeque, sync::Arc};

pub(crate) const REGION: &str = "us-west-2";
pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const CHANNEL: &str = "cam";

#[expect(
    clippy::disallowed_types,
    reason = "an end must be Send, as in a server: here one thread has it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Orders for a shard, and its reports.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) orders: VecDeque<ShardOrder>,
    answers: VecDeque<NodesAnswer>,
    served: Vec<Held>,
    pub(crate) admitted: Vec<Held>,
    pub(crate) packed: Vec<Vec<u8>>,
    pub(crate) lists: Vec<(CallRef, PageQuestion)>,
    pub(crate) counts: Vec<(CallRef, Box<str>)>,
    pub(crate) is_full: bool, // no more questions to all nodes are taken
}

#[derive(Clone, Default)]
pub(crate) struct End(Arc<Mutex<Desk>>);

impl SlotOrders for End {
    fn next(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>) {
        let mut desk = self.0.lock().expect("one thread");
        (desk.orders.pop_front(), desk.answers.pop_front())
    }

    fn served(&mut self, held: Held) {
        self.0.lock().expect("one thread").served.push(held);
    }

    fn admitted(&mut self, held: Held) {
        self.0.lock().expect("one thread").admitted.push(held);
    }

    fn packed(&mut self, _: Held, _: ParcelId, messages: Vec<u8>) {
        self.0.lock().expect("one thread").packed.push(messages);
    }

    fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool {
        let mut desk = self.0.lock().expect("one thread");
        (!desk.is_full)
            .then(|| desk.lists.push((caller, question)))
            .is_some()
    }

    fn count(&mut self, caller: CallRef, tenant: &str) -> bool {
        let mut desk = self.0.lock().expect("one thread");
        (!desk.is_full)
            .then(|| desk.counts.push((caller, tenant.into())))
            .is_some()
    }
}

pub(crate) struct Node {
    pub(crate) shard: Shard,
    pub(crate) map: Arc<SlotMap>,
    pub(crate) catalog: Arc<TestCatalog>,
    end: End,
    pub(crate) at: Moment,
    streams: BTreeMap<SessionKey, Vec<u8>>,
    stalls: bool,                   // sockets take nothing: what is launched stays so
    pub(crate) unacknowledged: u32, // bytes that the kernel holds of each connection
}

impl Node {
    /// A node that may admit for ten seconds.
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::with_store(settings, Box::new(MemoryStore))
    }

    pub(crate) fn with_store(settings: Settings, store: Box<dyn Store>) -> Self {
        let auth = Auth::None;
        let settings = Settings { auth, ..settings };
        let map = Arc::new(SlotMap::unknown(NodeId(0)));
        map.set_key(&[7; 16]);
        map.set_valid_until(Now(11_000));
        map.set_knows_absence(true);
        let placement = Placement::new([1, 2, 3, 4], 1).in_cluster(Arc::clone(&map));
        let (end, catalog) = (End::default(), Arc::<TestCatalog>::default());
        let start = Start {
            catalog: catalog.clone(),
            store,
            slot_orders: Some(Box::new(end.clone())),
            ..Start::bare(Arc::new(settings), ShardId(0), placement, [5, 6, 7, 8])
        };
        Self {
            shard: Shard::new(start),
            map,
            catalog,
            end,
            at: words::first_moment(),
            streams: BTreeMap::new(),
            stalls: false,
            unacknowledged: 0,
        }
    }

    /// A node that has the channel, with these messages.
    pub(crate) fn serving(messages: Option<Vec<u8>>) -> Self {
        let mut node = Self::new();
        let parcel = messages.is_some().then(parcel);
        node.order(ShardOrder {
            messages: messages.map(Into::into),
            ..serve(held(&node.map), vec![record()], parcel)
        });
        assert_eq!(node.desk(|desk| desk.served.len()), 1);
        let slot = held(&node.map).slot;
        node.map.assign(slot, Some(NodeId(0)));
        node
    }

    /// Its slot is here, with these channels.
    pub(crate) fn take_slot(&mut self, records: Vec<Record>) {
        let held = held(&self.map);
        self.order(serve(held, records, None));
        self.map.assign(held.slot, Some(NodeId(0)));
    }

    pub(crate) fn desk<R>(&self, look: impl FnOnce(&mut Desk) -> R) -> R {
        look(&mut self.end.0.lock().expect("one thread"))
    }

    pub(crate) fn order(&mut self, order: impl Into<ShardOrder>) {
        self.desk(|desk| desk.orders.push_back(order.into()));
        self.input(Input::Letter(Letter::Slots));
        self.tick(0);
    }

    /// All nodes together answer a call's question.
    pub(crate) fn answer(&mut self, caller: CallRef, answer: impl Into<Answer>) {
        let answer = Box::new(answer.into());
        self.desk(|desk| desk.answers.push_back((caller, answer)));
        self.input(Input::Letter(Letter::Slots));
        self.tick(0);
    }

    pub(crate) fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
        while let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
        }
    }

    pub(crate) fn carry_out(&mut self, output: Output<Letter>) {
        match output {
            Output::Send(key) => self.send(key),
            Output::Close(key) | Output::Abort(key) => {
                self.shard
                    .handle(client::gone(key, self.unacknowledged), self.at);
            }
            Output::HandOver(..) | Output::PassOn(..) | Output::Admin(_) | Output::Post(..) => {}
            Output::Ask(session) => self.shard.handle(
                Input::Unacknowledged {
                    session,
                    bytes: self.unacknowledged,
                    round_trip_ms: 0,
                },
                self.at,
            ),
            Output::Displace(_)
            | Output::LoseOwner(_)
            | Output::Leave(_)
            | Output::KeepAlive(_)
            | Output::Reset(_)
            | Output::Drained => {}
        }
    }

    /// A session that came back: what was to be done for it is done.
    pub(crate) fn adopt(&mut self, session: SessionKey) {
        self.streams.insert(session, Vec::new());
        while let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
        }
    }

    fn send(&mut self, key: SessionKey) {
        let bytes = self.shard.unsent(key).to_vec();
        if bytes.is_empty() {
            return;
        }
        if self.stalls {
            self.shard.launched(key, bytes.len());
            return;
        }
        self.streams.entry(key).or_default().extend(&bytes);
        let sent = client::sent(key, bytes.len());
        self.shard.handle(sent, self.at);
    }

    /// Goes on, until this moment at most, until the shard puts out what `pick` takes; all else is carried out.
    pub(crate) fn next<T>(
        &mut self,
        until: Now,
        pick: impl Fn(&Output<Letter>) -> Option<T>,
    ) -> Option<T> {
        loop {
            while let Some(output) = self.shard.poll_output() {
                let found = pick(&output);
                if found.is_some() {
                    return found;
                }
                self.carry_out(output);
            }
            let due = self.shard.deadline().filter(|due| *due <= until)?;
            self.at.now = due.max(self.at.now);
            self.shard.handle(Input::Tick, self.at);
        }
    }

    /// The first request that is passed on within this time, where, and when.
    pub(crate) fn passed_on(&mut self, ms: u64) -> Option<(SessionKey, NodeId, Now)> {
        let to = |output: &Output<Letter>| {
            let Output::PassOn(key, to) = output else {
                return None;
            };
            Some((*key, *to))
        };
        let (key, to) = self.next(self.at.now.after(ms), to)?;
        Some((key, to, self.at.now))
    }

    /// Time passes, and everything that is due is done.
    pub(crate) fn tick(&mut self, ms: u64) {
        let until = self.at.now.after(ms);
        while let Some(next) = self.shard.deadline().filter(|next| *next <= until) {
            self.at.now = next.max(self.at.now);
            self.input(Input::Tick);
        }
        self.at.now = until;
        self.input(Input::Tick);
    }

    pub(crate) fn connect(&mut self, client_id: Option<&str>) -> SessionKey {
        self.ask(&upgrade(arn().as_str(), client_id))
    }

    /// A call, on a connection of its own.
    pub(crate) fn call(&mut self, path: &str, body: &str) -> SessionKey {
        self.ask(&post(path, body))
    }

    pub(crate) fn ask(&mut self, request: &[u8]) -> SessionKey {
        let session = self.shard.open(peer(), self.at).expect("there is room");
        self.streams.insert(session, Vec::new());
        self.receive(session, request);
        session
    }

    pub(crate) fn receive(&mut self, session: SessionKey, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let bytes = &mut bytes[..];
        self.input(Input::Received { session, bytes });
    }

    /// A message of a client, masked with zeros.
    pub(crate) fn says(&mut self, session: SessionKey, text: &str) {
        let length = u8::try_from(text.len()).expect("short");
        assert!(length < 126, "the length of seven bits");
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.receive(session, &frame);
    }

    pub(crate) fn heard(&self, session: SessionKey) -> String {
        String::from_utf8_lossy(&self.streams[&session]).into_owned()
    }

    /// Requests that wait for a node that has their channel.
    pub(crate) fn parked(&mut self) -> usize {
        usize::try_from(self.shard.snapshot().parked).expect("a few")
    }

    /// Asserts that all messages received have ended or wait, and that nothing is forgotten.
    pub(crate) fn assert_balanced(&mut self) {
        assert_eq!(self.shard.snapshot().counters.unaccounted(), 0);
        assert_eq!(self.shard.forgotten(self.at.now), 0);
    }
}

pub(crate) fn arn() -> ChannelArn {
    let text = format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/{CHANNEL}/17");
    ChannelArn::parse(&text, true).expect("an ARN")
}

pub(crate) fn record() -> Record {
    Record {
        arn: arn(),
        ttl_seconds: 60,
        created: Wall(17),
        version: Version::from_bytes([b'v'; 20]).expect("letters"),
        tags: Vec::new().into(),
    }
}

pub(crate) fn held(map: &SlotMap) -> Held {
    let slot = map.slot(&Identity::of(&arn())).expect("the key is known");
    let epoch = Revision(9);
    Held { slot, epoch }
}

pub(crate) fn serve(held: Held, records: Vec<Record>, parcel: Option<ParcelId>) -> ShardOrder {
    ShardOrder {
        records,
        ..SlotOrder::Serve(held, parcel, 1).into()
    }
}

pub(crate) fn parcel() -> ParcelId {
    let giver = Incarnation {
        directory: 1,
        start: 1,
    };
    ParcelId { giver, number: 1 }
}

fn offer(payload: &str) -> String {
    format!("{{\"action\":\"SDP_OFFER\",\"messagePayload\":\"{payload}\"}}")
}

pub(crate) const UPGRADED: &str = "HTTP/1.1 101 ";

#[test]
fn nobody_is_admitted_beyond_what_the_node_may() {
    let mut node = Node::serving(None);
    let early = node.connect(Some("v1"));
    assert!(node.heard(early).starts_with(UPGRADED));
    node.tick(10_000);
    let late = node.connect(Some("v2"));
    node.tick(3_100);
    let fine = node.heard(late).starts_with("HTTP/1.1 503 ");
    assert!(fine, "{}", node.heard(late));
    node.map.set_valid_until(Now(100_000));
    let again = node.connect(Some("v2"));
    assert!(node.heard(again).starts_with(UPGRADED));
}

#[test]
fn kept_messages_go_with_their_slot() {
    let mut giver = Node::serving(None);
    let viewer = giver.connect(Some("v1"));
    let candidate = offer("Y2Fu").replace("SDP_OFFER", "ICE_CANDIDATE");
    giver.says(viewer, &candidate);
    giver.says(viewer, &offer("b2ZmZXI="));
    giver.order(SlotOrder::Pause(held(&giver.map), parcel()));
    let packed = giver
        .desk(|desk| desk.packed.pop())
        .expect("no connection has begun anything");
    assert!(giver.heard(viewer).contains("Going away"), "closed");
    giver.order(SlotOrder::Release(
        held(&giver.map),
        ReleaseCause::Transferred,
    ));
    let snapshot = giver.shard.snapshot();
    let found = (snapshot.channels, snapshot.counters.pending_messages);
    assert_eq!(found, (0, 0));
    assert_eq!(snapshot.counters.pending_bytes, 0);
    giver.assert_balanced();

    let mut taker = Node::serving(Some(packed));
    assert_eq!(taker.shard.snapshot().counters.pending_messages, 2);
    let master = taker.connect(None);
    let heard = taker.heard(master);
    let [early, offer] = ["Y2Fu", "b2ZmZXI="].map(|payload| heard.find(payload));
    assert!(early.is_some() && early < offer, "{heard}");
    assert!(taker.heard(master).contains("\"senderClientId\":\"v1\""));
    assert_eq!(taker.shard.snapshot().counters.pending_messages, 0);
    taker.assert_balanced();
}

#[test]
fn a_parcel_that_comes_late_is_delivered_to_who_is_here() {
    let mut giver = Node::serving(None);
    let viewer = giver.connect(Some("v1"));
    giver.says(viewer, &offer("bGF0ZQ=="));
    let cause = ReleaseCause::Superseded(Some(parcel()));
    giver.order(SlotOrder::Release(held(&giver.map), cause));
    let packed = giver.desk(|desk| desk.packed.pop()).expect("packed");
    assert_eq!(giver.shard.snapshot().channels, 0);
    giver.assert_balanced();
    let mut taker = Node::serving(None);
    let master = taker.connect(None);
    taker.order(ShardOrder {
        messages: Some(packed.into()),
        ..SlotOrder::Merge(held(&taker.map), parcel()).into()
    });
    let fine = taker.heard(master).contains("bGF0ZQ==");
    assert!(fine, "{}", taker.heard(master));
    taker.assert_balanced();
}

#[test]
fn a_message_that_was_begun_is_waited_for() {
    for is_delivered in [true, false] {
        let mut node = Node::serving(None);
        let (master, viewer) = (node.connect(None), node.connect(Some("v1")));
        node.stalls = true;
        node.says(viewer, &offer("YmVndW4="));
        node.order(SlotOrder::Pause(held(&node.map), parcel()));
        let found = node.desk(|desk| desk.packed.len());
        assert_eq!(found, 0, "it may be handed over yet");
        node.stalls = false;
        if is_delivered {
            node.input(client::sent(master, FRAME_BYTES));
        } else {
            node.input(client::gone(master, 0));
        }
        node.tick(10);
        let packed = node
            .desk(|desk| desk.packed.pop())
            .expect("nothing is begun any more");
        let goes_along = String::from_utf8_lossy(&packed).contains("YmVndW4=");
        assert_eq!(goes_along, !is_delivered);
        node.assert_balanced();
    }
}

/// The frame that was begun: a header of two bytes, and the message.
const FRAME_BYTES: usize =
    2 + r#"{"messagePayload":"YmVndW4=","messageType":"SDP_OFFER","senderClientId":"v1"}"#.len();

#[test]
fn a_connection_that_hands_nothing_over_is_not_waited_for_long() {
    let mut node = Node::serving(None);
    let (_, viewer) = (node.connect(None), node.connect(Some("v1")));
    node.stalls = true;
    node.says(viewer, &offer("c3R1Y2s="));
    node.order(SlotOrder::Pause(held(&node.map), parcel()));
    node.tick(1_300);
    let packed = node.desk(|desk| desk.packed.pop()).expect("it was cut off");
    assert!(String::from_utf8_lossy(&packed).contains("c3R1Y2s="));
    node.assert_balanced();
}

#[test]
fn a_slot_that_stays_keeps_its_messages_or_withdraws_them() {
    for (packed, kept) in [(Packed::Kept, 1), (Packed::Withdrawn, 0)] {
        let mut node = Node::serving(None);
        let viewer = node.connect(Some("v1"));
        node.says(viewer, &offer("c3RheXM="));
        node.order(SlotOrder::Pause(held(&node.map), parcel()));
        node.order(SlotOrder::Resume(held(&node.map), packed));
        assert_eq!(node.desk(|desk| desk.served.len()), 2);
        let snapshot = node.shard.snapshot();
        let found = (snapshot.channels, snapshot.counters.pending_messages);
        assert_eq!(found, (1, kept));
        let master = node.connect(None);
        assert_eq!(node.heard(master).contains("c3RheXM="), kept == 1);
        node.assert_balanced();
    }
}

#[test]
fn a_node_that_is_alone_closes_all_connections() {
    let mut node = Node::serving(None);
    let all = [
        node.connect(None),
        node.connect(Some("v1")),
        node.connect(Some("v2")),
    ];
    node.order(SlotOrder::CloseAll);
    node.tick(2_100);
    for session in all {
        assert!(node.heard(session).contains("Going away"));
    }
    assert_eq!(node.shard.snapshot().channels, 1, "its records stay");
    node.assert_balanced();
}
