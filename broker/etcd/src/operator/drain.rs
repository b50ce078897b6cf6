//! Draining a node: the node transfers its slots to the other nodes and shuts down. The order goes through etcd, so
//! anyone with write access to etcd can issue it, from any machine that can reach etcd.

use crate::limits::{DRAIN_MAX, LOOK_EVERY, OBEYS_MAX};
use crate::operator::{CommandError, Picture, Registered, SeenNode, Session, block_on, look, name};
use crate::{config::Options, names::Name, schema::OrderWord};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The progress of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// Number of slots that the node still owns.
    pub slots: usize,
    /// Number of messages on the node that are still waiting for their recipients, as last reported.
    pub waiting: Option<u64>,
    /// Time since the order was issued.
    pub after: Duration,
}

/// Orders a node to transfer all of its slots and shut down, and waits until it has done so. Calls `progress` whenever
/// something changes, but at most once per second. Returns how long the drain took.
///
/// # Errors
/// Returns the reason why the drain failed. If etcd stops responding, the node still shuts down, as it does after
/// SIGTERM.
pub fn drain(
    options: &Options,
    cluster: &str,
    node: &str,
    progress: &mut dyn FnMut(DrainProgress),
) -> Result<Duration, CommandError> {
    let (cluster, node) = (name(cluster)?, name(node)?);
    block_on(async {
        let mut session = Session::new(options, &cluster);
        let (registered, order) = ask(&mut session, &node).await?;
        let asked = Instant::now();
        await_end(&mut session, &node, &registered, order, asked, progress).await
    })
}

/// Writes the order, provided that the node can be drained.
async fn ask(session: &mut Session<'_>, node: &Name) -> Result<(Registered, u64), CommandError> {
    // If the node registers again in the meantime, the order is written again.
    for _ in 0..ATTEMPTS {
        let (lines, keys) = session.lines().await?;
        let picture = look(&lines, &keys).await?;
        let registered = candidate(&picture, node)?;
        let to = [(node.clone(), registered.clone())];
        if let Some(order) = crate::operator::order(&lines, &keys, &to, OrderWord::Drain).await? {
            return Ok((registered, order));
        }
    }
    Err(CommandError::failed(SILENT))
}

fn candidate(picture: &Picture, node: &Name) -> Result<Registered, CommandError> {
    let seen = picture.nodes.get(node);
    let Some((seen, is_here)) = seen.and_then(|seen| Some((seen, seen.is_here?))) else {
        return Err(CommandError::refused("it is not a member of the cluster"));
    };
    let Some(registered) = &seen.registered else {
        return Err(CommandError::refused(if is_here {
            "it is not registered: start it first. A stopped node gives no slots; the others claim them"
        } else {
            "it does not run: it was drained, and has no slots"
        }));
    };
    if picture.running().all(|(other, _)| other == node) {
        return Err(CommandError::refused(
            "no other node runs to take its slots: start one first, or end this one with SIGTERM, which makes its \
             channels unavailable",
        ));
    }
    Ok(registered.clone())
}

async fn await_end(
    session: &mut Session<'_>,
    node: &Name,
    registered: &Registered,
    order: u64,
    asked: Instant,
    progress: &mut dyn FnMut(DrainProgress),
) -> Result<Duration, CommandError> {
    let (mut said, mut obeys, mut slots) = (None, false, None);
    loop {
        match session.look().await {
            Ok(picture) => {
                let absent = SeenNode::default();
                let seen = picture.nodes.get(node).unwrap_or(&absent);
                let left = seen.slots_of(registered.process);
                let current = seen.registered.as_ref().map(|found| found.process);
                if current != Some(registered.process) {
                    return match left {
                        0 => Ok(asked.elapsed()),
                        left => Err(CommandError::failed(format_args!(
                            "it ended with {left} slots that no other node took: the others claim them as those of a \
                             lost node"
                        ))),
                    };
                }
                if seen.order != Some(OrderWord::Drain) {
                    // An order from another command has replaced this one, perhaps before the node saw it.
                    let to = [(node.clone(), registered.clone())];
                    if let Ok((lines, keys)) = session.lines().await {
                        let _ = crate::operator::order(&lines, &keys, &to, OrderWord::Drain).await;
                    }
                }
                let report = seen.report.as_ref().filter(|report| report.order >= order);
                // A node that is already draining may transfer slots before it reports.
                obeys |= report.is_some() || slots.is_some_and(|before| left < before);
                slots = Some(left);
                let state = (left, report.map(|report| report.waiting));
                if said.is_none_or(|(last, at): (_, Instant)| {
                    last != state && at.elapsed() >= Duration::from_secs(1)
                }) {
                    said = Some((state, Instant::now()));
                    let (slots, waiting) = state;
                    let after = asked.elapsed();
                    progress(DrainProgress {
                        slots,
                        waiting,
                        after,
                    });
                }
            }
            Err(why) if asked.elapsed() >= DRAIN_MAX => return Err(why.into()),
            Err(_) => {}
        }
        if !obeys && slots.is_some() && asked.elapsed() >= OBEYS_MAX {
            return Err(CommandError::failed(SILENT));
        }
        if asked.elapsed() >= DRAIN_MAX {
            return Err(CommandError::failed(format_args!(
                "it still has {} slots after {} s, and continues: look at its log",
                slots.unwrap_or_default(),
                DRAIN_MAX.as_secs()
            )));
        }
        sleep(LOOK_EVERY).await;
    }
}

const SILENT: &str = "it does not answer: it hangs, or is cut off from etcd. It drains once it answers: look at its \
                      log";

/// Maximum number of attempts to send the order to a node, which may be registering again.
const ATTEMPTS: usize = 3;
