//! `heliograph cluster drain`, `rebalance` and `finish-upgrade`: what nodes do because an operator asks for it.

use crate::cluster_admin::place::Place;
use crate::cluster_admin::table::table;
use crate::failure::Failure;
use crate::terminal::{plain, write};
use broker_etcd::operator::{
    DrainError, DrainProgress, Parts, RebalanceError, UpgradeError, drain as drained,
    finish_upgrade as upgraded, rebalance as rebalanced,
};
use std::io::Write;

/// A node gives its slots away and ends: a line each time that something changed.
pub(crate) fn drain(place: &Place, node: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = plain(node);
    let mut broken = None;
    let mut say = |progress: DrainProgress| {
        let DrainProgress {
            slots,
            waiting,
            after,
        } = progress;
        let waiting = match waiting {
            Some(waiting) => format!("{waiting} messages wait"),
            None => "does not answer so far".into(),
        };
        let text = format!(
            "{shown}: {slots} slots left, {waiting}, {} s\n",
            after.as_secs()
        );
        broken = broken.take().or_else(|| write(out, &text).err());
    };
    let result = drained(&place.etcd, &place.name, node, &mut say);
    broken.map_or(Ok(()), Err)?;
    match result {
        Ok(after) => {
            let seconds = after.as_secs_f64();
            let text =
                format!("{shown} has given all slots to other nodes in {seconds:.1} s, and ends\n");
            write(out, &text)
        }
        Err(error) => {
            let text = format!("{shown}: {}", plain(&error.to_string()));
            Err(match error {
                DrainError::Name | DrainError::Unknown | DrainError::Away => {
                    Failure::Configuration(text)
                }
                DrainError::Absent | DrainError::Last => Failure::Configuration(text),
                DrainError::Etcd(_) | DrainError::Full | DrainError::Silent => Failure::Fatal(text),
                DrainError::Left(_) | DrainError::Late(_) => Failure::Fatal(text),
            })
        }
    }
}

/// Equal parts for all nodes that run: the parts before, each time that they changed, and at the end.
pub(crate) fn rebalance(place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let mut broken = None;
    let mut before: Option<Parts> = None;
    let mut say = |parts: &Parts| {
        let text = match &before {
            None => format!("before: {}\n", line(parts)),
            Some(_) => format!("        {}\n", line(parts)),
        };
        before.get_or_insert_with(|| parts.clone());
        broken = broken.take().or_else(|| write(out, &text).err());
    };
    let result = rebalanced(&place.etcd, &place.name, &mut say);
    broken.map_or(Ok(()), Err)?;
    let before = before.unwrap_or_default();
    match result {
        Ok(parts) => write(out, &comparison(&before, &parts)),
        Err(error) => {
            if let RebalanceError::Still(parts) | RebalanceError::Late(parts) = &error {
                write(out, &comparison(&before, parts))?;
            }
            let text = plain(&error.to_string());
            Err(match error {
                RebalanceError::Name | RebalanceError::Nobody => Failure::Configuration(text),
                RebalanceError::Etcd(_) | RebalanceError::Full => Failure::Fatal(text),
                RebalanceError::Still(_) | RebalanceError::Late(_) => Failure::Fatal(text),
            })
        }
    }
}

fn line(parts: &Parts) -> String {
    let parts = parts.iter();
    let parts = parts.map(|(node, slots)| format!("{} {slots}", plain(node)));
    parts.collect::<Vec<_>>().join(", ")
}

fn comparison(before: &Parts, after: &Parts) -> String {
    let head = ["node", "slots before", "after"].map(str::to_owned);
    let rows = after.iter().map(|(node, slots)| {
        let before = before
            .get(node)
            .map_or_else(|| "-".into(), ToString::to_string);
        [plain(node), before, slots.to_string()]
    });
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    table(&rows)
}

/// Nodes of the former inner version may not start any more.
pub(crate) fn finish_upgrade(place: &Place) -> Result<String, Failure> {
    match upgraded(&place.etcd, &place.name) {
        Ok(raised) if raised.from == raised.to => Ok(format!(
            "nothing to finish: all nodes have inner version {}, which is the lowest allowed\n",
            raised.to
        )),
        Ok(raised) => Ok(format!(
            "the lowest inner version was {}, and is {}: older programs do not start any more\n",
            raised.from, raised.to
        )),
        Err(error) => {
            let text = plain(&error.to_string());
            Err(match error {
                UpgradeError::Etcd(_) | UpgradeError::Changed => Failure::Fatal(text),
                UpgradeError::Name | UpgradeError::NoCluster | UpgradeError::Nobody => {
                    Failure::Configuration(text)
                }
                UpgradeError::Absent(_) | UpgradeError::Older(..) => Failure::Configuration(text),
            })
        }
    }
}
