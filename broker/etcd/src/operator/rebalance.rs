//! Rebalancing: orders every running node to transfer the slots beyond its equal share, until no node exceeds its
//! share.

use crate::limits::{LOOK_EVERY, REBALANCE_MAX, STILL_MAX};
use crate::operator::{self, CommandError, Picture, Registered, Session, block_on, name};
use crate::{config::Options, names::Name, schema::OrderWord};
use std::collections::BTreeMap;
use tokio::time::{Instant, sleep};

/// Number of slots owned by each running node.
pub type Parts = BTreeMap<Box<str>, usize>;

/// Orders the nodes to transfer slots to each other until the slot counts of all running nodes are equal or differ by
/// one. Calls `progress` with each node's slot count, at the start and whenever something changes, but at most once per
/// second. Returns the final counts, and the reason if they still differ by more than one.
///
/// # Errors
/// Returns the reason why the orders cannot be sent.
pub fn rebalance(
    options: &Options,
    cluster: &str,
    progress: &mut dyn FnMut(&Parts),
) -> Result<(Parts, Option<CommandError>), CommandError> {
    let cluster = name(cluster)?;
    block_on(async {
        let mut session = Session::new(options, &cluster);
        until_equal(&mut session, progress).await
    })
}

async fn until_equal(
    session: &mut Session<'_>,
    progress: &mut dyn FnMut(&Parts),
) -> Result<(Parts, Option<CommandError>), CommandError> {
    let began = Instant::now();
    let (mut parts, mut said) = (Parts::new(), None);
    // When a slot last moved, and when the nodes were last asked.
    let (mut moved, mut asked) = (began, None);
    loop {
        let picture = session.look().await?;
        let running = picture.running();
        let found = running.map(|(name, seen)| (name.as_str().into(), seen.slots()));
        let found: Parts = found.collect();
        if found.is_empty() {
            return Err(CommandError::refused(operator::NOBODY));
        }
        if found != parts {
            (parts, moved) = (found, Instant::now());
        }
        if said.is_none_or(|at: Instant| at < moved && at.elapsed().as_secs() >= 1) {
            said = Some(Instant::now());
            progress(&parts);
        }
        if is_equal(&parts) {
            return Ok((parts, None));
        }
        if began.elapsed() >= REBALANCE_MAX {
            let seconds = REBALANCE_MAX.as_secs();
            let late = format!("not finished after {seconds} s: the nodes continue");
            return Ok((parts, Some(CommandError::failed(late))));
        }
        // A slot that a node could not take in time stays with its owner until the next order.
        if asked.is_none_or(|at: Instant| moved.max(at).elapsed() >= STILL_MAX / 3) {
            if asked.is_some() && moved.elapsed() >= STILL_MAX {
                return Ok((parts, Some(CommandError::failed(STILL))));
            }
            asked = Some(Instant::now());
            ask(session, &picture).await?;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn ask(session: &mut Session<'_>, picture: &Picture) -> Result<(), CommandError> {
    let (lines, keys) = session.lines().await?;
    let nodes: Vec<(Name, Registered)> = picture
        .running()
        .filter_map(|(name, seen)| Some((name.clone(), seen.registered.clone()?)))
        .collect();
    // A node that registers again at this moment receives the next order.
    operator::order(&lines, &keys, &nodes, OrderWord::Rebalance).await?;
    Ok(())
}

const STILL: &str = "the slots stopped moving before the parts were equal: see heliograph cluster check, and the \
                     logs of the nodes";

fn is_equal(parts: &Parts) -> bool {
    let (most, least) = (parts.values().max(), parts.values().min());
    most.zip(least)
        .is_none_or(|(most, least)| most - least <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_give_or_take_one() {
        let parts = |counts: &[usize]| -> Parts {
            let named = counts.iter().enumerate();
            let named = named.map(|(nth, count)| (nth.to_string().into(), *count));
            named.collect()
        };
        for counts in [&[1365, 1365, 1366][..], &[4096], &[0, 0], &[0, 1]] {
            assert!(is_equal(&parts(counts)), "{counts:?}");
        }
        for counts in [&[1364, 1366, 1366][..], &[0, 2], &[4096, 0]] {
            assert!(!is_equal(&parts(counts)), "{counts:?}");
        }
    }
}
