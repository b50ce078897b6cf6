//! `heliograph cluster status`: the members of the cluster and of its etcd, and who owns how many slots.

use super::place::Place;
use super::table::{bytes, table};
use crate::terminal::plain;
use broker_core::cluster::types::Kinship;
use broker_etcd::operator::{EtcdMember, NodeStatus, Survey};

/// The output of the command.
pub(super) fn text(place: &Place, survey: &Survey) -> String {
    let founded = match &survey.meta {
        Some(meta) => format!("id {}, {} slots", plain(&meta.id), meta.slots),
        None => "not founded: its first node does that, or an import".into(),
    };
    let mut text = format!("cluster {}: {founded}\n", place.name);
    text += &format!("slots: {}\n", slots(survey));
    if !survey.nodes.is_empty() {
        text += "\n";
        text += &nodes(survey);
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

fn nodes(survey: &Survey) -> String {
    let head = ["node", "address", "member", "registered", "slots"].map(str::to_owned);
    let rows = survey.nodes.iter().map(|(name, status)| node(name, status));
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    table(&rows)
}

fn node(name: &str, node: &NodeStatus) -> [String; 5] {
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
    [plain(name), address, member.to_owned(), registered, slots]
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
