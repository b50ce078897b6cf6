//! Rules across several keys of the configuration: bounds of lists, listeners beside each other, and numbers that must
//! not be below others. The rules with a fixed text are the table in `rules`.

use crate::config::cpus::Cpus;
use crate::config::draft::Findings;
use crate::config::error::Fault;
use crate::config::json::shown;
use crate::config::rules::{self, ADDRESS_OF_ITS_OWN};
use broker_core::limits::ENVELOPE_BYTES_MAX;
use broker_core::settings::value::Span;
use broker_core::settings::{Auth, Key, Kind, Listen, Scheme, Settings, overlap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Notes every rule that `settings` break. Faults of one place are listed in this order.
pub(crate) fn check(settings: &Settings, machine: &Cpus, findings: &mut Findings) {
    let mut check = Check {
        settings,
        read: findings.faults.clone(),
        findings,
    };
    let (origins, hosts) = (&settings.dev_origins, &settings.dev_hosts);
    let console = &settings.admin.origins;
    check.at_most("admin.origins", console, ORIGINS_MAX, "origins");
    check.members();
    rules::check(&mut check);
    check.at_most("dev_origins", origins, ORIGINS_MAX, "origins");
    check.at_most("dev_hosts", hosts, DEV_HOSTS_MAX, "names and addresses");
    check.listeners();
    check.limits();
    check.timeouts();
    check.ice();
    check.cpus(machine);
    check.inner_listeners();
}

/// Notes a certificate that the file names without its key or the other way around; it is then as if not written.
pub(crate) fn certificate(settings: &mut Settings, findings: &mut Findings) {
    let Some(files) = &settings.tls else {
        return;
    };
    let rule = match [&files.cert, &files.key].map(|path| path.as_os_str().is_empty()) {
        [false, false] => return,
        [true, true] => "allowed client_ca together with cert and key",
        [true, false] | [false, true] => "allowed cert and key together",
    };
    findings.fault("tls", shown("tls", settings), rule);
    settings.tls = None;
}

/// The settings, and what was found wrong with them so far.
pub(crate) struct Check<'s> {
    pub(crate) settings: &'s Settings,
    /// Faults that were found before any rule was checked.
    read: Vec<Fault>,
    findings: &'s mut Findings,
}

impl Check<'_> {
    /// Notes that the value of `key`, or of that table, breaks a rule.
    pub(crate) fn broken(&mut self, key: &str, rule: impl Into<String>) {
        self.findings.fault(key, shown(key, self.settings), rule);
    }

    /// Whether the value of `key`, or of a key of that table, was found wrong as it was read: what follows from its
    /// absence is not worth saying.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.read.iter().any(|fault| fault.is_of(key))
    }

    /// Notes a list that is too long.
    fn at_most(&mut self, key: &str, list: &[String], most: usize, entries: &str) {
        if list.len() > most {
            let rule = format!("allowed at most {most} {entries}");
            self.findings.fault(key, list.len(), rule);
        }
    }

    fn listeners(&mut self) {
        let settings = self.settings;
        for (nth, listen) in settings.listen.iter().enumerate() {
            let mut earlier = settings.listen.iter().take(nth);
            if let Some(other) = earlier.find(|other| clash(other.addr, listen.addr)) {
                self.findings.fault("listen", listen, once(other, listen));
            }
            let ip = listen.addr.ip();
            let of_lan =
                listen.scheme == Scheme::Https && settings.lan.is_some_and(|lan| ip == lan);
            let is_open = !ip.is_loopback() && !of_lan && !settings.allow_remote;
            if is_open && settings.dev {
                let rule = "allowed loopback addresses only, since --dev lets everybody in; --allow-remote permits \
                            others";
                self.findings.fault("listen", listen, rule);
            } else if is_open && settings.auth == Auth::None {
                self.findings.fault("listen", listen, LOOPBACK_WITHOUT_AUTH);
            }
            let certified = settings.tls.is_some() || settings.dev || self.is_wrong("tls");
            if listen.scheme == Scheme::Https && !certified {
                let rule = "allowed with a certificate: --tls-cert FILE --tls-key FILE, or [tls] cert and key in the \
                            file; --dev makes one of its own";
                self.findings.fault("listen", listen, rule);
            }
        }
        if settings.listen.len() > LISTENERS_MAX {
            let rule = format!("allowed 1 to {LISTENERS_MAX}");
            let count = format!("{} listeners", settings.listen.len());
            self.findings.fault("listen", count, rule);
        }
    }

    fn limits(&mut self) {
        let limits = &self.settings.limits;
        let least = limits.payload_bytes + ENVELOPE_BYTES_MAX;
        if limits.message_bytes < least {
            let rule = format!(
                "allowed at least {least}: limits.payload_bytes and {ENVELOPE_BYTES_MAX} for what is around it"
            );
            self.broken("limits.message_bytes", rule);
        }
        for (larger, smaller) in AT_LEAST {
            let (bytes, least) = (self.limit(larger), self.limit(smaller));
            // 0 stands for a part of the total, which is never too small.
            if bytes != 0 && bytes < least {
                let rule = format!("allowed at least {least}, which is limits.{smaller}");
                self.broken(&format!("limits.{larger}"), rule);
            }
        }
        if limits.pending_bytes_per_channel < least {
            let rule = format!(
                "allowed at least {least}, which is limits.payload_bytes with what is around it"
            );
            self.broken("limits.pending_bytes_per_channel", rule);
        }
    }

    /// The value of a key of `[limits]`.
    fn limit(&self, name: &str) -> usize {
        let key = Key::of(&format!("limits.{name}"));
        let Some(Kind::Number(field, _)) = key.map(|key| &key.kind) else {
            unreachable!("limits.{name} is a number")
        };
        (field.get)(self.settings)
    }

    fn timeouts(&mut self) {
        let timeouts = &self.settings.timeouts;
        let (age, idle) = (timeouts.connection_age_ms, timeouts.idle_ms);
        if age != 0 && timeouts.go_away_grace_ms >= age {
            let age = Span(age);
            let rule = format!("allowed less than timeouts.connection_age, which is {age}");
            self.broken("timeouts.go_away_grace", rule);
        }
        if timeouts.ping_ms != 0 && timeouts.ping_ms >= idle {
            let idle = Span(idle);
            let rule = format!("allowed less than timeouts.idle, which is {idle}, or off");
            self.broken("timeouts.ping", rule);
        }
    }

    /// Notes listeners for other nodes that cannot be, or that others cannot find.
    fn inner_listeners(&mut self) {
        let (settings, cluster) = (self.settings, &self.settings.cluster);
        let inner = cluster.inner(settings.shards);
        if let Some(addr) = cluster.listen {
            self.inner_listener("cluster.listen", addr, &[]);
            if !cluster.etcd.is_on() || self.has_next_port() {
                self.further_ports(addr, inner.as_deref());
            }
        }
        if let Some(addr) = cluster.peers {
            let inner = inner.unwrap_or_default();
            self.inner_listener("cluster.peers", addr, &inner);
        }
    }

    /// A listener for other nodes, beside those for clients and operators, and beside `own`.
    fn inner_listener(&mut self, key: &str, addr: SocketAddr, own: &[SocketAddr]) {
        let (settings, cluster) = (self.settings, &self.settings.cluster);
        let clashes = own.iter().any(|other| clash(*other, addr));
        if clashes || is_taken(addr, settings) {
            self.broken(key, ADDRESS_OF_ITS_OWN);
        }
        if settings.auth == Auth::None && !addr.ip().is_loopback() {
            self.broken(key, LOOPBACK_WITHOUT_AUTH);
        }
        let is_told = cluster.etcd.is_on() && cluster.advertise.is_none();
        if is_told && addr.ip().is_unspecified() && !self.is_wrong("cluster.advertise") {
            let rule = "allowed the address at which other nodes reach this one, which they learn from etcd; any \
                        together with cluster.advertise";
            self.broken(key, rule);
        }
    }

    /// Messages between nodes have the port behind that of `cluster.listen`, where nothing else is configured. False if
    /// it cannot be had, which is noted.
    fn has_next_port(&mut self) -> bool {
        let (settings, cluster) = (self.settings, &self.settings.cluster);
        let is_free = |peers| !is_taken(peers, settings);
        let has_one = cluster.peers.is_some() || cluster.peers().is_some_and(is_free);
        if !has_one {
            let rule = "allowed a port with a free one behind it, which messages between nodes take, or cluster.peers \
                        with another";
            self.broken("cluster.listen", rule);
        }
        has_one
    }

    /// Shards but the first have ports behind that one, where the nodes follow etcd.
    fn further_ports(&mut self, listen: SocketAddr, inner: Option<&[SocketAddr]>) {
        let (settings, shards) = (self.settings, self.settings.shards);
        let Some(inner) = inner else {
            let rule = format!(
                "allowed ports up to {}, since {shards} shards listen on others behind it",
                usize::from(u16::MAX) - shards
            );
            return self.broken("cluster.listen", rule);
        };
        let mut further = inner.iter().filter(|at| at.port() != listen.port());
        if let Some(taken) = further.find(|at| is_taken(**at, settings)) {
            let rule = format!(
                "allowed a port with free ones behind it: of {shards} shards one also listens on {}, which another \
                 listener has",
                taken.port()
            );
            self.broken("cluster.listen", rule);
        }
    }

    /// Notes too many members of etcd, and one that is named twice.
    fn members(&mut self) {
        let members = &self.settings.cluster.etcd.endpoints;
        if members.len() > MEMBERS_MAX {
            let rule = format!("allowed at most {MEMBERS_MAX} URLs");
            let count = format!("{} URLs", members.len());
            self.findings.fault("cluster.etcd", count, rule);
        }
        let mut others = members.iter().enumerate();
        let again = others.find(|(nth, member)| members[..*nth].contains(member));
        if let Some((_, again)) = again {
            let rule = "allowed each URL once";
            self.findings.fault("cluster.etcd", again, rule);
        }
    }

    fn ice(&mut self) {
        let count = self.settings.ice.len();
        if count > ICE_MAX {
            let rule = format!("allowed at most {ICE_MAX} entries");
            self.findings.fault("ice", format!("{count} entries"), rule);
        }
    }

    fn cpus(&mut self, machine: &Cpus) {
        let (cpus, allowed) = (&self.settings.cpus, &machine.allowed);
        if cpus.iter().any(|cpu| !allowed.contains(cpu)) {
            let rule = format!("allowed the CPUs that this process may use: {allowed:?}");
            self.findings.fault("cpus", format!("{cpus:?}"), rule);
        }
    }
}

/// Whether a listener for clients or operators is in the way.
fn is_taken(addr: SocketAddr, settings: &Settings) -> bool {
    let clients = settings.listen.iter().map(|listen| listen.addr);
    let mut others = clients.chain(settings.admin.listen);
    others.any(|other| clash(other, addr))
}

/// The rule for two client listeners that would get in each other's way.
fn once(one: &Listen, other: &Listen) -> String {
    let rule = "allowed each address and port once";
    if one.addr.ip() == other.addr.ip() {
        return rule.into();
    }
    let any = [one, other].map(|listen| listen.addr.ip());
    if any.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        return format!("{rule}: it overlaps {one}, since [::] takes IPv4 and IPv6");
    }
    format!("{rule}: it overlaps {one}")
}

/// Whether two listeners would get in each other's way: the same port, and the same address or one that covers it.
/// `[::]` covers all addresses, `0.0.0.0` those of IPv4.
pub(crate) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && overlap(one, other)
}

/// Keys of `[limits]`, each with one that it must not be less than.
const AT_LEAST: [(&str, &str); 5] = [
    ("outbox_bytes", "pending_bytes_per_channel"),
    ("outbox_bytes_per_shard", "outbox_bytes"),
    ("outbox_bytes_total", "outbox_bytes"),
    ("pending_bytes_per_shard", "pending_bytes_per_channel"),
    ("pending_bytes_total", "pending_bytes_per_channel"),
];

/// The rule for a listener that all may use who reach it.
const LOOPBACK_WITHOUT_AUTH: &str =
    "allowed loopback addresses only, since auth none lets everybody in";

/// Source: C SDK, `MAX_ICE_CONFIG_COUNT` 5: it takes more for an error.
const ICE_MAX: usize = 5;

/// Each listener is a descriptor per shard.
const LISTENERS_MAX: usize = 64;

/// Each is a name of the development certificate.
const DEV_HOSTS_MAX: usize = 16;

/// Each is compared with the origin of a request.
const ORIGINS_MAX: usize = 64;

/// Members of an etcd: five is what its documentation advises at most.
const MEMBERS_MAX: usize = 16;
