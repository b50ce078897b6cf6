//! Equal parts: every node that runs is asked to give the slots that it has above one, until nobody has more.

use crate::limits::{LOOK_EVERY, REBALANCE_MAX, STILL_MAX};
use crate::operator::{self, FULL, Picture, Registered, Session, Why, block_on, is_full};
use crate::{config::Options, names::Name, schema::OrderWord};
use std::collections::BTreeMap;
use std::fmt;
use tokio::time::{Instant, sleep};

/// The slots of each node that runs.
pub type Parts = BTreeMap<Box<str>, usize>;

/// Why parts are not equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebalanceError {
    /// The name of the cluster is none.
    Name,
    /// etcd does not answer.
    Etcd(Box<str>),
    /// The quota of etcd is used up: no slot can be given.
    Full,
    /// No node runs.
    Nobody,
    /// Nothing moves any more.
    Still(Parts),
    /// It takes too long. The nodes go on.
    Late(Parts),
}

impl fmt::Display for RebalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("the name of the cluster is none"),
            Self::Etcd(why) => write!(f, "etcd: {why}"),
            Self::Full => f.write_str(FULL),
            Self::Nobody => f.write_str("no node is registered: start them first"),
            Self::Still(_) => f.write_str(
                "no slot moves any more, and the parts are not equal: see heliograph cluster check, and the logs \
                 of the nodes",
            ),
            Self::Late(_) => write!(
                f,
                "not finished after {} s: the nodes go on",
                REBALANCE_MAX.as_secs()
            ),
        }
    }
}

impl std::error::Error for RebalanceError {}

impl From<Why> for RebalanceError {
    fn from(why: Why) -> Self {
        if is_full(&why) {
            Self::Full
        } else {
            Self::Etcd(why)
        }
    }
}

/// Has the nodes give each other slots until all that run have an equal part, give or take one. `progress` gets the
/// parts, first those before, then those that changed, once a second at most. Returns the last.
///
/// # Errors
/// [`RebalanceError`].
pub fn rebalance(
    options: &Options,
    cluster: &str,
    progress: &mut dyn FnMut(&Parts),
) -> Result<Parts, RebalanceError> {
    let cluster = Name::new(cluster).ok_or(RebalanceError::Name)?;
    block_on(async {
        let mut session = Session::new(options, &cluster);
        until_equal(&mut session, progress).await
    })
}

async fn until_equal(
    session: &mut Session<'_>,
    progress: &mut dyn FnMut(&Parts),
) -> Result<Parts, RebalanceError> {
    let began = Instant::now();
    let (mut parts, mut said) = (Parts::new(), None);
    // When a part changed last, and when the nodes were asked last.
    let (mut moved, mut asked) = (began, None);
    loop {
        let picture = session.look().await?;
        let found = parts_of(&picture);
        if found.is_empty() {
            return Err(RebalanceError::Nobody);
        }
        if found != parts {
            (parts, moved) = (found, Instant::now());
        }
        if said.is_none_or(|at: Instant| at < moved && at.elapsed().as_secs() >= 1) {
            said = Some(Instant::now());
            progress(&parts);
        }
        if is_equal(&parts) {
            return Ok(parts);
        }
        if began.elapsed() >= REBALANCE_MAX {
            return Err(RebalanceError::Late(parts));
        }
        // A slot that a node could not take in time stays with its owner until the owner is asked again.
        if asked.is_none_or(|at: Instant| moved.max(at).elapsed() >= STILL_MAX / 3) {
            if asked.is_some() && moved.elapsed() >= STILL_MAX {
                return Err(RebalanceError::Still(parts));
            }
            asked = Some(Instant::now());
            ask(session, &picture).await?;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn ask(session: &mut Session<'_>, picture: &Picture) -> Result<(), RebalanceError> {
    let (lines, keys) = session.lines().await?;
    let nodes: Vec<(Name, Registered)> = picture
        .running()
        .filter_map(|(name, seen)| Some((name.clone(), seen.registered.clone()?)))
        .collect();
    // A node that registers again at this moment is asked the next time.
    operator::order(&lines, &keys, &nodes, OrderWord::Rebalance).await?;
    Ok(())
}

fn parts_of(picture: &Picture) -> Parts {
    let parts = picture
        .running()
        .map(|(name, seen)| (name.as_str().into(), seen.slots()));
    parts.collect()
}

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
