//! A node gives its slots to the others, and ends: its process is asked through etcd, so that this works from any
//! machine that reaches etcd, and is allowed to all who may write there.

use crate::limits::{DRAIN_MAX, LOOK_EVERY, OBEYS_MAX};
use crate::operator::{FULL, Picture, Registered, Seen, Session, Why, block_on, is_full, look};
use crate::{config::Options, names::Name, schema::OrderWord};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The progress of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainProgress {
    /// Slots that the node owns.
    pub slots: usize,
    /// Messages that wait for peers on it, as it last reported.
    pub waiting: Option<u64>,
    /// Since the node was asked.
    pub after: Duration,
}

/// Why a node was not drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainError {
    /// The name of the cluster or of the node is none.
    Name,
    /// etcd does not answer. If that began later than the drain, the node goes on as after SIGTERM.
    Etcd(Box<str>),
    /// The quota of etcd is used up: no slot can be given.
    Full,
    /// It is no member.
    Unknown,
    /// It was drained, and does not run.
    Away,
    /// It does not run.
    Absent,
    /// No other node runs.
    Last,
    /// It did not answer.
    Silent,
    /// It has ended with slots that no other node took.
    Left(usize),
    /// It still has slots after [`DRAIN_MAX`].
    Late(usize),
}

impl fmt::Display for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("allowed 1 to 63 of the characters a-z 0-9 . -"),
            Self::Etcd(why) => write!(f, "etcd: {why}"),
            Self::Full => f.write_str(FULL),
            Self::Unknown => f.write_str("it is no member of the cluster"),
            Self::Away => f.write_str("it is away: it was drained already, and has nothing to give"),
            Self::Absent => f.write_str(
                "it is not registered: start it first. A node that does not run gives nothing; the others take its \
                 slots",
            ),
            Self::Last => f.write_str(
                "no other node runs that could take its slots: start one first, or end this one with SIGTERM, and its \
                 channels are away",
            ),
            Self::Silent => f.write_str(
                "it does not answer: it hangs, or is cut off from etcd. If it answers later, it drains then: look at \
                 its log",
            ),
            Self::Left(slots) => write!(
                f,
                "it has ended with {slots} slots that no other node took: the others take them as those of a lost node"
            ),
            Self::Late(slots) => write!(
                f,
                "it still has {slots} slots after {} s, and goes on: look at its log",
                DRAIN_MAX.as_secs()
            ),
        }
    }
}

impl std::error::Error for DrainError {}

impl From<Why> for DrainError {
    fn from(why: Why) -> Self {
        if is_full(&why) {
            Self::Full
        } else {
            Self::Etcd(why)
        }
    }
}

/// Has a node give all its slots to others and end, and waits for that. `progress` gets what changed, once a second at
/// most. Returns how long it took.
///
/// # Errors
/// [`DrainError`].
pub fn drain(
    options: &Options,
    cluster: &str,
    node: &str,
    progress: &mut dyn FnMut(DrainProgress),
) -> Result<Duration, DrainError> {
    let (cluster, node) = Name::new(cluster)
        .zip(Name::new(node))
        .ok_or(DrainError::Name)?;
    block_on(async {
        let mut session = Session::new(options, &cluster);
        let (registered, order) = ask(&mut session, &node).await?;
        let asked = Instant::now();
        await_end(&mut session, &node, &registered, order, asked, progress).await
    })
}

/// Gives the order, unless something is against it.
async fn ask(session: &mut Session<'_>, node: &Name) -> Result<(Registered, u64), DrainError> {
    // A node that registers again meanwhile is asked again.
    for _ in 0..ATTEMPTS {
        let (lines, keys) = session.lines().await?;
        let picture = look(&lines, &keys).await?;
        let registered = candidate(&picture, node)?;
        let to = [(node.clone(), registered.clone())];
        if let Some(order) = crate::operator::order(&lines, &keys, &to, OrderWord::Drain).await? {
            return Ok((registered, order));
        }
    }
    Err(DrainError::Silent)
}

fn candidate(picture: &Picture, node: &Name) -> Result<Registered, DrainError> {
    let seen = picture.nodes.get(node);
    let Some((seen, is_here)) = seen.and_then(|seen| Some((seen, seen.is_here?))) else {
        return Err(DrainError::Unknown);
    };
    let Some(registered) = &seen.registered else {
        return Err(if is_here {
            DrainError::Absent
        } else {
            DrainError::Away
        });
    };
    if picture.running().all(|(other, _)| other == node) {
        return Err(DrainError::Last);
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
) -> Result<Duration, DrainError> {
    let (mut said, mut obeys, mut slots) = (None, false, None);
    loop {
        match session.look().await {
            Ok(picture) => {
                let absent = Seen::default();
                let seen = picture.nodes.get(node).unwrap_or(&absent);
                let left = seen.slots_of(registered.process);
                let current = seen.registered.as_ref().map(|found| found.process);
                if current != Some(registered.process) {
                    return match left {
                        0 => Ok(asked.elapsed()),
                        left => Err(DrainError::Left(left)),
                    };
                }
                if seen.order != Some(OrderWord::Drain) {
                    // Another command's order took its place, perhaps before the node saw it.
                    let to = [(node.clone(), registered.clone())];
                    if let Ok((lines, keys)) = session.lines().await {
                        let _ = crate::operator::order(&lines, &keys, &to, OrderWord::Drain).await;
                    }
                }
                let report = seen.report.as_ref().filter(|report| report.order >= order);
                // One that drains already may give slots before it reports.
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
            Err(why) if asked.elapsed() >= DRAIN_MAX => return Err(DrainError::Etcd(why)),
            Err(_) => {}
        }
        if !obeys && slots.is_some() && asked.elapsed() >= OBEYS_MAX {
            return Err(DrainError::Silent);
        }
        if asked.elapsed() >= DRAIN_MAX {
            return Err(DrainError::Late(slots.unwrap_or_default()));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Attempts to ask a node, which may register again at the same time.
const ATTEMPTS: usize = 3;
