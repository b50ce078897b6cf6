//! The node in a cluster with etcd: the thread that follows the cluster, and its interface to the shards.
//!
//! ```text
//!   etcd, other nodes ◄──► thread `cluster` (broker-etcd) ──► Shards ──► Desk ──► Letter::Slots
//!                                    ▲                          │         │ ◄────── served, packed
//!                                    │                          └─────────│──► the map of slots, links
//!                                    └── parcels ─────────────────────────┘
//! ```

use crate::data_dir::DataDir;
use crate::edge::Links;
use crate::edge::turn::calendar;
use crate::edge::turn::shards_now;
use crate::etcd_options::{self, EtcdFiles};
use crate::failure::{Failure, Fallible};
use crate::registry::ProcessCatalog;
use crate::server::cluster::inquiries::{self, Event, Inquiries};
use crate::server::cluster::slot_orders::{Desk, Journal, NodeNews, ShardsOfNode, Tallies};
use crate::server::mailboxes::Mailboxes;
use crate::server::{cluster::EtcdPart, random::seeds};
use crate::side::{AskedPath, ClusterPage, ClusterView, InForce, NodePages, NodeView, Shared};
use crate::version::COMMIT_LABEL;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::cluster::types::Kinship;
use broker_core::id::Slot;
use broker_core::settings::Settings;
use broker_core::{placement::Placement, readiness::Readiness};
use broker_etcd::{
    Driver, Handle, InnerAddress, Inspection, Name, NodeConfig, NodeState, PeerCounts,
    PeerListener, TcpPeers,
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use tokio::sync::{mpsc, oneshot};

/// Number of descriptors that a node needs in addition to the descriptors of its clients and shards.
pub(crate) const DESCRIPTORS: usize = broker_etcd::limits::DESCRIPTORS_MAX;

/// Handle to a running node. To the other nodes, dropping it looks as if the process had been killed.
pub(crate) struct Node {
    pub(crate) files: EtcdFiles,
    pub(crate) handle: Handle,
    pub(crate) catalog: Arc<ProcessCatalog>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) map: Arc<SlotMap>,
    /// The receiver of the node's reports. The node sends a report when an operator requests a drain, and one last
    /// report when it ends.
    pub(crate) news: Receiver<NodeNews>,
    pub(crate) tallies: Shared<Tallies>,
    /// The source of the current credentials, which the node reports to operators.
    pub(crate) in_force: Arc<OnceLock<InForce>>,
    names: (String, String),
    /// Counts messages sent to and received from other nodes, lost messages, and refused connections.
    counts: Arc<PeerCounts>,
    pages: NodePages,
}

impl Node {
    /// Spawns the node's thread without waiting for etcd. No client is served until etcd responds. Fails with
    /// [`Failure::Configuration`] if a file is invalid, and with [`Failure::Fatal`] if the system prevents the start.
    pub(crate) fn start(
        settings: &Settings,
        (data_dir, readiness, epoch): (&DataDir, Readiness, u64),
        (part, map, links): (&EtcdPart, &Arc<SlotMap>, &Arc<Links>),
        placement: &Placement,
        mailboxes: &Mailboxes,
    ) -> Fallible<Self> {
        let listen = settings
            .cluster
            .listen
            .ok_or_else(|| fatal(&"cluster.listen is not set"))?;
        let carrier = carrier(settings, part)?;
        // The files have been validated already.
        let files = EtcdFiles::open(&settings.cluster.etcd)
            .map_err(|faults| Failure::Configuration(etcd_options::told(&faults)))?;
        let config = NodeConfig {
            cluster: part.name.as_str().into(),
            node: part.node.as_str().into(),
            inner: InnerAddress::new(
                &settings.cluster.advertised(listen),
                &settings.cluster.ports,
            ),
            peers: settings.cluster.advertised(carrier.address()).into(),
            directory: data_dir.path().into(),
            proofs: part.secret.proof_keys(&part.name),
            etcd: files.options(),
            etcd_quota_bytes: settings.cluster.etcd_quota_bytes as u64,
            lease_ms: settings.cluster.lease_ms,
            presence: epoch,
            accept_etcd: settings.accept_etcd,
            build: (COMMIT_LABEL.into(), calendar().0 / 1000),
        };
        let (inquiries, asked) = bounded(inquiries::EVENTS_MAX);
        let asking = inquiries.clone();
        let shared = (Arc::clone(map), Arc::clone(mailboxes));
        let desk = Arc::new(Desk::new(shared, inquiries, Journal::open(&part.node)?));
        let (report, news) = unbounded();
        let (tallies, in_force) = (Shared::<Tallies>::default(), Arc::default());
        let shards = ShardsOfNode {
            desk: Arc::clone(&desk),
            links: Arc::clone(links),
            placement: placement.clone(),
            report,
            tallies: tallies.clone(),
            in_force: Arc::clone(&in_force),
            readiness,
            loading: HashMap::new(),
            kept: HashMap::new(),
            kept_bytes: 0,
        };
        let counts = carrier.counts();
        let handle = Driver::start(config, shards, move |mailbox| carrier.start(mailbox));
        let handle = handle.map_err(|error| fatal(&error))?;
        // Nothing else sets `parcels`, so this cannot fail.
        let _ = desk.parcels.set(handle.commands());
        let (paths, asked_paths) = mpsc::channel(inquiries::PATHS_MAX);
        let [first_inquiry, ..] = seeds()?;
        let others = (handle.commands(), first_inquiry);
        let catalog = Arc::<ProcessCatalog>::default();
        let read = (Arc::clone(map), catalog.clone() as _);
        let inquiries = Inquiries::new(&desk, read, others, paths);
        let thread = Builder::new().name("inquiries".into());
        let started = thread.spawn(move || inquiries.run(&asked));
        started.map_err(|error| fatal(&error))?;
        Ok(Self {
            files,
            handle,
            catalog,
            desk,
            map: Arc::clone(map),
            news,
            tallies,
            in_force,
            names: (part.name.clone(), part.node.clone()),
            counts,
            pages: pages(&part.node, asking, asked_paths, Arc::clone(map)),
        })
    }

    /// Tells the node whether a shard hangs. While one does, the node does not renew its registration. Returns `false`
    /// if the node's thread does not accept commands.
    pub(crate) fn stuck(&self, stuck: bool) -> bool {
        let taken = self.handle.stuck(stuck);
        if !taken {
            tracing::error!(
                "the cluster thread does not accept commands: it has ended, or its queue is full"
            );
        }
        taken
    }

    pub(crate) fn page(&self) -> ClusterPage {
        let (inspector, (cluster, node)) = (self.handle.commands(), self.names.clone());
        let (asked, counts) = (inspector.clone(), Arc::clone(&self.counts));
        let tallies = self.tallies.clone();
        let look = move || {
            let inspection = inspector.inspect()?;
            let mut view = view((&cluster, &node), inspection, &counts);
            let links = tallies.lock().links.clone();
            for node in &mut view.nodes {
                node.links = links.get(&*node.name).copied().unwrap_or_default();
            }
            Some(view)
        };
        ClusterPage {
            look: Arc::new(look),
            rebalance: Arc::new(move || asked.rebalance()),
        }
    }

    pub(crate) fn pages(&self) -> NodePages {
        let look = self.page().look;
        let silent = move || {
            let view = look();
            let silent = view.iter().flat_map(ClusterView::silent);
            silent.map(|node| node.name.clone()).collect()
        };
        NodePages {
            silent: Arc::new(silent),
            ..self.pages.clone()
        }
    }

    pub(crate) fn slots(&self) -> usize {
        let own = Some(self.map.own());
        let slots = (0..SLOTS).map(Slot);
        slots.filter(|slot| self.map.owner_of(*slot) == own).count()
    }
}

fn fatal(error: &dyn std::fmt::Display) -> Failure {
    Failure::Fatal(format!("the node cannot join its cluster: {error}"))
}

fn carrier(settings: &Settings, part: &EtcdPart) -> Fallible<PeerListener> {
    let node = Name::new(&part.node).ok_or_else(|| fatal(&"its name is invalid"))?;
    let peers = settings.cluster.peers().ok_or_else(|| {
        fatal(&"there is no port after that of cluster.listen: set cluster.peers")
    })?;
    TcpPeers::bind(peers, &node, &part.secret, &part.name).map_err(|error| {
        Failure::Configuration(format!(
            "cluster.peers = {peers}: must be an address of this machine with a free port; unless set, it is the \
             port after that of cluster.listen: {error}"
        ))
    })
}

fn pages(
    own: &str,
    asking: Sender<Event>,
    asked: mpsc::Receiver<AskedPath>,
    map: Arc<SlotMap>,
) -> NodePages {
    let posting = asking.clone();
    NodePages {
        own: own.into(),
        silent: Arc::new(Vec::new),
        owner: Arc::new(move |channel| {
            let owner = map.owner(channel, shards_now())?;
            Some(map.name(owner).into())
        }),
        post: Arc::new(move |node, path, posted| {
            let (to, replies) = oneshot::channel();
            // If the queue is full, dropping `to` tells the caller that there will be no reply. All nodes in the map
            // have valid names.
            if let Some(node) = Name::new(node) {
                let _ = posting.try_send(Event::Post(node, path, posted, to));
            }
            replies
        }),
        ask: Arc::new(move |path| {
            let (to, replies) = oneshot::channel();
            // If the queue is full, dropping `to` tells the caller that there will be no reply.
            let _ = asking.try_send(Event::Get(path, to));
            replies
        }),
        asked: Arc::new(tokio::sync::Mutex::new(asked)),
    }
}

pub(crate) fn view(
    (cluster, node): (&str, &str),
    inspection: Inspection,
    counts: &PeerCounts,
) -> ClusterView {
    let mut nodes: Vec<NodeView> = inspection.nodes.iter().map(of_node).collect();
    let place = |owner: &Name| nodes.iter().position(|node| node.name == owner.as_str());
    let owners = inspection.slots.iter();
    let owners: Vec<Option<usize>> = owners
        .map(|(owner, _)| owner.as_ref().and_then(place))
        .collect();
    for (owner, (_, epoch)) in owners.iter().zip(&inspection.slots) {
        if let Some(node) = owner.and_then(|place| nodes.get_mut(place)) {
            node.slots += 1;
            node.newest_epoch = node.newest_epoch.max(epoch.0);
        }
    }
    ClusterView {
        cluster: cluster.into(),
        node: node.into(),
        standing: word(inspection.standing),
        has_etcd: inspection.has_etcd,
        other_history: inspection.other_history,
        cut_off: inspection.is_cut_off,
        trouble: inspection.trouble,
        owned: inspection.owned as u64,
        served: inspection.served as u64,
        vacant: owners.iter().filter(|owner| owner.is_none()).count() as u64,
        slot_owners: owners,
        slot_changes: inspection.slot_changes,
        valid_ms: inspection.valid_ms,
        etcd_seconds: inspection.etcd_took.as_secs_f64(),
        etcd_fill: inspection.etcd_fill.unwrap_or_default(),
        messages: [&counts.sent, &counts.received, &counts.lost].map(read),
        refused: read(&counts.refused),
        nodes,
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn of_node(node: &NodeState) -> NodeView {
    let program = node.registration.clone().map(|it| NodeView {
        version: it.version,
        commit: it.commit,
        inner_version: it.inner,
        started: it.started,
        ..NodeView::default()
    });
    NodeView {
        name: node.name.as_str().into(),
        address: node.inner.as_ref().map(|inner| inner.address.clone()),
        ports: node
            .inner
            .as_ref()
            .map_or_else(Vec::new, |inner| inner.ports.to_vec()),
        is_here: node.is_here,
        is_registered: node.is_registered,
        stranger: node.stranger.map(stranger),
        is_heard: node.is_heard,
        ..program.unwrap_or_default()
    }
}

/// Returns why a node's registration is rejected, or an empty string if the node is a valid peer.
fn stranger(kinship: Kinship) -> String {
    match kinship {
        Kinship::Peer => String::new(),
        Kinship::Unproven => "no valid proof".into(),
        Kinship::OtherVersion(inner) => format!("inner version {inner}"),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Starting => "starting",
        Standing::Answered => "serving",
        Standing::Exception => "alone, by exception",
        Standing::Asking => "asking",
        Standing::Alone => "alone",
        Standing::Held => "held back",
    }
}
