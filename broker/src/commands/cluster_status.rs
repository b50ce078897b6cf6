//! `heliograph cluster status`: shows the nodes of the cluster and whether they are reachable, the members of etcd, the
//! slot owners, and the links between nodes. [`Place`] and [`table`] are shared by all cluster commands.

use crate::devices::unix_s;
use crate::server::cluster::secret as cluster_secret;
use crate::{config, etcd_options};
use crate::{failure::Failure, terminal::plain};
use broker_core::cluster::link::LinkFigures;
use broker_core::cluster::secret::ProofKeys;
use broker_core::cluster::types::Kinship;
use broker_core::settings::Settings;
use broker_etcd::Options;
use broker_etcd::operator::{ClusterSurvey, EtcdMember, NodeReports, NodeStatus, reports, survey};
use std::path::Path;
use std::time::SystemTime;

pub(crate) fn text(place: &Place, survey: &ClusterSurvey) -> String {
    let founded = match &survey.meta {
        Some(meta) => format!("id {}, {} slots", plain(&meta.id), meta.slots),
        None => "not founded: its first node does that, or an import".into(),
    };
    let mut text = format!("cluster {}: {founded}\n", place.name);
    text += &format!("slots: {}\n", slots(survey));
    if !survey.nodes.is_empty() {
        let reports = reports(&place.etcd, &place.name);
        text += "\n";
        text += &nodes(survey, reports.as_ref().unwrap_or(&NodeReports::new()));
        text += &programs(survey, SystemTime::now());
        match reports {
            Ok(reports) => text += &links(&reports),
            Err(why) => text += &format!("the nodes cannot be asked: {}\n", plain(&why)),
        }
    }
    text += &format!("\netcd, at revision {}:\n", survey.revision);
    text += &table(None, survey.members.iter().map(member));
    for line in &survey.unreadable {
        text += &format!("unreadable: {}\n", plain(line));
    }
    text
}

fn slots(survey: &ClusterSurvey) -> String {
    let owned: usize = survey.nodes.values().map(|node| node.slots).sum();
    format!(
        "{owned} have an owner, {} were released, {} were never owned",
        survey.vacant, survey.unclaimed
    )
}

fn nodes(survey: &ClusterSurvey, reports: &NodeReports) -> String {
    let head = [
        "node",
        "address",
        "member",
        "registered",
        "answers",
        "slots",
    ];
    let nodes = survey.nodes.iter();
    let rows = nodes.map(|(name, status)| node(name, status, answers(name, reports)));
    table(Some(head), rows)
}

/// Formats the number of reporting nodes that can reach the node `name`, followed by the nodes that cannot.
fn answers(name: &str, reports: &NodeReports) -> String {
    let others = reports.iter().filter(|(other, _)| ***other != *name);
    let asking: Vec<_> = others
        .filter_map(|(other, report)| Some((other, report.as_ref()?)))
        .collect();
    if !reports.contains_key(name) || asking.is_empty() {
        return "-".into();
    }
    let unanswered = asking
        .iter()
        .filter(|(_, report)| !report.reaches.contains(name));
    let unanswered: Vec<String> = unanswered.map(|(other, _)| plain(other)).collect();
    let answered = asking.len() - unanswered.len();
    match &unanswered[..] {
        [] => format!("{answered} of {answered}"),
        some => format!("{answered} of {}, not {}", asking.len(), some.join(" ")),
    }
}

fn links(reports: &NodeReports) -> String {
    let reports = reports.iter();
    let with_links = reports.filter_map(|(node, report)| {
        let links = &report.as_ref()?.links;
        Some((node, links)).filter(|_| !links.is_empty())
    });
    let tables = with_links.map(|(node, links)| {
        let head = [
            "with",
            "links",
            "streams",
            "waiting",
            "held",
            "unconfirmed",
            "ping",
        ];
        let rows = links.iter().map(|(peer, figures)| link(peer, figures));
        format!("\nlinks of {}:\n{}", plain(node), table(Some(head), rows))
    });
    tables.collect()
}

fn link(peer: &str, figures: &LinkFigures) -> [String; 7] {
    let links = match figures.doubtful {
        0 => figures.links.to_string(),
        doubtful => format!("{}, {doubtful} doubtful", figures.links),
    };
    let ping = figures.round_trip_ms;
    [
        plain(peer),
        links,
        figures.streams.to_string(),
        bytes(figures.waiting_bytes),
        bytes(figures.held_bytes),
        bytes(figures.unconfirmed_bytes),
        ping.map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
    ]
}

fn node(name: &str, node: &NodeStatus, answers: String) -> [String; 6] {
    let member = match (&node.inner, node.is_here) {
        (None, _) => "no",
        (Some(_), true) => "here",
        (Some(_), false) => "away",
    };
    let registered = match (&node.registration, node.stranger) {
        (Some(found), _) => format!("{}, start {}", plain(&found.version), found.start),
        (None, Some(Kinship::OtherVersion(inner))) => format!("ignored: inner version {inner}"),
        (None, Some(_)) => "ignored: no valid proof".to_owned(),
        (None, None) => "no".to_owned(),
    };
    let slots = match node.stale {
        0 => node.slots.to_string(),
        stale => format!(
            "{}, {stale} of a process that is not registered",
            node.slots
        ),
    };
    let address = node.inner.as_ref();
    let address = address.map_or_else(|| "-".into(), |inner| plain(&inner.to_string()));
    let member = member.to_owned();
    [plain(name), address, member, registered, answers, slots]
}

fn programs(survey: &ClusterSurvey, now: SystemTime) -> String {
    let rows = survey.nodes.iter().filter_map(|(name, node)| {
        let found = node
            .registration
            .as_ref()
            .filter(|found| found.started > 0)?;
        let commit: String = found.commit.chars().take(COMMIT_CHARS).collect();
        let inner = found.inner.to_string();
        let up = uptime(found.started, now);
        Some([
            plain(name),
            plain(&found.version),
            plain(&commit),
            inner,
            up,
        ])
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["node", "version", "commit", "inner", "up"];
    format!("\nprograms:\n{}", table(Some(head), rows))
}

/// Formats the time since `started`, in the largest unit that makes the number at least two.
fn uptime(started: u64, now: SystemTime) -> String {
    let up = unix_s(now).saturating_sub(started);
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(seconds, _)| up >= 2 * seconds);
    let (seconds, unit) = unit.unwrap_or(&(1, "s"));
    format!("{}{unit}", up / seconds)
}

const COMMIT_CHARS: usize = 12;

fn member(member: &EtcdMember) -> [String; 4] {
    let endpoint = member.endpoint.to_string();
    match &member.status {
        Err(why) => [
            endpoint,
            "does not answer".into(),
            plain(why),
            String::new(),
        ],
        Ok(status) => {
            let role = match (status.leads, status.has_leader) {
                (true, _) => "leader",
                (false, true) => "follower",
                (false, false) => "without a leader",
            };
            let quota = match status.quota {
                Some(quota) => format!("of {}", bytes(quota)),
                None => "quota unknown".into(),
            };
            let size = format!(
                "{} {quota}, {} in use",
                bytes(status.size),
                bytes(status.used)
            );
            let alarms = status
                .alarms
                .iter()
                .map(|alarm| format!("; {}", plain(alarm)));
            let size = [size].into_iter().chain(alarms).collect();
            [endpoint, plain(&status.version), role.to_owned(), size]
        }
    }
}

// Access to the cluster.

pub(crate) struct Place {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    pub(crate) etcd: Options,
}

impl Place {
    pub(crate) fn of(config: &Path) -> Result<Self, Failure> {
        let mut draft = config::draft_of(config, "cluster", config::KeyFlags::default());
        let mut etcd = None;
        if let Some(cluster) = draft.settings().map(|settings| settings.cluster.clone()) {
            if cluster.etcd.is_on() {
                match etcd_options::options(&cluster.etcd) {
                    Ok(options) => etcd = Some(options),
                    Err(faults) => {
                        for fault in faults {
                            draft.fault(fault.key, fault.path.display(), fault.rule);
                        }
                    }
                }
            } else {
                draft.fault(
                    "cluster.etcd",
                    "",
                    "must name the members of etcd, which this command asks",
                );
            }
        }
        let settings = draft.finish(Vec::new());
        let settings = settings.map_err(|error| Failure::Configuration(error.to_string()))?;
        let place = settings.cluster.name.clone().zip(etcd);
        let (name, etcd) =
            place.ok_or_else(|| Failure::Configuration("[cluster] is needed".into()))?;
        Ok(Self {
            settings,
            name,
            etcd,
        })
    }

    /// Returns the keys that verify node registrations, or `None` if this user cannot read the cluster secret.
    pub(crate) fn proofs(&self) -> Option<ProofKeys> {
        let path = self.settings.cluster.secret_file.as_ref()?;
        let secret = cluster_secret(path).ok()?;
        Some(secret.proof_keys(&self.name))
    }

    pub(crate) fn survey(&self) -> Result<ClusterSurvey, Failure> {
        survey(&self.etcd, &self.name, self.proofs().as_ref())
            .map_err(|why| Failure::Fatal(format!("etcd: {why}")))
    }
}

// Text layout.

pub(crate) fn table<const COLUMNS: usize>(
    head: Option<[&str; COLUMNS]>,
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let head = head.map(|head| head.map(str::to_owned));
    let rows: Vec<_> = head.into_iter().chain(rows).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(text, width)| format!("{text:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

pub(crate) fn bytes(number: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| number >= 1 << shift) {
        None => format!("{number} B"),
        Some((shift, unit)) => {
            let tenths = ((number >> (shift - 10)) * 10) >> 10;
            match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {unit}"),
                (whole, tenth) => format!("{whole}.{tenth} {unit}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_etcd::operator::{NodeReport, RegistrationRecord};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_node_that_answers_nobody_is_seen() {
        let hears = |names: &[&str]| {
            let reaches = names.iter().map(|name| (*name).into()).collect();
            Some(NodeReport {
                reaches,
                ..NodeReport::default()
            })
        };
        let reports = NodeReports::from([
            ("n1".into(), hears(&["n2"])),
            ("n2".into(), hears(&["n1"])),
            ("n3".into(), hears(&[])),
            ("n4".into(), None),
        ]);
        for (node, expected) in [
            ("n1", "1 of 2, not n3"),
            ("n3", "0 of 2, not n1 n2"),
            ("n4", "0 of 3, not n1 n2 n3"),
            ("n5", "-"),
        ] {
            assert_eq!(answers(node, &reports), expected, "{node}");
        }
        let alone = NodeReports::from([("n1".into(), hears(&[])), ("n2".into(), None)]);
        assert_eq!(answers("n1", &alone), "-");
    }

    #[test]
    fn programs_are_shown_of_nodes_that_say_what_they_are() {
        let mut survey = ClusterSurvey::default();
        assert_eq!(programs(&survey, SystemTime::UNIX_EPOCH), "");
        for (name, started) in [("n1", 0), ("n2", 1_000), ("n3", 100_000)] {
            let node: &mut NodeStatus = survey.nodes.entry(name.into()).or_default();
            node.registration = Some(RegistrationRecord {
                version: "0.1.0".into(),
                start: 1,
                commit: "0123456789abcdef".into(),
                inner: 7,
                started,
            });
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100_119);
        let expected = "\nprograms:\nnode  version  commit        inner  up\n\
                        n2    0.1.0    0123456789ab  7      27h\n\
                        n3    0.1.0    0123456789ab  7      119s\n";
        assert_eq!(programs(&survey, now), expected);
    }

    #[test]
    fn links_fit_a_terminal() {
        let worst = LinkFigures {
            links: 512,
            doubtful: 1,
            streams: 120_000,
            waiting_bytes: 8 << 20,
            held_bytes: 16 << 20,
            unconfirmed_bytes: 1_572_864,
            round_trip_ms: Some(9_999),
        };
        let [other, quiet] = ["heliograph-1", "heliograph-2"].map(Arc::from);
        let links = BTreeMap::from([(other, worst), (quiet, LinkFigures::default())]);
        let report = NodeReport {
            links,
            ..NodeReport::default()
        };
        let reports =
            NodeReports::from([("heliograph-0".into(), Some(report)), ("n4".into(), None)]);
        let text = super::links(&reports);
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            "",
            "links of heliograph-0:",
            "with          links            streams  waiting  held    unconfirmed  ping",
            "heliograph-1  512, 1 doubtful  120000   8 MiB    16 MiB  1.5 MiB      9999 ms",
            "heliograph-2  0                0        0 B      0 B     0 B          -",
        ];
        assert_eq!(lines, expected);
        assert!(lines.iter().all(|line| line.len() <= 80));
    }
}

#[cfg(test)]
mod table_tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["a", "long", ""], ["bbb", "c", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(None, rows), "a    long\nbbb  c     d\n");
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1 << 31, "2 GiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
