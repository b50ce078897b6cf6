//! `heliograph cluster check`: what an operator should know before nodes start, and from time to time. Each line is
//! `ok`, a `warning` or an `error`; only errors make the exit code 1.

use crate::cluster_admin::nodes;
use crate::cluster_admin::place::Place;
use crate::cluster_admin::table::bytes;
use crate::failure::Failure;
use crate::finding::{Finding, Level, count, error, ok, warning};
use crate::server::cluster::secret as cluster_secret;
use crate::terminal::{plain, write};
use broker_etcd::operator::{EtcdMember, MemberStatus, Survey, granted, survey};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

/// Looks at everything, and prints a line each.
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

/// Everything that is looked at.
pub(crate) fn findings(place: &Place) -> Vec<Finding> {
    let mut findings = vec![secret(place)];
    match survey(&place.etcd, &place.name, place.proofs().as_ref()) {
        Err(why) => findings.push(error(format!("etcd: {why}"))),
        Ok(survey) => {
            findings.extend(of_etcd(&survey));
            findings.push(lease(place));
            findings.extend(nodes::findings(place, &survey));
        }
    }
    findings.extend(names(place));
    findings
}

/// The lease that etcd grants counts, and it grants longer ones where its elections take long.
fn lease(place: &Place) -> Finding {
    let asked_s = place.settings.cluster.lease_ms / 1_000;
    let seconds = i64::try_from(asked_s).unwrap_or(i64::MAX);
    match granted(&place.etcd, seconds) {
        Ok(granted_s) if granted_s == seconds => ok(format!("etcd grants leases of {asked_s} s")),
        Ok(granted_s) => warning(format!(
            "etcd grants leases of {granted_s} s, cluster.lease is {asked_s} s: a lost host is noticed later by that. \
             Start etcd with a shorter --election-timeout"
        )),
        Err(why) => warning(format!("etcd grants no lease: {why}")),
    }
}

fn of_etcd(survey: &Survey) -> Vec<Finding> {
    let mut findings: Vec<_> = survey.members.iter().flat_map(of_member).collect();
    findings.extend(one_etcd(survey));
    findings.push(history(survey));
    findings.push(match &survey.meta {
        Some(meta) => ok(format!("cluster: id {}, {} slots", meta.id, meta.slots)),
        None => ok("cluster: not founded; its first node does that, or an import"),
    });
    findings.extend(
        survey
            .unreadable
            .iter()
            .map(|line| error(format!("key {line}"))),
    );
    for key in &survey.strangers {
        let rule = "not a key of this version, although it has the prefix of the cluster";
        findings.push(warning(format!("key {key}: {rule}")));
    }
    findings
}

fn of_member(member: &EtcdMember) -> Vec<Finding> {
    let endpoint = &member.endpoint;
    match &member.status {
        // The survey was made by another one.
        Err(why) => vec![warning(format!("{endpoint}: {why}"))],
        Ok(status) => {
            let mut findings = vec![version(status), quota(status)];
            findings.extend(status.ahead_s.map(clock));
            if !status.has_leader {
                findings.push(error("it knows no leader"));
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

/// Releases that do not revoke leases of nodes that kept them alive.
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

/// Its clock against this machine's: those of nodes follow the same servers of time, or nothing.
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

/// Members that are of several etcds would each answer another thing.
fn one_etcd(survey: &Survey) -> Option<Finding> {
    let answered = survey
        .members
        .iter()
        .filter_map(|member| member.status.as_ref().ok());
    let etcds: BTreeSet<_> = answered.map(|status| status.etcd).collect();
    (etcds.len() > 1).then(|| error("the URLs are of members of different etcds"))
}

fn history(survey: &Survey) -> Finding {
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

/// The names that discovery answers with.
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
    names.iter().map(|name| resolved(name)).collect()
}

fn resolved(name: &str) -> Finding {
    match resolve(name) {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            ok(format!("{name} is {}", addresses.join(" ")))
        }
        Err(why) => warning(format!("{name} does not resolve: {why}")),
    }
}

/// The addresses of a name, or why there are none.
pub(crate) fn resolve(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let (tell, told) = mpsc::channel();
    let host = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    // The system's resolver has no bound of its own; what it finds later is of no use.
    std::thread::spawn(move || {
        let found = (host.as_str(), 443).to_socket_addrs();
        let _ = tell.send(found.map(|found| found.map(|at| at.ip()).collect()));
    });
    match told.recv_timeout(RESOLVE_MAX) {
        Ok(found) => found.map_err(|why| why.to_string()),
        Err(_) => Err("no answer in time".into()),
    }
}

/// The largest quota that etcd's documentation advises: room for history beside the records of two million channels.
const QUOTA: u64 = 8 << 30;

/// Seconds by which two clocks that are right may seem to differ: they are compared in whole seconds, one of them late.
const CLOCK_OFF_S: u64 = 2;

/// Revisions from which on somebody would have noticed: the slots of a young cluster make 4,096 changes in all.
const REVISIONS: i64 = 10_000;

/// Time to resolve a name, at most.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn releases_with_the_fault_of_leases_are_not_recommended() {
        for version in [
            "3.5.13",
            "3.5.14-rc.1",
            "3.4.31",
            "3.6.0",
            "4.0.0",
            "3.10.1",
        ] {
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
            let survey = Survey {
                revision,
                is_compacted,
                ..Survey::default()
            };
            history(&survey).level
        };
        assert_eq!(level(5_000, false), Level::Ok);
        assert_eq!(level(REVISIONS, false), Level::Warning);
        assert_eq!(level(REVISIONS, true), Level::Ok);
    }
}
