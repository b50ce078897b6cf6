//! The metrics of the process as a whole: its state, its bounds, and the system's figures.

use super::exposition::{Kind, Row};
use super::view::labelled;
use crate::side::cluster::{ClusterView, MESSAGES};
use crate::side::process::{cpu_time, open_files_max};
use crate::side::status::Status;
use strum::VariantArray;

/// The figures of the process as a whole, for a report.
#[derive(Clone, Debug, Default)]
pub struct ProcessState {
    /// When the first certificate that is presented ends, in seconds since 1970; 0 without TLS.
    pub tls_not_after: u64,
    /// Lines and entries that found the log's queue full.
    pub log_dropped: u64,
    /// The name of the profile that limits come from.
    pub profile: &'static str,
    /// When the process started, in seconds since 1970.
    pub started: u64,
    /// Event streams that are open.
    pub streams: u64,
    /// The status that `/ready` reports.
    pub status: Status,
    /// The bytes that outboxes, kept messages, requests and records may take in all, in the order of [`BUDGETS`].
    pub budgets: [u64; BUDGETS.len()],
    /// Bytes that the file system of the data directory has left for us; `None` when it does not say.
    pub data_dir_free: Option<u64>,
    /// The node's view of its cluster, where that changes.
    pub cluster: Option<ClusterView>,
}

/// The labels of [`ProcessState::budgets`].
pub const BUDGETS: [&str; 4] = ["outbox", "pending", "requests", "records"];

/// Every metric of the cluster, in the order of the text; all 0 where nothing follows one.
pub(super) const OF_CLUSTER: &[Row<ProcessState>] = &[
    Row {
        name: "heliograph_cluster_members",
        help: "Nodes that belong to the cluster and are expected to run",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(ClusterView::members)),
    },
    Row {
        name: "heliograph_cluster_slots",
        help: "Slots whose channels this node serves, of 4096",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(|view| view.served)),
    },
    Row {
        name: "heliograph_cluster_epoch_changes_total",
        help: "Changes of a slot's owner or epoch that this node has seen",
        kind: Kind::Counter,
        read: |it, to| to.one(it.of_cluster(|view| view.slot_changes)),
    },
    Row {
        name: "heliograph_cluster_valid_seconds",
        help: "For how much longer this node may admit to its slots if neither etcd nor another node answers any more",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(|view| view.valid_ms) as f64 / 1e3),
    },
    Row {
        name: "heliograph_cluster_etcd_up",
        help: "1 while etcd answers this node",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(|view| u64::from(view.has_etcd))),
    },
    Row {
        name: "heliograph_cluster_etcd_seconds",
        help: "How long etcd took for the last keepalive that it answered",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.cluster.as_ref().map_or(0.0, |view| view.etcd_seconds)),
    },
    Row {
        name: "heliograph_cluster_etcd_bytes",
        help: "Bytes of etcd's database that are in use; from 80 % of its quota on new channels get 503",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(|view| view.etcd_fill.0)),
    },
    Row {
        name: "heliograph_cluster_etcd_quota_bytes",
        help: "Bytes that etcd's database may have",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.of_cluster(|view| view.etcd_fill.1)),
    },
    Row {
        name: "heliograph_cluster_messages_total",
        help: "Messages to and from other nodes: questions, answers and what waits on slots that move",
        kind: Kind::Counter,
        read: |it, to| {
            let counts = it
                .cluster
                .as_ref()
                .map_or([0; MESSAGES.len()], |view| view.messages);
            labelled(to, "outcome", &MESSAGES, &counts);
        },
    },
    Row {
        name: "heliograph_cluster_peers_refused_total",
        help: "Connections to the port for messages of other nodes that were refused",
        kind: Kind::Counter,
        read: |it, to| to.one(it.of_cluster(|view| view.refused)),
    },
];

impl ProcessState {
    fn of_cluster(&self, figure: impl Fn(&ClusterView) -> u64) -> u64 {
        self.cluster.as_ref().map_or(0, figure)
    }
}

/// Every metric of the process, in the order of the text.
pub(super) const METRICS: &[Row<ProcessState>] = &[
    Row {
        name: "heliograph_budget_bytes",
        help: "What heliograph_outbox_bytes, heliograph_pending_bytes, heliograph_request_bytes and \
               heliograph_record_bytes may be at most",
        kind: Kind::Gauge,
        read: |it, to| labelled(to, "budget", &BUDGETS, &it.budgets),
    },
    Row {
        name: "heliograph_tls_not_after_seconds",
        help: "When the first certificate that is presented ends, in seconds since 1970; 0 without TLS",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.tls_not_after),
    },
    Row {
        name: "heliograph_log_dropped_total",
        help: "Lines that were not logged because stderr was too slow",
        kind: Kind::Counter,
        read: |it, to| to.one(it.log_dropped),
    },
    Row {
        name: "heliograph_streams",
        help: "Event streams of the admin listener that are open",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.streams),
    },
    Row {
        name: "heliograph_status",
        help: "1 for what /ready reports, 0 for the rest",
        kind: Kind::Gauge,
        read: |it, to| {
            for status in Status::VARIANTS {
                let is = u64::from(*status == it.status);
                to.labelled([("status", status.as_str())], is);
            }
        },
    },
    Row {
        name: "heliograph_data_dir_free_bytes",
        help: "What the file system of the data directory has left; NaN if that is not known",
        kind: Kind::Gauge,
        read: |it, to| match it.data_dir_free {
            Some(bytes) => to.one(bytes),
            None => to.one(f64::NAN),
        },
    },
    Row {
        name: "heliograph_build_info",
        help: "Always 1: the version and commit that run, and the profile of limits",
        kind: Kind::Gauge,
        read: |it, to| {
            let version = env!("CARGO_PKG_VERSION");
            let profile = it.profile;
            let labels = [
                ("version", version),
                ("commit", COMMIT),
                ("profile", profile),
            ];
            to.labelled(labels, 1);
        },
    },
    Row {
        name: "process_start_time_seconds",
        help: "When the process started, in seconds since 1970",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.started),
    },
    Row {
        name: "process_cpu_seconds_total",
        help: "Processor time used, user and system",
        kind: Kind::Counter,
        read: |_, to| to.one(cpu_time().as_secs_f64()),
    },
    Row {
        name: "process_resident_memory_bytes",
        help: "Memory in use",
        kind: Kind::Gauge,
        read: |_, to| to.one(resident_bytes()),
    },
    Row {
        name: "process_open_fds",
        help: "Open descriptors",
        kind: Kind::Gauge,
        read: |_, to| to.one(open_descriptors()),
    },
    Row {
        name: "process_max_fds",
        help: "How many descriptors the process may have open",
        kind: Kind::Gauge,
        read: |_, to| to.one(open_files_max()),
    },
];

/// The commit that was built, if the build was given it.
pub(in crate::side) const COMMIT: &str = match option_env!("HELIOGRAPH_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// From `/proc`, 0 without it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// From `/proc`, 0 without it; not counting the one that reads the list.
fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| (list.count() as u64).saturating_sub(1))
}
