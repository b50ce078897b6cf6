//! Metrics of the whole process: its cluster, files, hooks, OpenID providers, device authorities, limits and system
//! resources. Hooks and providers are identified by their configured names.

use crate::hooks::{HookReport, HooksReport, Outcome, WakeResult};
use crate::providers::{ProviderReport, ProvidersReport};
use crate::side::cluster::{ClusterView, MESSAGES};
use crate::side::metrics::exposition::{Kind, Number, Row, Samples, metrics};
use crate::side::problems::pages::LOOKS;
use crate::side::process::{cpu_time, open_files_max, resident_bytes};
use crate::side::read_files::{Reload, reloaded};
use crate::side::shared_state::{FileReport, Status};
use crate::version::COMMIT_LABEL;
use broker_core::auth::Credentials;
use broker_core::settings::{SettingChanges, Settings};
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use strum::{VariantArray, VariantNames};

/// The state of the whole process, for a report.
#[derive(Clone, Debug, Default)]
pub struct ProcessState {
    /// The number of lines and entries that the log has dropped.
    pub log_dropped: u64,
    /// The name of the profile that sets the limits.
    pub profile: &'static str,
    /// The name of the I/O engine that the shards use.
    pub engine: &'static str,
    /// The time at which the process started, in seconds since 1970.
    pub started: u64,
    /// The number of open event streams.
    pub streams: u64,
    /// The number of open causes for each severity in [`LOOKS`], not counting causes that are marked as known.
    pub problems: [u64; LOOKS.len()],
    /// The status that `/ready` reports.
    pub status: Status,
    /// The limit of each budget in [`BUDGETS`], in bytes.
    pub budgets: [u64; BUDGETS.len()],
    /// The number of free bytes in the data directory's file system, or `None` if unknown.
    pub data_dir_free: Option<u64>,
    /// The node's view of the cluster, if there is a cluster.
    pub cluster: Option<ClusterView>,
    /// The metrics of the hooks, if any are configured.
    pub hooks: Option<HooksReport>,
    /// The metrics of the OpenID providers. Empty if none are configured.
    pub providers: ProvidersReport,
    /// The times when the device authorities expire. Empty if none are configured.
    pub authorities: AuthoritiesReport,
    /// The nodes whose credentials files differ from this node's, each with the number of seconds since the difference
    /// was first seen. Includes this node, with 0 seconds.
    pub differing: Vec<(String, u64)>,
    /// The results of reloads.
    pub reloads: BTreeMap<&'static str, Reload>,
    /// A comparison of the configuration file with the running settings.
    pub configuration: FileReport,
}

/// The labels of [`ProcessState::budgets`].
pub const BUDGETS: [&str; 5] = ["outbox", "unconfirmed", "pending", "requests", "records"];

pub(crate) fn budgets(settings: &Settings) -> [u64; BUDGETS.len()] {
    let of_shard = [
        settings.outbox_bytes_of_shard(),
        settings.unconfirmed_bytes_of_shard(),
        settings.pending_bytes_of_shard(),
        settings.request_bytes_per_shard(),
    ];
    let [outbox, unconfirmed, pending, requests] =
        of_shard.map(|bytes| bytes as u64 * settings.shards as u64);
    let records = settings.limits.record_bytes_total as u64;
    [outbox, unconfirmed, pending, requests, records]
}

impl ProcessState {
    fn of_cluster(&self, figure: impl Fn(&ClusterView) -> u64) -> u64 {
        self.cluster.as_ref().map_or(0, figure)
    }

    fn of_reloads(&self, figure: impl Fn(&Reload) -> u64, to: &mut Samples<'_>) {
        let none = Reload::default();
        for what in reloaded() {
            let reload = self.reloads.get(what).unwrap_or(&none);
            to.labelled([("what", what)], figure(reload));
        }
    }

    fn of_hooks<N: Into<Number>>(&self, figure: fn(&HookReport) -> N, to: &mut Samples<'_>) {
        for hook in self.hooks.iter().flat_map(|report| &report.hooks) {
            to.labelled([("hook", &*hook.name)], figure(hook));
        }
    }

    fn of_providers(&self, figure: fn(&ProviderReport) -> u64, to: &mut Samples<'_>) {
        for one in &self.providers.providers {
            to.labelled([("provider", &*one.issuer)], figure(one));
        }
    }

    fn of_authorities(&self, figure: fn(&Ends) -> Option<u64>, to: &mut Samples<'_>) {
        for ((subject, key), ends) in &self.authorities.0 {
            if let Some(seconds) = figure(ends) {
                to.labelled([("authority", &**subject), ("key", key)], seconds);
            }
        }
    }

    fn certificate_ends(&self) -> BTreeMap<&'static str, u64> {
        let mut ends = BTreeMap::new();
        for (of, seconds) in self.reloads.values().flat_map(|reload| &reload.ends) {
            let first = ends.entry(*of).or_insert(*seconds);
            *first = (*first).min(*seconds);
        }
        ends
    }
}

/// The process metrics, in output order. Without a cluster, the cluster metrics are 0. The metrics of hooks, providers
/// and authorities are omitted if none are configured.
pub(crate) const METRICS: &[Row<ProcessState>] = metrics! { ProcessState:
    Gauge heliograph_cluster_members "Nodes that belong to the cluster and are expected to run"
        (|it, to| to.one(it.of_cluster(ClusterView::members)))
    Gauge heliograph_cluster_slots "Slots whose channels this node serves, of 4096"
        (|it, to| to.one(it.of_cluster(|view| view.served)))
    Counter heliograph_cluster_epoch_changes_total "Changes of a slot's owner or epoch that this node has seen"
        (|it, to| to.one(it.of_cluster(|view| view.slot_changes)))
    Gauge heliograph_cluster_valid_seconds
        "For how much longer this node may admit to its slots if neither etcd nor another node answers any more"
        (|it, to| to.one(it.of_cluster(|view| view.valid_ms) as f64 / 1e3))
    Gauge heliograph_cluster_etcd_up "1 while etcd answers this node"
        (|it, to| to.one(it.of_cluster(|view| u64::from(view.has_etcd))))
    Gauge heliograph_cluster_etcd_seconds "How long etcd took for the last keepalive that it answered"
        (|it, to| to.one(it.cluster.as_ref().map_or(0.0, |view| view.etcd_seconds)))
    Gauge heliograph_cluster_etcd_bytes
        "Bytes of etcd's database that are in use; from 80 % of its quota on new channels get 503"
        (|it, to| to.one(it.of_cluster(|view| view.etcd_fill.0)))
    Gauge heliograph_cluster_etcd_quota_bytes "Bytes that etcd's database may have"
        (|it, to| to.one(it.of_cluster(|view| view.etcd_fill.1)))
    Counter heliograph_cluster_messages_total
        "Messages to and from other nodes: questions, answers and what waits on slots that move"
        (|it, to| {
            let counts = it.cluster.as_ref().map_or([0; MESSAGES.len()], |view| view.messages);
            to.each("outcome", &MESSAGES, &counts);
        })
    Counter heliograph_cluster_peers_refused_total
        "Connections to the port for messages of other nodes that were refused"
        (|it, to| to.one(it.of_cluster(|view| view.refused)))
    Gauge heliograph_cluster_credentials_differ_seconds
        "For how long the credentials files of a node have differed from this one's; nothing of nodes that have the \
         same"
        (|it, to| {
            for (node, seconds) in &it.differing {
                match &**node {
                    "" => to.one(*seconds),
                    node => to.labelled([("node", node)], *seconds),
                }
            }
        })

    Gauge heliograph_reload_ok
        "1 while files are in force as they were last read, 0 while they were refused and the former ones serve"
        (|it, to| it.of_reloads(|reload| u64::from(reload.failed.is_none()), to))
    Gauge heliograph_reload_last_success_seconds
        "When files were last read and put in force, in seconds since 1970 UTC; 0 where there are none"
        (|it, to| it.of_reloads(|reload| reload.succeeded_ms / 1000, to))
    Gauge heliograph_config_info
        "Always 1: the SHA-256 of the configuration file that runs, and of the file as it was read last"
        (|it, to| {
            let FileReport { running, file, .. } = &it.configuration;
            for (of, sha256) in [("running", running), ("file", file)] {
                if !sha256.is_empty() {
                    to.labelled([("of", of), ("sha256", sha256)], 1);
                }
            }
        })
    Gauge heliograph_config_waiting
        "1 for each key of the configuration file that is not in force: needs is sighup or restart"
        (|it, to| {
            let SettingChanges { applied, restart } = &it.configuration.waiting;
            for (needs, keys) in [("sighup", applied), ("restart", restart)] {
                for key in keys {
                    to.labelled([("key", &**key), ("needs", needs)], 1);
                }
            }
        })

    Counter heliograph_hook_deliveries_total
        "Events for hooks by what became of each request for one, or of an event without a request"
        (|it, to| {
            for hook in it.hooks.iter().flat_map(|report| &report.hooks) {
                for (result, count) in Outcome::VARIANTS.iter().zip(hook.outcomes) {
                    to.labelled([("hook", &*hook.name), ("result", result)], count);
                }
            }
        })
    Gauge heliograph_hook_waiting "Channels of which something waits for a hook or is on its way to it"
        (|it, to| it.of_hooks(|hook| hook.waiting, to))
    Gauge heliograph_hook_oldest_seconds "How long the oldest of it has waited"
        (|it, to| it.of_hooks(|hook| hook.oldest_ms as f64 / 1e3, to))
    Gauge heliograph_hook_off "1 for a hook whose receiver answered 410: it gets nothing until a reload"
        (|it, to| it.of_hooks(|hook| u64::from(hook.off), to))
    Counter heliograph_wakes_total "Absent masters that somebody waited for, by how calling for them ended" (|it, to| {
        if let Some(report) = &it.hooks {
            to.each("result", WakeResult::VARIANTS, &report.wakes);
        }
    })
    Histogram heliograph_wake_seconds
        "From the first message that was kept for an absent master to the master that a call brought"
        (|it, to| {
            if let Some(report) = &it.hooks {
                to.histogram(&report.wake_seconds);
            }
        })

    Gauge heliograph_oidc_provider_up
        "1 while the last request for a provider's keys was answered with some, 0 after any other"
        (|it, to| it.of_providers(|one| u64::from(one.error.is_none()), to))
    Gauge heliograph_oidc_provider_keys "Keys of a provider that tokens may be signed with"
        (|it, to| it.of_providers(|one| one.keys as u64, to))
    Gauge heliograph_oidc_provider_fetched_seconds
        "When a provider last answered with keys, in seconds since 1970 UTC; 0 if it has not"
        (|it, to| it.of_providers(|one| one.fetched_s.unwrap_or(0), to))
    Counter heliograph_oidc_fetches_total "Requests for keys of a provider by their outcome" (|it, to| {
        for one in &it.providers.providers {
            for (outcome, count) in ["ok", "failed"].iter().zip(one.fetches) {
                to.labelled([("provider", &*one.issuer), ("outcome", outcome)], count);
            }
        }
    })

    Gauge heliograph_device_authority_not_after_seconds
        "When the certificate of an authority of devices ends, in seconds since 1970"
        (|it, to| it.of_authorities(|ends| Some(ends.authority_s), to))
    Gauge heliograph_device_crl_next_update_seconds
        "When the revocation list of an authority of devices is to be replaced, in seconds since 1970"
        (|it, to| it.of_authorities(|ends| ends.list_s, to))

    Gauge heliograph_budget_bytes
        "What heliograph_outbox_bytes, heliograph_unconfirmed_bytes, heliograph_pending_bytes, \
         heliograph_request_bytes and heliograph_record_bytes may be at most"
        (|it, to| to.each("budget", &BUDGETS, &it.budgets))
    Gauge heliograph_tls_not_after_seconds
        "When the first certificate that is presented ends, in seconds since 1970; 0 without TLS"
        (|it, to| {
            let ends = it.certificate_ends();
            let presented = ["listener", "listener_rsa"].map(|of| ends.get(of).copied());
            to.one(presented.into_iter().flatten().min().unwrap_or(0));
        })
    Gauge heliograph_certificate_not_after_seconds
        "When the first certificate of a kind ends, in seconds since 1970: those of listeners, of the connections to \
         etcd, OpenID providers and hooks, and of authorities of clients and devices"
        (|it, to| {
            let ends = it.certificate_ends().into_iter();
            ends.for_each(|(of, seconds)| to.labelled([("of", of)], seconds));
        })
    Counter heliograph_log_dropped_total
        "Lines that were not logged because stderr was too slow or did not take them" (|it, to| to.one(it.log_dropped))
    Gauge heliograph_streams "Event streams of the admin listener that are open" (|it, to| to.one(it.streams))
    Gauge heliograph_problems "Causes of what is wrong that are open, and that nobody has marked as known, by look"
        (|it, to| to.each("look", &LOOKS, &it.problems))
    Gauge heliograph_status "1 for what /ready reports, 0 for the rest" (|it, to| {
        for status in Status::VARIANTS {
            to.labelled([("status", status.as_str())], u64::from(*status == it.status));
        }
    })
    Gauge heliograph_data_dir_free_bytes
        "What the file system of the data directory has left; NaN if that is not known"
        (|it, to| to.one(it.data_dir_free.map_or(Number::Real(f64::NAN), Number::Whole)))
    Gauge heliograph_build_info "Always 1: the version and commit that run, and the profile of limits" (|it, to| {
        let version = env!("CARGO_PKG_VERSION");
        to.labelled([("version", version), ("commit", COMMIT_LABEL), ("profile", it.profile)], 1);
    })
    Gauge heliograph_engine "Always 1: the interface of the kernel that shards work with, io_uring or epoll"
        (|it, to| to.labelled([("engine", it.engine)], 1))
    Gauge process_start_time_seconds "When the process started, in seconds since 1970" (|it, to| to.one(it.started))
    Counter process_cpu_seconds_total "Processor time used, user and system"
        (|_, to| to.one(cpu_time().as_secs_f64()))
    Gauge process_resident_memory_bytes "Memory in use" (|_, to| to.one(resident_bytes()))
    Gauge process_open_fds "Open descriptors" (|_, to| to.one(open_descriptors()))
    Gauge process_max_fds "How many descriptors the process may have open" (|_, to| to.one(open_files_max()))
};

/// Returns the number of open descriptors listed in `/proc`, excluding the descriptor used to read that list. Returns 0
/// if there is no `/proc`.
fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| (list.count() as u64).saturating_sub(1))
}

// Device authorities, identified by their subject and the start of their key's fingerprint. The subject alone is not
// enough, since it stays the same when an authority is renewed.

/// The times when the device authorities and their revocation lists expire.
#[derive(Clone, Debug, Default)]
pub struct AuthoritiesReport(BTreeMap<(Box<str>, String), Ends>);

#[derive(Clone, Copy, Debug)]
struct Ends {
    authority_s: u64,
    list_s: Option<u64>,
}

impl AuthoritiesReport {
    /// Collects the expiry times of the authorities in use. If several certificates have the same key, the latest
    /// expiry is used.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let mut all = BTreeMap::new();
        let authorities = credentials.things().into_iter();
        for authority in authorities.flat_map(|things| &things.authorities) {
            let key = HEXLOWER.encode(authority.key.first_chunk::<8>().unwrap_or(&[0; 8]));
            let ends = Ends {
                authority_s: authority.ends_s,
                list_s: authority.list_ends_s,
            };
            let kept = all.entry((authority.subject.clone(), key)).or_insert(ends);
            kept.authority_s = kept.authority_s.max(ends.authority_s);
        }
        Self(all)
    }
}
