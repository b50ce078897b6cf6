//! Collects reports from the nodes. A report contains the node's clock, and the other nodes that the node can reach.

use crate::limits::{REPORTS_EVERY, REPORTS_WAIT};
use crate::names::{Name, shown};
use crate::operator::{ConnectError, Registered, Session, answer, block_on, is_full, look};
use crate::rpc::{connection::Lines, generated::RangeRequest};
use crate::schema::{self, Keys, OrderWord, ReportValue, WatchedSubject};
use crate::{config::Options, system::unix_ms};
use broker_core::cluster::link::LinkFigures;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// A report from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// How far the node's clock is ahead of this machine's, in milliseconds; negative if it is behind. The actual
    /// difference may be larger, since the report may have been written at any time between its request and its
    /// receipt. 0 if the reported time lies within that interval.
    pub ahead_ms: i64,
    /// The nodes that recently answered the reporting node.
    pub reaches: BTreeSet<Box<str>>,
    /// SHA-256 of the node's credentials files in hexadecimal. `None` if it has no such files or runs an older program.
    pub credentials: Option<Box<str>>,
    /// Links with other nodes in both directions, by node name.
    pub links: BTreeMap<Arc<str>, LinkFigures>,
}

/// The reports of the registered nodes. `None` for a node that did not respond in time.
pub type NodeReports = BTreeMap<Box<str>, Option<NodeReport>>;

/// Requests a report from every registered node.
///
/// # Errors
/// Returns the reason why reports cannot be requested, in one line.
pub fn reports(options: &Options, cluster: &str) -> Result<NodeReports, Box<str>> {
    let name = Name::new(cluster).ok_or("the name of the cluster is invalid")?;
    block_on(async {
        let mut session = Session::new(options, &name);
        let (lines, keys) = session.lines().await?;
        let began = unix_ms();
        let (nodes, order) = ask(&lines, &keys).await.map_err(|why| {
            if is_full(&why) {
                "etcd takes no changes, since its quota is used up".into()
            } else {
                why
            }
        })?;
        let mut reports: NodeReports = nodes
            .into_iter()
            .map(|node| (node.as_str().into(), None))
            .collect();
        let until = Instant::now() + REPORTS_WAIT;
        while reports.values().any(Option::is_none) && Instant::now() < until {
            sleep(REPORTS_EVERY).await;
            for (node, value) in read(&lines, &keys).await? {
                let report = reports.get_mut(node.as_str());
                if let Some(report) = report.filter(|it| it.is_none() && value.order >= order) {
                    *report = Some(NodeReport {
                        ahead_ms: ahead_ms(value.unix_ms, began, unix_ms()),
                        reaches: value.reaches.into_iter().collect(),
                        credentials: value.credentials.map(|digits| shown(&digits).into()),
                        links: value.links,
                    });
                }
            }
        }
        Ok(reports)
    })
}

/// Asks all registered nodes to report. Returns these nodes, and the revision of the first request.
async fn ask(lines: &Lines, keys: &Keys) -> Result<(Vec<Name>, u64), ConnectError> {
    // If a node registers again in the meantime, the order is written again.
    for _ in 0..ATTEMPTS {
        let picture = look(lines, keys).await?;
        let registered = picture.nodes.into_iter();
        let to: Vec<(Name, Registered)> = registered
            .filter_map(|(name, seen)| Some((name, seen.registered?)))
            .collect();
        if to.is_empty() {
            return Ok((Vec::new(), 0));
        }
        if let Some(order) = crate::operator::order(lines, keys, &to, OrderWord::Report).await? {
            return Ok((to.into_iter().map(|(name, _)| name).collect(), order));
        }
    }
    Err("the registered nodes changed meanwhile: try again".into())
}

async fn read(lines: &Lines, keys: &Keys) -> Result<Vec<(Name, ReportValue)>, ConnectError> {
    let read = answer(lines.range(RangeRequest::range(keys.reports()))).await?;
    let rows = read.kvs.iter();
    let reports = rows.filter_map(|row| match keys.parse(&row.key) {
        Some(WatchedSubject::Report(node)) => Some((node, schema::read(&row.value).ok()?)),
        Some(
            WatchedSubject::Slot(_) | WatchedSubject::Registration(_) | WatchedSubject::Roster(_),
        ) => None,
        Some(WatchedSubject::Order(_) | WatchedSubject::Meta) | None => None,
    });
    Ok(reports.collect())
}

/// Returns how many milliseconds `moment` lies outside the interval from `first` to `last`. The result is negative
/// before the interval, 0 within it, and positive after it.
fn ahead_ms(moment: u64, first: u64, last: u64) -> i64 {
    let moment = moment.cast_signed();
    let nearest = moment.clamp(first.cast_signed(), last.max(first).cast_signed());
    moment.saturating_sub(nearest)
}

/// Maximum number of attempts to send the order to the nodes, any of which may be registering again.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_is_wrong_by_what_the_span_does_not_explain() {
        for (moment, ahead) in [(90, -10), (100, 0), (150, 0), (200, 0), (260, 60)] {
            assert_eq!(ahead_ms(moment, 100, 200), ahead);
        }
        assert_eq!(ahead_ms(5, 100, 50), -95, "this machine's was set back");
        assert!(ahead_ms(u64::MAX, 100, 200) < 0, "no calendar is that far");
    }
}
