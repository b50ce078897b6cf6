//! Rules that involve several keys: maximum list lengths, conflicts between listeners, and numbers whose minimum is
//! another key's value. Rules with a fixed error message are in the table [`RULES`].

use crate::config::Cpus;
use crate::config::document::A_TABLE;
use crate::config::draft::{Fault, Findings};
use broker_core::limits::{ENVELOPE_BYTES_MAX, RECORDER_NOTES_LEAST};
use broker_core::settings::value::ConfigSpan;
use broker_core::settings::{Auth, ClusterSettings, Key, Listen, Scheme, Settings, Value, overlap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Records a fault for each rule that `settings` breaks. Faults at the same position are reported in the order of these
/// checks.
pub(crate) fn check(settings: &Settings, machine: &Cpus, findings: &mut Findings) {
    let mut check = SettingsCheck {
        settings,
        read: findings.faults.clone(),
        findings,
    };
    let (admin, etcd) = (&settings.admin, &settings.cluster.etcd);
    let mut at_most = |key, count, most, entries| check.findings.at_most(key, count, most, entries);
    at_most("admin.origins", admin.origins.len(), ORIGINS_MAX, "origins");
    at_most(
        "dev_origins",
        settings.dev_origins.len(),
        ORIGINS_MAX,
        "origins",
    );
    at_most(
        "dev_hosts",
        settings.dev_hosts.len(),
        DEV_HOSTS_MAX,
        "names and addresses",
    );
    at_most("listen", settings.listen.len(), LISTENERS_MAX, "listeners");
    at_most("cluster.etcd", etcd.endpoints.len(), MEMBERS_MAX, "URLs");
    at_most("ice", settings.ice.len(), ICE_MAX, "entries");
    check.members();
    for rule in RULES {
        let is_unknown = rule.others.iter().any(|key| check.is_wrong(key));
        if (rule.is_broken)(settings) && !is_unknown {
            check.broken(rule.key, rule.allowed);
        }
    }
    check.listeners();
    check.limits();
    check.timeouts();
    check.cpus(machine);
    check.inner_listeners();
}

/// Records a fault unless there is one certificate with its key, or two certificates with two keys. After a fault,
/// removes the TLS files from the settings.
pub(crate) fn certificate(settings: &mut Settings, findings: &mut Findings) {
    let Some(files) = &settings.tls else {
        return;
    };
    let rule = match [files.cert.len(), files.key.len()] {
        [0, 0] => "expected client_ca and expired together with cert and key",
        [0, _] | [_, 0] => "expected cert and key together",
        [1, 1] | [2, 2] => return,
        [_, _] => {
            "expected one cert and key, or two of each in the same order: with an ECDSA and with an RSA key"
        }
    };
    findings.fault("tls", shown("tls", settings), rule);
    settings.tls = None;
}

struct SettingsCheck<'s> {
    settings: &'s Settings,
    /// Faults found while reading the settings, before any rule was checked.
    read: Vec<Fault>,
    findings: &'s mut Findings,
}

impl SettingsCheck<'_> {
    pub(crate) fn broken(&mut self, key: &str, rule: impl Into<String>) {
        self.findings.fault(key, shown(key, self.settings), rule);
    }

    /// Returns whether `key` or, if it is a table, one of its keys already has an invalid value. If so, callers do not
    /// report further faults that may only be consequences.
    fn is_wrong(&self, key: &str) -> bool {
        self.read.iter().any(|fault| fault.is_of(key))
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
                let rule = "expected loopback addresses only, since --dev lets everybody in; --allow-remote permits \
                            others";
                self.findings.fault("listen", listen, rule);
            } else if is_open && settings.auth == Auth::None {
                self.findings.fault("listen", listen, LOOPBACK_WITHOUT_AUTH);
            }
            let certified = settings.tls.is_some() || settings.dev || self.is_wrong("tls");
            if listen.scheme == Scheme::Https && !certified {
                let rule = "needs a certificate: --tls-cert FILE --tls-key FILE, or [tls] cert and key in the \
                            file; --dev makes one of its own";
                self.findings.fault("listen", listen, rule);
            }
        }
    }

    fn limits(&mut self) {
        let limits = &self.settings.limits;
        let least = limits.payload_bytes + ENVELOPE_BYTES_MAX;
        if limits.message_bytes < least {
            let rule = format!(
                "expected at least {least}: limits.payload_bytes and {ENVELOPE_BYTES_MAX} for what is around it"
            );
            self.broken("limits.message_bytes", rule);
        }
        for (larger, smaller) in AT_LEAST {
            let (bytes, least) = (self.limit(larger), self.limit(smaller));
            // 0 selects a share of the total, which is always large enough.
            if bytes != 0 && bytes < least {
                let rule = format!("expected at least {least}, which is limits.{smaller}");
                self.broken(&format!("limits.{larger}"), rule);
            }
        }
        if limits.pending_bytes_per_channel < least {
            let rule = format!(
                "expected at least {least}, which is limits.payload_bytes with what is around it"
            );
            self.broken("limits.pending_bytes_per_channel", rule);
        }
    }

    fn limit(&self, name: &str) -> usize {
        match Key::of(&format!("limits.{name}")).map(|key| key.value(self.settings)) {
            Some(Value::Number(number)) => number,
            other => unreachable!("limits.{name} is a number: {other:?}"),
        }
    }

    fn timeouts(&mut self) {
        let timeouts = &self.settings.timeouts;
        let (age, idle) = (timeouts.connection_age_ms, timeouts.idle_ms);
        if age != 0 && timeouts.go_away_grace_ms >= age {
            let age = ConfigSpan(age);
            let rule = format!("expected less than timeouts.connection_age, which is {age}");
            self.broken("timeouts.go_away_grace", rule);
        }
        if timeouts.ping_ms != 0 && timeouts.ping_ms >= idle {
            let idle = ConfigSpan(idle);
            let rule = format!("expected less than timeouts.idle, which is {idle}, or off");
            self.broken("timeouts.ping", rule);
        }
    }

    /// Checks the listeners for other nodes: their addresses must not conflict, and other nodes must be able to find
    /// them.
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

    /// Checks that a listener for other nodes does not conflict with a client listener, the admin listener or an
    /// address in `own`.
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
            let rule = "expected the address at which other nodes reach this one, which they learn from etcd; any \
                        together with cluster.advertise";
            self.broken(key, rule);
        }
    }

    /// Checks that a port is available for messages between nodes. By default, this is the port after `cluster.listen`.
    /// `cluster.peers` can specify another one. If another listener uses the port, records a fault and returns `false`.
    fn has_next_port(&mut self) -> bool {
        let (settings, cluster) = (self.settings, &self.settings.cluster);
        let is_free = |peers| !is_taken(peers, settings);
        let has_one = cluster.peers.is_some() || cluster.peers().is_some_and(is_free);
        if !has_one {
            let rule = "expected a port with a free one behind it, which messages between nodes take, or cluster.peers \
                        with another";
            self.broken("cluster.listen", rule);
        }
        has_one
    }

    /// Checks the ports of all shards but the first. With etcd, they directly follow the first shard's port.
    fn further_ports(&mut self, listen: SocketAddr, inner: Option<&[SocketAddr]>) {
        let (settings, shards) = (self.settings, self.settings.shards);
        let Some(inner) = inner else {
            let rule = format!(
                "expected ports up to {}, since {shards} shards listen on others behind it",
                usize::from(u16::MAX) - shards
            );
            return self.broken("cluster.listen", rule);
        };
        let mut further = inner.iter().filter(|at| at.port() != listen.port());
        if let Some(taken) = further.find(|at| is_taken(**at, settings)) {
            let rule = format!(
                "expected a port with free ones behind it: of {shards} shards one also listens on {}, which another \
                 listener has",
                taken.port()
            );
            self.broken("cluster.listen", rule);
        }
    }

    fn members(&mut self) {
        let members = &self.settings.cluster.etcd.endpoints;
        let mut others = members.iter().enumerate();
        let again = others.find(|(nth, member)| members[..*nth].contains(member));
        if let Some((_, again)) = again {
            self.findings
                .fault("cluster.etcd", again, "expected each URL once");
        }
    }

    fn cpus(&mut self, machine: &Cpus) {
        let (cpus, allowed) = (&self.settings.cpus, &machine.allowed);
        if cpus.iter().any(|cpu| !allowed.contains(cpu)) {
            let rule = format!("expected the CPUs that this process may use: {allowed:?}");
            self.findings.fault("cpus", format!("{cpus:?}"), rule);
        }
    }
}

/// Formats a key's value for an error message. A table is shown as a placeholder.
fn shown(path: &str, settings: &Settings) -> String {
    Key::of(path).map_or_else(|| A_TABLE.into(), |key| key.value(settings).to_string())
}

fn is_taken(addr: SocketAddr, settings: &Settings) -> bool {
    let clients = settings.listen.iter().map(|listen| listen.addr);
    let mut others = clients.chain(settings.admin.listen);
    others.any(|other| clash(other, addr))
}

fn once(one: &Listen, other: &Listen) -> String {
    let rule = "expected each address and port once";
    if one.addr.ip() == other.addr.ip() {
        return rule.into();
    }
    let any = [one, other].map(|listen| listen.addr.ip());
    if any.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        return format!("{rule}: it overlaps {one}, since [::] takes IPv4 and IPv6");
    }
    format!("{rule}: it overlaps {one}")
}

/// Returns whether two listeners conflict. Listeners on the same port conflict if their addresses are equal, or if one
/// address includes the other. `[::]` includes all addresses, and `0.0.0.0` all IPv4 addresses.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && overlap(one, other)
}

/// Keys of `[limits]` that have a minimum, each with the key whose value is that minimum.
const AT_LEAST: [(&str, &str); 5] = [
    ("outbox_bytes", "pending_bytes_per_channel"),
    ("outbox_bytes_per_shard", "outbox_bytes"),
    ("outbox_bytes_total", "outbox_bytes"),
    ("pending_bytes_per_shard", "pending_bytes_per_channel"),
    ("pending_bytes_total", "pending_bytes_per_channel"),
];

const LOOPBACK_WITHOUT_AUTH: &str =
    "expected loopback addresses only, since auth none lets everybody in";

/// Maximum number of ICE entries. The C SDK rejects more (`MAX_ICE_CONFIG_COUNT`).
const ICE_MAX: usize = 5;

/// Maximum number of listeners. Each one takes a descriptor on every shard.
const LISTENERS_MAX: usize = 64;

/// Maximum number of hosts. Each one becomes a name in the development certificate.
const DEV_HOSTS_MAX: usize = 16;

/// Maximum number of origins. Each request's origin is compared with all of them.
const ORIGINS_MAX: usize = 64;

/// Maximum number of etcd members. etcd's documentation recommends at most five.
const MEMBERS_MAX: usize = 16;

// The table of rules that involve several keys. Rules that need a loop, or whose error text contains a number, are
// methods of [`SettingsCheck`] instead.

struct Rule {
    key: &'static str,
    is_broken: fn(&Settings) -> bool,
    allowed: &'static str,
    /// Other keys and tables that the rule depends on. If any of them is invalid, the rule is not checked.
    others: &'static [&'static str],
}

/// The rules. A key's errors are reported in the order of its rules in this table.
#[rustfmt::skip] // a table with a rule per entry
const RULES: &[Rule] = &[
    rule("auth", |s| s.auth == Auth::Sigv4 && s.credentials.is_none(),
        "needs a credentials file: --credentials FILE, or credentials in the file; else --dev, or none with \
         every listener on loopback").beside(&["credentials"]),
    rule("dev_origins", |s| s.auth != Auth::None && !s.dev_origins.is_empty(),
        "needs --dev or auth none; where requests are signed, pages of any origin may send them"),
    rule("dev_hosts", |s| !s.dev && !s.dev_hosts.is_empty(), "needs --dev"),

    rule("admin.origins", |s| !s.admin.origins.is_empty() && s.admin.token_file.is_none(),
        "needs admin.token_file, since who asks a proxy reaches the listener from loopback")
        .beside(&["admin.token_file"]),
    rule("admin.try", |s| s.admin.try_page && !s.dev && s.admin.token_file.is_none(),
        "needs admin.token_file, since the page gives away credentials").beside(&["admin.token_file"]),
    rule("admin.oidc", |s| s.admin.oidc.as_ref().is_some_and(|oidc| !oidc.is_whole()),
        "expected provider, claim and value together").beside(&["admin.oidc"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && s.auth != Auth::Sigv4,
        "needs auth sigv4, whose credentials file has the provider").beside(&["auth"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && s.admin.token_file.is_none(),
        "needs admin.token_file: without a token everybody who reaches the listener is let in")
        .beside(&["admin.token_file"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && admin_is_open(s) && !has_secure_origin(s),
        "needs an https:// origin in admin.origins, or admin.listen on loopback: cookies would cross the \
         network in the clear").beside(&["admin.listen", "admin.origins"]),
    rule("admin.oidc.scopes",
        |s| s.admin.oidc.as_ref().is_some_and(|oidc| !oidc.scope().split(' ').any(|scope| scope == "openid")),
        "needs openid among them"),
    rule("admin.listen", |s| s.admin.listen.is_some_and(|addr| s.listen.iter().any(|one| clash(one.addr, addr))),
        ADDRESS_OF_ITS_OWN),
    rule("admin.listen", |s| admin_is_open(s) && s.dev && !s.allow_remote,
        "expected loopback addresses only, under --dev without --allow-remote"),
    rule("admin.listen",
        |s| admin_is_open(s) && (!s.dev || s.allow_remote) && s.admin.token_file.is_none() && !s.container,
        "expected loopback addresses, or others with admin.token_file").beside(&["admin.token_file"]),

    rule("advertise.domain",
        |s| s.advertise.domain.is_some() && (s.advertise.wss.is_some() || s.advertise.https.is_some()),
        "expected without advertise.wss and advertise.https only"),
    rule("advertise.domain",
        |s| s.dev && s.tls.is_none() && s.advertise.domain.as_ref().is_some_and(|domain| !domain.contains('.')),
        "expected two labels or more under --dev, such as kvs.localhost: no certificate has names below one")
        .beside(&["tls"]),

    rule("proxy.protocol_on", |s| s.proxy.protocol_on.iter().any(|it| !s.listen.contains(it)),
        "expected entries of listen").beside(&["listen"]),
    rule("proxy.protocol_on", |s| !s.proxy.protocol_on.is_empty() && s.proxy.protocol_from.is_empty(),
        "needs proxy.protocol_from").beside(&["proxy.protocol_from"]),

    rule("recorder.notes",
        |s| s.recorder.notes > 0 && (s.recorder.notes < RECORDER_NOTES_LEAST || !s.recorder.notes.is_power_of_two()),
        "expected 0 for off, or a power of two from 1024 to 4194304"),

    rule("presence.wake_ttl", |s| s.presence.wake_ttl_ms > 0 && s.strict(),
        "expected off under the strict profile, which keeps messages for the TTL of their channel"),
    rule("presence.wake_poll", |s| s.presence.wake_poll && s.strict(),
        "expected false under the strict profile, which has no path of its own"),

    rule("whep.on", |s| s.whep.on && s.strict(),
        "expected false under the strict profile, which has no path of its own"),

    rule("cluster", |s| s.cluster.is_on() && !s.cluster.is_whole(),
        "expected name, node, secret_file, listen and one of etcd and map_file together").beside(&["cluster"]),
    rule("cluster", |s| s.cluster.is_on() && s.dev,
        "expected without --dev, whose channels are created by connecting to any node"),
    rule("cluster.direct", |s| s.cluster.direct && s.advertise.domain.is_none(),
        "needs advertise.domain, below which the nodes have their names"),
    rule("cluster.advertise", |s| s.cluster.advertise.is_some() && !s.cluster.etcd.is_on(),
        "needs etcd: a fixed map has the addresses of the nodes"),
    rule("cluster.map_file", |s| s.cluster.map_file.is_some() && s.cluster.etcd.is_on(),
        "expected one of etcd and map_file").beside(ETCD),
    rule("cluster.etcd", |s| has_secure_member(s) && s.cluster.etcd.ca.is_none(),
        "expected https:// together with etcd_ca").beside(&["cluster.etcd", "cluster.etcd_ca"]),
    rule("cluster.etcd_ca", |s| s.cluster.etcd.ca.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_cert", |s| s.cluster.etcd.cert.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_cert", |s| s.cluster.etcd.cert.is_some() && s.cluster.etcd.key.is_none(),
        "expected together with etcd_key").beside(&["cluster.etcd", "cluster.etcd_key"]),
    rule("cluster.etcd_key", |s| s.cluster.etcd.key.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_key", |s| s.cluster.etcd.key.is_some() && s.cluster.etcd.cert.is_none(),
        "expected together with etcd_cert").beside(&["cluster.etcd", "cluster.etcd_cert"]),
    rule("cluster.etcd_user", |s| s.cluster.etcd.user.is_some() && s.cluster.etcd.password_file.is_none(),
        "expected together with etcd_password_file").beside(&["cluster.etcd", "cluster.etcd_password_file"]),
    rule("cluster.etcd_user", |s| s.cluster.etcd.user.is_some() && !s.cluster.etcd.is_on(), WITH_ETCD).beside(ETCD),
    rule("cluster.etcd_password_file", |s| s.cluster.etcd.password_file.is_some() && s.cluster.etcd.user.is_none(),
        "expected together with etcd_user").beside(&["cluster.etcd", "cluster.etcd_user"]),
    rule("cluster.etcd_quota_bytes",
        |s| s.cluster.etcd_quota_bytes != ClusterSettings::default().etcd_quota_bytes && !s.cluster.etcd.is_on(),
        WITH_ETCD).beside(ETCD),
    rule("cluster.lease", |s| !has_whole_lease(s), "expected whole seconds").beside(ETCD),
    rule("cluster.lease",
        |s| s.cluster.lease_ms != ClusterSettings::default().lease_ms && has_whole_lease(s) && !s.cluster.etcd.is_on(),
        WITH_ETCD).beside(ETCD),
];

const fn rule(key: &'static str, is_broken: fn(&Settings) -> bool, allowed: &'static str) -> Rule {
    Rule {
        key,
        is_broken,
        allowed,
        others: &[],
    }
}

impl Rule {
    const fn beside(mut self, others: &'static [&'static str]) -> Self {
        self.others = others;
        self
    }
}

fn admin_is_open(settings: &Settings) -> bool {
    let addr = settings.admin.listen;
    addr.is_some_and(|addr| !addr.ip().is_loopback())
}

fn has_secure_origin(settings: &Settings) -> bool {
    let mut origins = settings.admin.origins.iter();
    origins.any(|origin| origin.starts_with("https://"))
}

fn has_secure_member(settings: &Settings) -> bool {
    let mut members = settings.cluster.etcd.endpoints.iter();
    members.any(|member| member.starts_with("https://"))
}

fn has_whole_lease(settings: &Settings) -> bool {
    settings.cluster.lease_ms.is_multiple_of(1_000)
}

/// The key on which all rules about etcd depend. If etcd's URLs are invalid, these rules are not checked.
const ETCD: &[&str] = &["cluster.etcd"];

const WITH_ETCD: &str = "needs etcd";

const SECURE_MEMBERS: &str = "needs URLs of https:// in etcd";

const ADDRESS_OF_ITS_OWN: &str = "expected an address and port that no other listener has";

#[cfg(test)]
mod rules_tests {
    use super::*;
    use broker_core::settings::{KEYS, Key};

    /// A misspelt key would appear in faults as a table, and would never cause a rule to be skipped.
    #[test]
    fn rules_are_about_keys_and_tables_that_there_are() {
        let is_table = |path: &str| KEYS.iter().any(|key| key.table() == path);
        for rule in RULES.iter().filter(|rule| rule.key != "hook") {
            for path in std::iter::once(&rule.key).chain(rule.others) {
                assert!(Key::of(path).is_some() || is_table(path), "{path}");
            }
        }
    }
}
