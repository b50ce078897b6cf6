//! `heliograph cluster check`: checks a cluster before its nodes start or while they are running, first etcd and then
//! the nodes. Each output line is an `ok`, a `warning` or an `error`; the command exits with code 1 only if there is an
//! error.

use crate::commands::cluster_status::{Place, bytes};
use crate::etcd_options;
use crate::failure::Failure;
use crate::server::cluster::secret as cluster_secret;
use crate::terminal::{Finding, Level, count, error, ok, plain, warning, write};
use crate::tls_files::Urgency;
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::types::Kinship;
use broker_core::control::host_label;
use broker_etcd::operator::{
    ClusterSurvey, EtcdMember, MemberStatus, NodeReports, granted, reports, survey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

pub(crate) fn run(place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let findings = findings(place);
    let mut text = String::new();
    for Finding { level, text: line } in &findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        text += &format!("{level:<8} {}\n", plain(line));
    }
    write(out, &text)?;
    count(&findings, Level::Error, "error").map_or(Ok(()), |errors| Err(Failure::Fatal(errors)))
}

pub(crate) fn findings(place: &Place) -> Vec<Finding> {
    let mut findings = vec![secret(place)];
    findings.extend(certificate(place));
    match survey(&place.etcd, &place.name, place.proofs().as_ref()) {
        Err(why) => findings.push(error(format!("etcd: {why}"))),
        Ok(survey) => {
            findings.extend(of_etcd(&survey));
            findings.push(lease(place));
            findings.extend(node_findings(place, &survey));
        }
    }
    findings.extend(names(place));
    findings
}

fn certificate(place: &Place) -> Option<Finding> {
    let expiry = etcd_options::expiry(&place.settings.cluster.etcd)?;
    Some(match expiry.notice(SystemTime::now()) {
        None => ok(format!("the certificate towards etcd: {}", expiry.text())),
        Some((Urgency::Day, text)) => error(text),
        Some((Urgency::Week | Urgency::Month, text)) => warning(text),
    })
}

/// Checks that etcd grants leases of the requested duration. If the election timeout is long, etcd grants longer
/// leases.
fn lease(place: &Place) -> Finding {
    let asked_s = place.settings.cluster.lease_ms / 1_000;
    let seconds = i64::try_from(asked_s).unwrap_or(i64::MAX);
    match granted(&place.etcd, seconds) {
        Ok(granted_s) if granted_s == seconds => ok(format!("etcd grants leases of {asked_s} s")),
        Ok(granted_s) => warning(format!(
            "etcd grants leases of {granted_s} s, cluster.lease is {asked_s} s: lost hosts are detected later. Start \
             etcd with a shorter --election-timeout"
        )),
        Err(why) => warning(format!("etcd grants no lease: {why}")),
    }
}

fn of_etcd(survey: &ClusterSurvey) -> Vec<Finding> {
    let mut findings: Vec<_> = survey.members.iter().flat_map(of_member).collect();
    let answered = survey.members.iter().flat_map(|member| &member.status);
    let etcds: BTreeSet<_> = answered.map(|status| status.etcd).collect();
    if etcds.len() > 1 {
        findings.push(error("the URLs are of members of different etcds"));
    }
    findings.push(history(survey));
    findings.push(match &survey.meta {
        Some(meta) => ok(format!("cluster: id {}, {} slots", meta.id, meta.slots)),
        None => ok("cluster: not founded; its first node does that, or an import"),
    });
    for line in &survey.unreadable {
        findings.push(error(format!("key {line}")));
    }
    for key in &survey.strangers {
        let rule = "not a key of this version, although it has the prefix of the cluster";
        findings.push(warning(format!("key {key}: {rule}")));
    }
    findings
}

fn of_member(member: &EtcdMember) -> Vec<Finding> {
    let endpoint = &member.endpoint;
    match &member.status {
        // This is only a warning, since the survey of etcd reads from whichever endpoint answers.
        Err(why) => vec![warning(format!("{endpoint}: {why}"))],
        Ok(status) => {
            let mut findings = vec![version(status), quota(status)];
            findings.extend(status.ahead_s.map(clock));
            if !status.has_leader {
                findings.push(error("it has no leader"));
            }
            let alarms = status.alarms.iter();
            findings.extend(alarms.map(|alarm| error(alarm.to_string())));
            for finding in &mut findings {
                finding.text = format!("{endpoint}: {}", finding.text);
            }
            findings
        }
    }
}

fn version(status: &MemberStatus) -> Finding {
    let version = &status.version;
    if is_recommended(version) {
        return ok(format!("version {version}"));
    }
    warning(format!(
        "version {version}: 3.5.13 or newer, or 3.4.31, is recommended: older ones may end all leases after a stuck \
         disk, so that nodes register again"
    ))
}

/// Returns whether this etcd release is free of the bug that revokes leases while they are being renewed.
fn is_recommended(version: &str) -> bool {
    let digits = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part.get(..end.unwrap_or(part.len()))?.parse::<u32>().ok()
    };
    let mut parts = version.splitn(3, '.').map(digits);
    let mut next = || parts.next().flatten();
    match (next(), next(), next()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(major), Some(minor), Some(_)) => (major, minor) > (3, 5),
        (_, _, _) => false,
    }
}

fn clock(ahead_s: i64) -> Finding {
    let off = ahead_s.unsigned_abs();
    if off <= CLOCK_OFF_S {
        return ok("its clock agrees with this machine's");
    }
    let way = if ahead_s > 0 { "ahead of" } else { "behind" };
    warning(format!(
        "its clock is {off} s {way} this machine's: synchronize both (`timedatectl set-ntp true`)"
    ))
}

fn quota(status: &MemberStatus) -> Finding {
    let used = bytes(status.size);
    let Some(quota) = status.quota else {
        return warning(format!("database {used}; its quota is not in its metrics"));
    };
    let said = format!("database {used} of {}", bytes(quota));
    if status.size >= quota / 100 * 80 {
        let remedy = "compact and defragment it, or raise --quota-backend-bytes";
        return warning(format!("{said}, more than 80 %: {remedy}"));
    }
    if quota < QUOTA {
        return warning(format!(
            "{said}: start it with --quota-backend-bytes {QUOTA}"
        ));
    }
    ok(said)
}

fn history(survey: &ClusterSurvey) -> Finding {
    let revision = survey.revision;
    let flags = "--auto-compaction-mode periodic --auto-compaction-retention 1h";
    if survey.is_compacted {
        return ok(format!("revision {revision}; old ones are removed"));
    }
    if revision < REVISIONS {
        return ok(format!(
            "revision {revision}; none was removed so far, so it cannot be seen whether etcd was started with {flags}"
        ));
    }
    warning(format!(
        "revision {revision}, and no old one was ever removed: start etcd with {flags}"
    ))
}

fn secret(place: &Place) -> Finding {
    let Some(path) = &place.settings.cluster.secret_file else {
        return error("cluster.secret_file: none");
    };
    match cluster_secret(path) {
        Ok(_) => ok(format!("cluster.secret_file = {}", path.display())),
        Err(rule) => error(format!("cluster.secret_file = {}: {rule}", path.display())),
    }
}

fn names(place: &Place) -> Vec<Finding> {
    let advertise = &place.settings.advertise;
    let of_domain = advertise
        .domain
        .iter()
        .map(|domain| format!("m-00000000.{domain}"));
    let endpoints = [&advertise.wss, &advertise.https];
    let endpoints = endpoints.into_iter().flatten().filter_map(|url| {
        let rest = url.split_once("://")?.1;
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(if is_port { host } else { rest }.to_owned())
    });
    let names: BTreeSet<_> = of_domain.chain(endpoints).collect();
    let resolved = names.iter().map(|name| match resolve(name) {
        Ok(addresses) => ok(format!("{name} is {}", listed(&addresses))),
        Err(why) => warning(format!("{name} does not resolve: {why}")),
    });
    resolved.collect()
}

fn listed(addresses: &BTreeSet<IpAddr>) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

pub(crate) fn resolve(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let (tell, told) = mpsc::channel();
    let host = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    // The system resolver has no timeout. A result that arrives too late is discarded.
    std::thread::spawn(move || {
        let found = (host.as_str(), 443).to_socket_addrs();
        let _ = tell.send(found.map(|found| found.map(|at| at.ip()).collect()));
    });
    match told.recv_timeout(RESOLVE_MAX) {
        Ok(found) => found.map_err(|why| why.to_string()),
        Err(_) => Err("no answer in time".into()),
    }
}

/// Largest storage quota recommended by etcd's documentation, in bytes. Enough for the records of two million channels
/// and their revision history.
const QUOTA: u64 = 8 << 30;

/// Largest difference, in seconds, that can be measured between two correct clocks. It is not 0, because the clocks are
/// compared in whole seconds and read one after the other.
const CLOCK_OFF_S: u64 = 2;

/// The etcd revision at which the command starts to warn if etcd has never been compacted. Creating the slots of a new
/// cluster takes 4,096 revisions.
const REVISIONS: i64 = 10_000;

const RESOLVE_MAX: Duration = Duration::from_secs(5);

// Checks of the nodes: their clocks, the links between them, and the addresses that their names resolve to.

fn node_findings(place: &Place, survey: &ClusterSurvey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, node) in &survey.nodes {
        if let Some(kinship) = node.stranger {
            findings.push(error(format!("{name} {}", stranger(kinship))));
        } else if node.is_here && node.registration.is_none() {
            findings.push(warning(format!(
                "{name} is a member that is expected to run, and is not registered"
            )));
        }
    }
    findings.extend(hosts(survey));
    match reports(&place.etcd, &place.name) {
        Err(why) => findings.push(warning(format!("the nodes cannot be asked: {why}"))),
        Ok(reports) => {
            findings.extend(silent(&reports));
            findings.extend(clocks(&reports));
            findings.extend(links(&reports));
            findings.extend(credentials(&reports));
        }
    }
    findings.extend(node_names(place, survey));
    findings
}

fn stranger(kinship: Kinship) -> String {
    match kinship {
        Kinship::OtherVersion(inner) => format!(
            "is registered with inner version {inner}, this program has {INNER_VERSION}: only neighbouring versions \
             share a cluster"
        ),
        Kinship::Peer | Kinship::Unproven => {
            "is registered without a proof that is valid under cluster.secret_file: give it the cluster's secret, or \
             a cluster.name of its own"
                .into()
        }
    }
}

/// Resolves the nodes' host names on this machine. The nodes themselves may use different resolvers and obtain
/// different addresses.
fn hosts(survey: &ClusterSurvey) -> Vec<Finding> {
    let nodes = survey.nodes.iter();
    let nodes = nodes.filter_map(|(node, status)| {
        let (host, _) = status.inner.as_ref()?.address.rsplit_once(':')?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_err().then_some((node, host))
    });
    let resolved = nodes.map(|(node, host)| {
        let name = format!("{host}, where nodes reach {node},");
        match resolve(host) {
            Ok(found) => ok(format!("{name} is {}", listed(&found))),
            Err(why) => warning(format!("{name} does not resolve here: {why}")),
        }
    });
    resolved.collect()
}

fn silent(reports: &NodeReports) -> impl Iterator<Item = Finding> {
    let silent = reports.iter().filter(|(_, report)| report.is_none());
    silent.map(|(node, _)| {
        error(format!(
            "{node} is registered, and does not answer: it hangs, or is cut off from etcd"
        ))
    })
}

fn clocks(reports: &NodeReports) -> Vec<Finding> {
    let ahead: Vec<_> = reports
        .iter()
        .filter_map(|(node, report)| Some((node, report.as_ref()?.ahead_ms)))
        .collect();
    let mut findings = Vec::new();
    for (node, ahead_ms) in &ahead {
        let by_ms = ahead_ms.unsigned_abs();
        let word = if *ahead_ms < 0 { "behind" } else { "ahead of" };
        let seconds = by_ms as f64 / 1e3;
        let text = format!("{node}: its clock is {seconds:.1} s {word} this machine's");
        findings.extend(differs(by_ms, text));
    }
    let first = ahead.iter().min_by_key(|(_, ahead_ms)| ahead_ms);
    let last = ahead.iter().max_by_key(|(_, ahead_ms)| ahead_ms);
    if let Some(((behind, least), (before, most))) = first.zip(last) {
        let by_ms = most.abs_diff(*least);
        let seconds = by_ms as f64 / 1e3;
        let text = format!("{behind}: its clock is {seconds:.1} s behind that of {before}");
        findings.extend(differs(by_ms, text));
    }
    if findings.is_empty() && !ahead.is_empty() {
        findings.push(ok(match ahead.len() {
            1 => "the clock of the node agrees with this machine's".into(),
            nodes => format!("clocks of {nodes} nodes agree"),
        }));
    }
    findings
}

/// Returns the finding about a clock difference, or `None` for a difference below [`CLOCK_WARNING_MS`].
fn differs(by_ms: u64, text: String) -> Option<Finding> {
    if by_ms >= CLOCK_ERROR_MS {
        let text = format!("{text}: signatures are refused from 300 s on");
        return Some(error(text));
    }
    (by_ms >= CLOCK_WARNING_MS).then(|| warning(text))
}

fn links(reports: &NodeReports) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (from, report) in reports {
        let Some(report) = report else { continue };
        for to in reports.keys().filter(|to| *to != from) {
            if !report.reaches.contains(to) {
                findings.push(error(format!(
                    "{from} gets no answer from {to}: a port of [cluster] listen or peers is closed between them, or \
                     they have different secrets"
                )));
            }
        }
    }
    let nodes = reports.values().flatten().count();
    if findings.is_empty() && nodes > 1 {
        findings.push(ok(format!("each of {nodes} nodes reaches every other one")));
    }
    findings
}

fn credentials(reports: &NodeReports) -> Option<Finding> {
    let mut nodes_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, report) in reports {
        if let Some(sha256) = report.as_ref().and_then(|it| it.credentials.as_deref()) {
            nodes_of.entry(sha256).or_default().push(node);
        }
    }
    let nodes: usize = nodes_of.values().map(Vec::len).sum();
    if nodes_of.len() < 2 {
        return (nodes > 1).then(|| ok(format!("credentials files of {nodes} nodes agree")));
    }
    let files = nodes_of.iter().map(|(sha256, nodes)| {
        let short = sha256.get(..SHA256_SHOWN).unwrap_or(sha256);
        format!("{} (SHA-256 {short}…)", nodes.join(" "))
    });
    let files: Vec<_> = files.collect();
    Some(error(format!(
        "credentials files differ: {}; callers that were removed from one are still accepted by the others: copy the \
         files of one node to all, and ask again after their reload",
        files.join(", ")
    )))
}

/// Checks each node's host names under `cluster.direct`. Reports names that resolve through a wildcard record, since
/// connections to them may reach any node.
fn node_names(place: &Place, survey: &ClusterSurvey) -> Vec<Finding> {
    let settings = &place.settings;
    let Some(domain) = settings
        .advertise
        .domain
        .as_ref()
        .filter(|_| settings.cluster.direct)
    else {
        return Vec::new();
    };
    let anywhere = match resolve(&format!("{ABSENT}.{domain}")) {
        Ok(anywhere) => anywhere,
        // If the resolver is unreachable, every further query would take just as long to fail.
        Err(why) => return vec![warning(format!("no name below {domain} resolves: {why}"))],
    };
    let nodes = survey.nodes.iter();
    let nodes = nodes.filter(|(_, node)| node.registration.is_some());
    nodes
        .flat_map(|(node, _)| {
            let label = host_label(node);
            KINDS.map(|kind| (node, format!("{kind}-{label}.{domain}")))
        })
        .map(|(node, name)| named(node, &name, resolve(&name), &anywhere))
        .collect()
}

fn named(
    node: &str,
    name: &str,
    found: Result<BTreeSet<IpAddr>, String>,
    anywhere: &BTreeSet<IpAddr>,
) -> Finding {
    let found = match found {
        Ok(found) => found,
        Err(why) => return warning(format!("{name}, of {node}, does not resolve: {why}")),
    };
    let text = format!("{name}, of {node}, is {}", listed(&found));
    if found == *anywhere && found.len() > 1 {
        return warning(format!(
            "{text}, as any name: connections to it reach any node, and are passed on"
        ));
    }
    ok(text)
}

/// Number of SHA-256 hex digits to show, enough to tell files apart.
const SHA256_SHOWN: usize = 12;

/// Host name prefixes of the endpoints for masters, viewers and API calls.
pub(crate) const KINDS: [&str; 3] = ["m", "v", "r"];

/// A label that no node has, since node labels never start with `x`. It resolves only through a wildcard record.
const ABSENT: &str = "x-00000000";

/// Clock difference, in milliseconds, that causes a warning. Clocks that are synchronized with a time server differ by
/// less.
const CLOCK_WARNING_MS: u64 = 2_000;

/// Clock difference in milliseconds that causes an error. Requests are accepted with up to five times this difference.
const CLOCK_ERROR_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_the_fault_of_leases_are_not_recommended() {
        #[rustfmt::skip] // a list
        let cases = ["3.5.13", "3.5.14-rc.1", "3.4.31", "3.6.0", "4.0.0", "3.10.1"];
        for version in cases {
            assert!(is_recommended(version), "{version}");
        }
        for version in [
            "3.4.23", "3.5.12", "3.5.9", "3.3.40", "2.9.9", "", "3.6", "x.y.z",
        ] {
            assert!(!is_recommended(version), "{version}");
        }
    }

    #[test]
    fn a_small_and_a_nearly_full_quota_are_warnings() {
        let status = |size, quota| MemberStatus {
            version: "3.6.0".into(),
            etcd: 1,
            leads: true,
            has_leader: true,
            size,
            used: 0,
            quota,
            alarms: Vec::new(),
            ahead_s: None,
        };
        for (size, limit, level) in [
            (0, Some(QUOTA), Level::Ok),
            (QUOTA / 100 * 80, Some(QUOTA), Level::Warning),
            (0, Some(QUOTA / 4), Level::Warning),
            (0, None, Level::Warning),
        ] {
            assert_eq!(
                quota(&status(size, limit)).level,
                level,
                "{size} of {limit:?}"
            );
        }
    }

    #[test]
    fn old_revisions_that_stay_are_a_warning() {
        let level = |revision, is_compacted| {
            let survey = ClusterSurvey {
                revision,
                is_compacted,
                ..ClusterSurvey::default()
            };
            history(&survey).level
        };
        assert_eq!(level(5_000, false), Level::Ok);
        assert_eq!(level(REVISIONS, false), Level::Warning);
        assert_eq!(level(REVISIONS, true), Level::Ok);
    }
}

#[cfg(test)]
mod nodes_tests {
    use super::*;
    use crate::terminal::Level;
    use broker_etcd::InnerAddress;
    use broker_etcd::operator::{NodeReport, NodeStatus};

    /// The report of a node: the offset of its clock in milliseconds, and the names of the nodes that it can reach.
    type Said<'a> = Option<(i64, &'a [&'a str])>;

    fn reports(nodes: &[(&str, Said<'_>)]) -> NodeReports {
        let nodes = nodes.iter().map(|(name, report)| {
            let report = report.map(|(ahead_ms, reaches)| NodeReport {
                ahead_ms,
                reaches: reaches.iter().map(|name| (*name).into()).collect(),
                ..NodeReport::default()
            });
            ((*name).into(), report)
        });
        nodes.collect()
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn credentials_that_differ_are_an_error_that_names_the_nodes() {
        let of = |nodes: &[(&str, Option<&str>)]| {
            let nodes = nodes.iter().map(|(name, sha256)| {
                let report = NodeReport {
                    credentials: sha256.map(Into::into),
                    ..NodeReport::default()
                };
                ((*name).into(), Some(report))
            });
            credentials(&nodes.collect())
        };
        let (one, other) = ("0123456789abcdef", "123456789abcdef0");
        assert_eq!(of(&[("n1", None), ("n2", None)]), None);
        assert_eq!(
            of(&[("n1", Some(one)), ("n2", None)]),
            None,
            "it does not say"
        );
        let agree = of(&[("n1", Some(one)), ("n2", Some(one))]).unwrap();
        assert_eq!(agree.level, Level::Ok);
        let differ = of(&[("n1", Some(one)), ("n2", Some(other)), ("n3", Some(one))]).unwrap();
        assert_eq!(differ.level, Level::Error);
        for part in [
            "n1 n3 (SHA-256 0123456789ab…)",
            "n2 (SHA-256 123456789abc…)",
        ] {
            assert!(differ.text.contains(part), "{}", differ.text);
        }
    }

    #[test]
    fn clocks_that_differ_are_a_warning_and_then_an_error() {
        let of = |one: i64, other: i64| {
            let found = clocks(&reports(&[
                ("n1", Some((one, &[]))),
                ("n2", Some((other, &[]))),
            ]));
            levels(&found)
        };
        assert_eq!(of(0, 1_999), [Level::Ok]);
        assert_eq!(of(0, 2_000), [Level::Warning, Level::Warning]);
        assert_eq!(of(0, -60_000), [Level::Error, Level::Error]);
        assert_eq!(of(-1_500, 1_500), [Level::Warning], "between the two alone");
        assert_eq!(of(3_600_000, 3_600_000), [Level::Error, Level::Error]);
        assert_eq!(clocks(&reports(&[("n1", None)])), []);
        let alone = clocks(&reports(&[("n1", Some((0, &[])))]));
        assert_eq!(
            alone[0].text,
            "the clock of the node agrees with this machine's"
        );
        let text = clocks(&reports(&[("n1", Some((-61_000, &[])))]));
        assert_eq!(
            text[0].text,
            "n1: its clock is 61.0 s behind this machine's: signatures are refused from 300 s on"
        );
    }

    #[test]
    fn names_of_hosts_are_looked_up_and_addresses_are_not() {
        let mut survey = ClusterSurvey::default();
        for (name, address) in [
            ("n1", "10.0.0.1:1"),
            ("n2", "[::1]:1"),
            ("n3", "localhost:1"),
            ("n4", "\0:1"),
        ] {
            let status = NodeStatus {
                inner: Some(InnerAddress::new(address, &[])),
                ..NodeStatus::default()
            };
            survey.nodes.insert(name.into(), status);
        }
        let found = hosts(&survey);
        assert_eq!(levels(&found), [Level::Ok, Level::Warning]);
        testkit::assert_begins(&found[0].text, "localhost, where nodes reach n3, is ");
    }

    #[test]
    fn a_link_that_fails_in_one_direction_is_an_error() {
        let whole = reports(&[
            ("n1", Some((0, &["n1", "n2"]))),
            ("n2", Some((0, &["n1", "n2"]))),
        ]);
        assert_eq!(levels(&links(&whole)), [Level::Ok]);
        let cut = reports(&[("n1", Some((0, &["n2"]))), ("n2", Some((0, &[])))]);
        let found = links(&cut);
        assert_eq!(levels(&found), [Level::Error]);
        assert!(found[0].text.starts_with("n2 gets no answer from n1: "));
        let silent_one = reports(&[("n1", Some((0, &[]))), ("n2", None)]);
        assert_eq!(levels(&links(&silent_one)), [Level::Error]);
        assert_eq!(silent(&silent_one).count(), 1);
        assert_eq!(links(&reports(&[("n1", Some((0, &[])))])), []);
    }

    #[test]
    fn a_name_that_only_the_wildcard_has_is_a_warning() {
        let set = |texts: &[&str]| -> BTreeSet<IpAddr> {
            texts
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect()
        };
        let any = set(&["192.0.2.1", "192.0.2.2"]);
        let level = |found| named("n1", "m-1.example", found, &any).level;
        assert_eq!(level(Ok(set(&["192.0.2.1"]))), Level::Ok);
        assert_eq!(level(Ok(any.clone())), Level::Warning);
        assert_eq!(level(Err("no such name".into())), Level::Warning);
    }
}
