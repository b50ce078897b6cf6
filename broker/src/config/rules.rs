//! Rules across several keys, a row each. Those with a number in their text, or a list to walk, are functions in
//! `check` and `cluster`.

use crate::config::check::{Check, clash};
use broker_core::limits::RECORDER_NOTES_LEAST;
use broker_core::settings::{Auth, Cluster, Oidc, Settings};

/// A bound of one key that depends on others.
struct Rule {
    /// The key, or a table.
    key: &'static str,
    /// Whether its value is wrong.
    is_broken: fn(&Settings) -> bool,
    /// The values that are allowed instead, as the error names them.
    allowed: &'static str,
    /// Keys and tables that the rule looks at, too. When one of them was found wrong as it was read, what follows from
    /// its absence is not worth saying.
    others: &'static [&'static str],
}

/// Notes every rule of the table that the settings break.
pub(crate) fn check(check: &mut Check<'_>) {
    for rule in RULES {
        let is_unknown = rule.others.iter().any(|key| check.is_wrong(key));
        if (rule.is_broken)(check.settings) && !is_unknown {
            check.broken(rule.key, rule.allowed);
        }
    }
}

/// The rules; those of one key in the order in which its errors are listed.
#[rustfmt::skip] // a table, a rule per entry
const RULES: &[Rule] = &[
    rule("auth", |s| s.auth == Auth::Sigv4 && s.credentials.is_none(),
        "allowed with a credentials file: --credentials FILE, or credentials in the file; else --dev, or none with \
         every listener on loopback").beside(&["credentials"]),
    rule("dev_origins", |s| s.auth != Auth::None && !s.dev_origins.is_empty(),
        "allowed with --dev or auth none; where requests are signed, pages of any origin may send them"),
    rule("dev_hosts", |s| !s.dev && !s.dev_hosts.is_empty(), "allowed with --dev"),

    rule("admin.origins", |s| !s.admin.origins.is_empty() && s.admin.token_file.is_none(),
        "allowed with admin.token_file, since who asks a proxy reaches the listener from loopback")
        .beside(&["admin.token_file"]),
    rule("admin.try", |s| s.admin.try_page && !s.dev && s.admin.token_file.is_none(),
        "allowed with admin.token_file, since the page gives away credentials").beside(&["admin.token_file"]),
    rule("admin.oidc", |s| s.admin.oidc.as_ref().is_some_and(|oidc| !oidc.is_whole()),
        "allowed provider, claim and value together").beside(&["admin.oidc"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && s.auth != Auth::Sigv4,
        "allowed with auth sigv4, whose credentials file has the provider").beside(&["auth"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && s.admin.token_file.is_none(),
        "allowed with admin.token_file: without a token everybody who reaches the listener is let in")
        .beside(&["admin.token_file"]),
    rule("admin.oidc", |s| s.admin.oidc.is_some() && admin_is_open(s) && !has_secure_origin(s),
        "allowed with an https:// origin in admin.origins, or with admin.listen on loopback: cookies would cross the \
         network in the clear").beside(&["admin.listen", "admin.origins"]),
    rule("admin.oidc.scopes", |s| s.admin.oidc.as_ref().is_some_and(lacks_openid),
        "allowed with openid among them"),
    rule("admin.listen", |s| s.admin.listen.is_some_and(|addr| s.listen.iter().any(|one| clash(one.addr, addr))),
        ADDRESS_OF_ITS_OWN),
    rule("admin.listen", |s| admin_is_open(s) && s.dev && !s.allow_remote,
        "allowed loopback addresses only, under --dev without --allow-remote"),
    rule("admin.listen", |s| admin_is_open(s) && (!s.dev || s.allow_remote) && s.admin.token_file.is_none(),
        "allowed loopback addresses, or others with admin.token_file").beside(&["admin.token_file"]),

    rule("advertise.domain",
        |s| s.advertise.domain.is_some() && (s.advertise.wss.is_some() || s.advertise.https.is_some()),
        "allowed without advertise.wss and advertise.https only"),

    rule("recorder.notes",
        |s| s.recorder.notes > 0 && (s.recorder.notes < RECORDER_NOTES_LEAST || !s.recorder.notes.is_power_of_two()),
        "allowed 0 for off, or a power of two from 1024 to 4194304"),

    rule("signaling.presence_messages", |s| s.signaling.presence_messages && s.strict(),
        "allowed false under the strict profile, which sends what AWS sends"),
    rule("presence.wake_ttl", |s| s.presence.wake_ttl_ms > 0 && s.strict(),
        "allowed off under the strict profile, which keeps messages for the TTL of their channel"),
    rule("presence.wake_poll", |s| s.presence.wake_poll && s.strict(),
        "allowed false under the strict profile, which has no path of its own"),

    rule("cluster", |s| s.cluster.is_on() && !s.cluster.is_whole(),
        "allowed name, node, secret_file, listen and one of etcd and map_file together").beside(&["cluster"]),
    rule("cluster", |s| s.cluster.is_on() && s.dev,
        "allowed without --dev, whose channels are created by connecting to any node"),
    rule("cluster.direct", |s| s.cluster.direct && s.advertise.domain.is_none(),
        "allowed with advertise.domain, below which the nodes have their names"),
    rule("cluster.advertise", |s| s.cluster.advertise.is_some() && !s.cluster.etcd.is_on(),
        "allowed with etcd only: a fixed map has the addresses of the nodes"),
    rule("cluster.map_file", |s| s.cluster.map_file.is_some() && s.cluster.etcd.is_on(),
        "allowed one of etcd and map_file").beside(ETCD),
    rule("cluster.etcd", |s| has_secure_member(s) && s.cluster.etcd.ca.is_none(),
        "allowed https:// together with etcd_ca").beside(&["cluster.etcd", "cluster.etcd_ca"]),
    rule("cluster.etcd_ca", |s| s.cluster.etcd.ca.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_cert", |s| s.cluster.etcd.cert.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_cert", |s| s.cluster.etcd.cert.is_some() && s.cluster.etcd.key.is_none(),
        "allowed together with etcd_key").beside(&["cluster.etcd", "cluster.etcd_key"]),
    rule("cluster.etcd_key", |s| s.cluster.etcd.key.is_some() && !has_secure_member(s), SECURE_MEMBERS).beside(ETCD),
    rule("cluster.etcd_key", |s| s.cluster.etcd.key.is_some() && s.cluster.etcd.cert.is_none(),
        "allowed together with etcd_cert").beside(&["cluster.etcd", "cluster.etcd_cert"]),
    rule("cluster.etcd_user", |s| s.cluster.etcd.user.is_some() && s.cluster.etcd.password_file.is_none(),
        "allowed together with etcd_password_file").beside(&["cluster.etcd", "cluster.etcd_password_file"]),
    rule("cluster.etcd_user", |s| s.cluster.etcd.user.is_some() && !s.cluster.etcd.is_on(), WITH_ETCD).beside(ETCD),
    rule("cluster.etcd_password_file", |s| s.cluster.etcd.password_file.is_some() && s.cluster.etcd.user.is_none(),
        "allowed together with etcd_user").beside(&["cluster.etcd", "cluster.etcd_user"]),
    rule("cluster.etcd_quota_bytes",
        |s| s.cluster.etcd_quota_bytes != Cluster::default().etcd_quota_bytes && !s.cluster.etcd.is_on(),
        WITH_ETCD).beside(ETCD),
    rule("cluster.lease", |s| !has_whole_lease(s), "allowed whole seconds").beside(ETCD),
    rule("cluster.lease",
        |s| s.cluster.lease_ms != Cluster::default().lease_ms && has_whole_lease(s) && !s.cluster.etcd.is_on(),
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

fn lacks_openid(oidc: &Oidc) -> bool {
    !oidc.scope().split(' ').any(|scope| scope == "openid")
}

fn has_secure_member(settings: &Settings) -> bool {
    let mut members = settings.cluster.etcd.endpoints.iter();
    members.any(|member| member.starts_with("https://"))
}

fn has_whole_lease(settings: &Settings) -> bool {
    settings.cluster.lease_ms.is_multiple_of(1_000)
}

/// Nothing is said of what belongs to etcd when its URLs are wrong.
const ETCD: &[&str] = &["cluster.etcd"];

const WITH_ETCD: &str = "allowed with etcd only";

const SECURE_MEMBERS: &str = "allowed with URLs of https:// in etcd only";

/// The rule for a listener that clashes with another one.
pub(crate) const ADDRESS_OF_ITS_OWN: &str =
    "allowed an address and port that no other listener has";

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::{KEYS, Key};

    /// A misspelt key would be shown as a table, and its absence never excused.
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
