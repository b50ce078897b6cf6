//! The nodes of a test, and what they serve. After each order, checks that every slot and epoch has at most one node.

use crate::network::Network;
use crate::server::{Etcd, Scratch};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::link::LinkTable;
use broker_core::cluster::message::{Ending, Held, Packed, Parcel, SlotOrder};
use broker_core::cluster::secret::ClusterSecret;
use broker_core::cluster::types::{Epoch, ParcelId, Slot};
use broker_core::record::Record;
use broker_core::registry::{StoreError, Ticket};
use broker_etcd::{
    Driver, Handle, HostService, InnerAddress, Inspection, Name, News, NodeConfig, Options,
    TcpPeers,
};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::Ipv4Addr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// A record of what the processes of a test did.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The process that served a slot under each epoch.
    epochs: HashMap<(Slot, Epoch), String>,
    /// The slots that each process serves now.
    pub(crate) serving: HashMap<String, BTreeMap<Slot, Epoch>>,
    /// The identities of the channels that a load delivered, by process and slot.
    pub(crate) loaded: HashMap<(String, Slot), Vec<String>>,
    /// Pending messages, by process and slot.
    pub(crate) pending: HashMap<(String, Slot), Vec<u8>>,
    packed: HashMap<ParcelId, Vec<u8>>,
    kept: HashMap<ParcelId, Vec<u8>>,
    /// The outcomes of record changes.
    pub(crate) written: Vec<(Ticket, Result<(), StoreError>)>,
    /// Receives the same outcomes, if set.
    pub(crate) tell: Option<Sender<(Ticket, Result<(), StoreError>)>>,
    pub(crate) alone: u32,
    /// Number of operators' orders to drain.
    pub(crate) asked_to_drain: u32,
    pub(crate) endings: Vec<(String, Ending)>,
    /// The nodes that were reported as the reason why a process ended.
    pub(crate) ended_for: Vec<String>,
    faults: Vec<String>,
}

impl Book {
    /// Forgets which process served which slot and epoch, so that later epochs are no longer compared with earlier
    /// ones.
    pub(crate) fn forget_epochs(&mut self) {
        self.epochs.clear();
    }

    /// Returns the identities of all channels that a process has loaded, sorted.
    pub(crate) fn records_of(&self, process: &str) -> Vec<String> {
        let own = self.loaded.iter().filter(|((of, _), _)| of == process);
        let mut all: Vec<String> = own.flat_map(|(_, names)| names.iter().cloned()).collect();
        all.sort_unstable();
        all
    }
}

/// A network of nodes, and the record of what they do.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    network: Network,
    /// Whether messages are sent over TCP on loopback instead of through `network`.
    is_over_tcp: bool,
    book: Arc<Mutex<Book>>,
}

impl World {
    /// Creates a world in which nodes send messages to each other over TCP.
    pub(crate) fn over_tcp() -> Self {
        Self {
            is_over_tcp: true,
            ..Self::default()
        }
    }

    /// Starts a node with a data directory of its own.
    pub(crate) fn node(&self, name: &str, etcd: &Etcd) -> Node {
        self.node_with(name, etcd.options())
    }

    /// Like [`Self::node`], with these options for etcd.
    pub(crate) fn node_with(&self, name: &str, options: Options) -> Node {
        self.node_of_secret(name, options, &SECRET.repeat(32))
    }

    /// Like [`Self::node_with`], with this text in the file that contains the secret.
    pub(crate) fn node_of_secret(&self, name: &str, options: Options, secret: &str) -> Node {
        // The log is shown if the test fails. All tests of a process share one subscriber.
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_ansi(false)
            .try_init();
        let mut node = Node {
            name: name.to_owned(),
            world: self.clone(),
            options,
            directory: Scratch::new(name),
            inner: "10.0.0.1:7443",
            secret: secret.to_owned(),
            handle: None,
            starts: 0,
        };
        node.start(false);
        node
    }

    /// Starts a process on another machine under the name of a node. It has another address, and either a copy of the
    /// node's data directory or an empty one.
    pub(crate) fn namesake(&self, of: &Node, options: Options, is_copy: bool) -> Node {
        let directory = Scratch::new(&of.name);
        if is_copy {
            let file = "cluster.json";
            fs::copy(of.directory.0.join(file), directory.0.join(file)).unwrap();
        }
        let starts = of.starts + 10 * u32::try_from(self.book().serving.len()).unwrap_or(1);
        let mut node = Node {
            name: of.name.clone(),
            world: self.clone(),
            options,
            directory,
            inner: ELSEWHERE,
            secret: of.secret.clone(),
            handle: None,
            starts,
        };
        node.start(false);
        node
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Returns the total number of slots that the nodes serve.
    pub(crate) fn served(&self) -> usize {
        self.book().serving.values().map(BTreeMap::len).sum()
    }

    /// Waits until every slot is served.
    pub(crate) fn all_served(&self, within: Duration) {
        let mut most = 0;
        let served = wait_or(within, || {
            most = most.max(self.served());
            most == usize::from(SLOTS)
        });
        let fine = served.is_some();
        assert!(fine, "{most} slots are served within {within:?}");
        self.sound();
    }

    /// Fails if any rule has been broken so far.
    pub(crate) fn sound(&self) {
        let book = self.book();
        assert!(book.faults.is_empty(), "{:#?}", book.faults);
    }
}

/// A node of a test: its directory, and its process while it is running.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    world: World,
    pub(crate) options: Options,
    directory: Scratch,
    /// Address for connections of clients.
    inner: &'static str,
    /// The text in the file that contains the secret.
    secret: String,
    handle: Option<Handle>,
    starts: u32,
}

impl Node {
    pub(crate) fn config(&self, accept_etcd: bool) -> NodeConfig {
        NodeConfig {
            cluster: "test".into(),
            node: self.name.as_str().into(),
            inner: InnerAddress::new(self.inner, &[7443, 7445]),
            peers: "10.0.0.1:7444".into(),
            directory: self.directory.0.clone(),
            proofs: self.secret().proof_keys("test"),
            etcd: self.options.clone(),
            etcd_quota_bytes: 2 << 30,
            lease_ms: 5_000,
            presence: 0,
            accept_etcd,
            build: ("0123abcd".into(), 7),
        }
    }

    fn secret(&self) -> ClusterSecret {
        ClusterSecret::parse(&self.secret).unwrap()
    }

    /// Starts the node's process, with the directory of the previous one.
    pub(crate) fn start(&mut self, accept_etcd: bool) {
        assert!(self.handle.is_none(), "one process a node");
        self.starts += 1;
        let process = format!("{}.{}", self.name, self.starts);
        self.world
            .book()
            .serving
            .insert(process.clone(), BTreeMap::new());
        let parcels = Arc::new(OnceLock::new());
        let shards = Shards {
            process,
            book: Arc::clone(&self.world.book),
            parcels: Arc::clone(&parcels),
        };
        let (network, name) = (self.world.network.clone(), Name::new(&self.name).unwrap());
        let mut config = self.config(accept_etcd);
        let handle = if self.world.is_over_tcp {
            let secret = self.secret();
            let any = (Ipv4Addr::LOCALHOST, 0).into();
            let peers = TcpPeers::bind(any, &name, &secret, &config.cluster).unwrap();
            config.peers = peers.address().to_string().into();
            Driver::start(config, shards, move |mailbox| peers.start(mailbox))
        } else {
            Driver::start(config, shards, move |mailbox| network.join(name, mailbox))
        };
        let handle = handle.unwrap();
        parcels.set(handle.commands()).unwrap();
        self.handle = Some(handle);
    }

    /// Ends the node's process as a crash would.
    pub(crate) fn crash(&mut self) {
        self.handle = None;
        self.world.book().serving.remove(&self.process());
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("it runs")
    }

    pub(crate) fn inspect(&self) -> Inspection {
        self.handle().commands().inspect().expect("it runs")
    }

    /// Returns whether the node's last process has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        let process = self.process();
        let book = self.world.book();
        book.endings.iter().any(|(of, _)| *of == process)
    }

    /// Returns the number of slots that the node serves.
    pub(crate) fn serves(&self) -> usize {
        self.world
            .book()
            .serving
            .get(&self.process())
            .map_or(0, BTreeMap::len)
    }

    /// Returns the epochs of all slots as known to this node.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        self.inspect()
            .slots
            .into_iter()
            .map(|(_, epoch)| epoch)
            .collect()
    }

    /// Returns the name of the node's last process, as used in the book.
    pub(crate) fn process(&self) -> String {
        format!("{}.{}", self.name, self.starts)
    }
}

/// An address on another machine.
pub(crate) const ELSEWHERE: &str = "10.0.0.2:7443";

/// Two digits, which are repeated to form the usual secret.
pub(crate) const SECRET: &str = "0f";

/// Waits for a condition. `within` is the limit on a quiet machine; `deploy/ci/check.sh` sets a factor for slower ones.
pub(crate) fn wait(what: &str, within: Duration, is_so: impl FnMut() -> bool) -> Duration {
    let slow = std::env::var("HELIOGRAPH_TESTS_SLOW").ok();
    let slow = slow.and_then(|it| it.parse::<u32>().ok());
    let within = within * slow.unwrap_or(1).max(1);
    wait_or(within, is_so).unwrap_or_else(|| panic!("not within {within:?}: {what}"))
}

/// Waits for a condition and returns how long it took, or `None` if it took longer than `within`.
pub(crate) fn wait_or(within: Duration, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(began.elapsed())
}

/// Asserts that a condition does not occur within this time.
pub(crate) fn never(what: &str, within: Duration, is_so: impl FnMut() -> bool) {
    assert!(wait_or(within, is_so).is_none(), "{what}");
}

/// The shards of a process.
struct Shards {
    process: String,
    book: Arc<Mutex<Book>>,
    parcels: Arc<OnceLock<broker_etcd::Commands>>,
}

impl Shards {
    fn key(&self, slot: Slot) -> (String, Slot) {
        (self.process.clone(), slot)
    }

    fn serve(&self, book: &mut Book, held: Held) {
        let Held { slot, epoch } = held;
        let former = book.epochs.insert((slot, epoch), self.process.clone());
        if former.is_some_and(|former| former != self.process) {
            book.faults
                .push(format!("{slot:?} at {epoch:?} has two owners"));
        }
        if let Some(serving) = book.serving.get_mut(&self.process) {
            serving.insert(slot, epoch);
        }
    }

    fn unserve(&self, book: &mut Book, slot: Slot) {
        if let Some(serving) = book.serving.get_mut(&self.process) {
            serving.remove(&slot);
        }
    }
}

impl HostService for Shards {
    fn order(&mut self, order: SlotOrder) {
        let book = Arc::clone(&self.book);
        let mut book = book.lock().unwrap();
        match order {
            SlotOrder::Serve(held, parcel, _) => {
                self.serve(&mut book, held);
                let messages = parcel
                    .and_then(|id| book.kept.remove(&id))
                    .unwrap_or_default();
                book.pending
                    .entry(self.key(held.slot))
                    .or_default()
                    .extend(messages);
            }
            SlotOrder::Merge(held, id) => {
                let messages = book.kept.remove(&id).unwrap_or_default();
                book.pending
                    .entry(self.key(held.slot))
                    .or_default()
                    .extend(messages);
            }
            SlotOrder::Pause(held, id) => {
                self.unserve(&mut book, held.slot);
                // The messages stay, as they do on a real shard, until it is known which node owns the slot.
                let messages = book.pending.get(&self.key(held.slot));
                let messages = messages.cloned().unwrap_or_default();
                book.packed.insert(id, messages);
            }
            SlotOrder::Resume(held, packed) => {
                self.serve(&mut book, held);
                if packed == Packed::Withdrawn {
                    book.faults.push("pending messages were withdrawn".into());
                }
            }
            SlotOrder::Release(held, _) => {
                self.unserve(&mut book, held.slot);
                book.pending.remove(&self.key(held.slot));
            }
            SlotOrder::CloseAll => book.alone += 1,
        }
    }

    fn load(&mut self, held: Held) {
        let mut book = self.book.lock().unwrap();
        book.loaded.remove(&self.key(held.slot));
    }

    fn keep(&mut self, id: ParcelId, bytes: Vec<u8>) -> bool {
        self.book.lock().unwrap().kept.insert(id, bytes);
        true
    }

    fn discard(&mut self, id: ParcelId) {
        self.book.lock().unwrap().kept.remove(&id);
    }

    fn send(&mut self, to: Name, parcel: Parcel) {
        let book = self.book.lock().unwrap();
        let messages = book.packed.get(&parcel.id).cloned().unwrap_or_default();
        if let Some(parcels) = self.parcels.get() {
            parcels.parcel(to, parcel, messages);
        }
    }

    fn drain(&mut self) {
        self.book.lock().unwrap().asked_to_drain += 1;
    }

    fn exit(&mut self, ending: Ending, others: Vec<String>) {
        let mut book = self.book.lock().unwrap();
        book.endings.push((self.process.clone(), ending));
        book.ended_for.extend(others);
    }

    fn waiting(&self) -> u64 {
        0
    }

    fn credentials(&self) -> Option<[u8; 32]> {
        None
    }

    fn links(&self) -> LinkTable {
        LinkTable::new()
    }

    fn learn(&mut self, _: News) {}

    fn inquired(&mut self, _: Name, _: u64, _: Vec<u8>) {}

    fn replied(&mut self, _: Name, _: u64, _: Vec<u8>) {}

    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>) {
        let mut book = self.book.lock().unwrap();
        book.written.push((ticket, result.clone()));
        if let Some(tell) = &book.tell {
            let _ = tell.send((ticket, result));
        }
    }

    fn records(&mut self, held: Held, records: Vec<Record>) {
        let names = records
            .iter()
            .map(|record| record.arn.identity().to_owned());
        let mut book = self.book.lock().unwrap();
        book.loaded
            .entry(self.key(held.slot))
            .or_default()
            .extend(names);
    }
}
