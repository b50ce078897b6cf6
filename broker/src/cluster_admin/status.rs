//! `heliograph cluster status`: the members of the cluster and of its etcd, who owns how many slots, and which nodes
//! answer the others.

use crate::cluster_admin::place::Place;
use crate::cluster_admin::table::{bytes, table};
use crate::terminal::plain;
use broker_core::cluster::types::Kinship;
use broker_etcd::operator::{EtcdMember, NodeStatus, Reports, Survey, reports};

/// The output of the command. It asks the nodes which others answer them.
pub(crate) fn text(place: &Place, survey: &Survey) -> String {
    let founded = match &survey.meta {
        Some(meta) => format!("id {}, {} slots", plain(&meta.id), meta.slots),
        None => "not founded: its first node does that, or an import".into(),
    };
    let mut text = format!("cluster {}: {founded}\n", place.name);
    text += &format!("slots: {}\n", slots(survey));
    if !survey.nodes.is_empty() {
        let reports = reports(&place.etcd, &place.name);
        text += "\n";
        text += &nodes(survey, reports.as_ref().unwrap_or(&Reports::new()));
        if let Err(why) = reports {
            text += &format!("the nodes cannot be asked: {}\n", plain(&why));
        }
    }
    text += &format!("\netcd, at revision {}:\n", survey.revision);
    let members: Vec<_> = survey.members.iter().map(member).collect();
    text += &table(&members);
    for line in &survey.unreadable {
        text += &format!("unreadable: {}\n", plain(line));
    }
    text
}

fn slots(survey: &Survey) -> String {
    let owned: usize = survey.nodes.values().map(|node| node.slots).sum();
    format!(
        "{owned} have an owner, {} were released, {} were never owned",
        survey.vacant, survey.unclaimed
    )
}

fn nodes(survey: &Survey, reports: &Reports) -> String {
    let head = [
        "node",
        "address",
        "member",
        "registered",
        "answers",
        "slots",
    ];
    let head = head.map(str::to_owned);
    let nodes = survey.nodes.iter();
    let rows = nodes.map(|(name, status)| node(name, status, answers(name, reports)));
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    table(&rows)
}

/// Which of the nodes that report a registered node answers.
fn answers(name: &str, reports: &Reports) -> String {
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

fn node(name: &str, node: &NodeStatus, answers: String) -> [String; 6] {
    let member = match (&node.inner, node.is_here) {
        (None, _) => "no",
        (Some(_), true) => "here",
        (Some(_), false) => "away",
    };
    let registered = match (&node.registration, node.stranger) {
        (Some(found), _) => format!("version {}, start {}", plain(&found.version), found.start),
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

#[cfg(test)]
mod tests {

    use super::*;
    use broker_etcd::operator::NodeReport;

    #[test]
    fn a_node_that_answers_nobody_is_seen() {
        let hears = |names: &[&str]| {
            let reaches = names.iter().map(|name| (*name).into()).collect();
            Some(NodeReport {
                reaches,
                ..NodeReport::default()
            })
        };
        let reports = Reports::from([
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
        let alone = Reports::from([("n1".into(), hears(&[])), ("n2".into(), None)]);
        assert_eq!(answers("n1", &alone), "-");
    }
}
