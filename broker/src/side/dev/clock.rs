//! `/dev/clock`: advances the clocks of all shards, and shifts the wall clock forward or backward.
//!
//! This module stores the total shift, which each request changes. Shards receive the total rather than the difference,
//! so a shard that missed an update is corrected by the next one.

use crate::edge::Shift;
use crate::side::admin::http::{Answer, SILENT, rfc3339};
use crate::side::dev::request::Body;
use crate::side::refusals::Refusals;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use broker_core::settings::value::{ConfigSpan, duration};
use broker_core::{id::ShardId, time::Moment};
use serde_json::json as value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;

/// Shifts the clocks of all shards. Returns each shard's time after its due timers have run, or `None` for a shard that
/// does not respond. Blocks for a limited time.
pub type MoveClocks = Box<dyn FnMut(Shift) -> Vec<(ShardId, Option<Moment>)> + Send>;

#[derive(Clone)]
pub(crate) struct ClockPage {
    /// The clocks. Locked during a shift, so that only one shift happens at a time.
    clocks: Arc<Mutex<Clocks>>,
    elapsed: Arc<Elapsed>,
    /// The view of the recorded refusals. Must be told about each shift, since refusal ids contain the shards'
    /// wall-clock time.
    refusals: Arc<Refusals>,
}

pub(crate) struct Elapsed {
    began: Instant,
    advanced_ms: AtomicU64,
}

struct Clocks {
    shift: Shift,
    shards: MoveClocks,
}

impl Clocks {
    fn new(shards: MoveClocks) -> Self {
        Self {
            shift: Shift::default(),
            shards,
        }
    }

    /// Applies the total shift to every shard. Returns the shift and, if every shard responded, the earliest of their
    /// new times. Blocks until the shards have responded or timed out.
    fn apply(&mut self) -> (Shift, Option<Moment>) {
        let moments = (self.shards)(self.shift);
        let all: Option<Vec<Moment>> = moments.into_iter().map(|(_, at)| at).collect();
        let first = all.and_then(|all| all.into_iter().min_by_key(|at| at.now));
        (self.shift, first)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    advance_ms: u64,
    skew_ms: Option<i64>,
}

impl Change {
    /// Removes the skew, so that the wall clock agrees with the monotonic clock again.
    pub(crate) const NO_SKEW: Self = Self {
        advance_ms: 0,
        skew_ms: Some(0),
    };
}

impl Elapsed {
    pub(crate) fn ms(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_add(self.advanced_ms.load(Ordering::Relaxed))
    }
}

pub(crate) fn routes(page: ClockPage) -> Router {
    Router::new()
        .route("/dev/clock", get(show).post(change).delete(reset))
        .with_state(page)
}

async fn show(State(page): State<ClockPage>) -> Answer {
    page.move_clocks(Change::default()).await
}

async fn change(State(page): State<ClockPage>, body: Bytes) -> Answer {
    page.move_clocks(parse(&body)?).await
}

/// `DELETE /dev/clock`: removes the wall-clock skew. Clocks that have been advanced stay advanced.
async fn reset(State(page): State<ClockPage>) -> Answer {
    page.move_clocks(Change::NO_SKEW).await
}

impl ClockPage {
    pub(crate) fn new(shards: MoveClocks, refusals: Arc<Refusals>) -> Self {
        Self {
            clocks: Arc::new(Mutex::new(Clocks::new(shards))),
            elapsed: Arc::new(Elapsed {
                began: Instant::now(),
                advanced_ms: AtomicU64::new(0),
            }),
            refusals,
        }
    }

    pub(crate) fn elapsed(&self) -> Arc<Elapsed> {
        Arc::clone(&self.elapsed)
    }

    async fn move_clocks(&self, change: Change) -> Answer {
        let (shift, at) = self.shift(change).await?;
        Ok(Json(value!({
            "now": rfc3339(at.ok_or(SILENT)?.wall),
            "advanced": span(shift.advanced_ms.cast_signed()),
            "wallSkew": span(shift.skew_ms),
        })))
    }

    /// Shifts the clocks. Returns the new total shift and the new time. The time is `None` if a shard does not respond.
    /// If the total shift would become too large, returns an error message for the client.
    pub(crate) async fn shift(&self, change: Change) -> Result<(Shift, Option<Moment>), String> {
        let mut clocks = self.clocks.clone().lock_owned().await;
        clocks.shift = moved(clocks.shift, change)?;
        let advanced_ms = clocks.shift.advanced_ms;
        self.elapsed
            .advanced_ms
            .store(advanced_ms, Ordering::Relaxed);
        let ahead_ms = advanced_ms.saturating_add_signed(clocks.shift.skew_ms);
        self.refusals.calendars_move(ahead_ms);
        let done = tokio::task::spawn_blocking(move || clocks.apply()).await;
        Ok(done.unwrap_or_default())
    }
}

fn parse(bytes: &[u8]) -> Result<Change, String> {
    let mut body = Body::parse(bytes)?;
    let advance = body.span("advance", 1..=ADVANCE_MS_MAX)?;
    let skew_ms = body.text("wallSkew", skew)?;
    body.end(KEYS)?;
    if advance.is_none() && skew_ms.is_none() {
        return Err(format!("nothing to change: expected {KEYS}"));
    }
    Ok(Change {
        advance_ms: advance.unwrap_or_default(),
        skew_ms,
    })
}

fn skew(text: &str) -> Result<i64, String> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let rule = |_| "expected a duration up to \"7d\", with \"-\" before it or not".to_owned();
    let ms = duration(span, 0..=ADVANCE_MS_MAX).map_err(rule)?;
    Ok(ms.cast_signed() * sign)
}

fn moved(shift: Shift, change: Change) -> Result<Shift, String> {
    let advanced_ms = shift.advanced_ms.saturating_add(change.advance_ms);
    if advanced_ms > ADVANCED_MS_MAX {
        return Err(format!(
            "advance: the clocks are {} ahead, expected at most {} in all: restart the broker",
            ConfigSpan(shift.advanced_ms),
            ConfigSpan(ADVANCED_MS_MAX)
        ));
    }
    Ok(Shift {
        advanced_ms,
        skew_ms: change.skew_ms.unwrap_or(shift.skew_ms),
    })
}

fn span(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    match ms.unsigned_abs() {
        0 => "0s".into(),
        ms => format!("{sign}{}", ConfigSpan(ms)),
    }
}

/// Maximum size of a single step in either direction, in milliseconds. One week exceeds every time limit of the broker
/// except certificate lifetimes.
const ADVANCE_MS_MAX: u64 = 7 * 86_400_000;

const ADVANCED_MS_MAX: u64 = 3650 * 86_400_000;

const KEYS: &str = "advance, wallSkew";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_or_refused_with_the_key() {
        let change = |advance_ms, skew_ms| {
            Ok(Change {
                advance_ms,
                skew_ms,
            })
        };
        assert_eq!(parse(br#"{"advance":"61s"}"#), change(61_000, None));
        assert_eq!(parse(br#"{"advance":"7d"}"#), change(604_800_000, None));
        assert_eq!(parse(br#"{"wallSkew":"-10m"}"#), change(0, Some(-600_000)));
        assert_eq!(parse(br#"{"wallSkew":"+1s"}"#), change(0, Some(1000)));
        assert_eq!(parse(br#"{"wallSkew":"0"}"#), change(0, Some(0)));
        for (text, key) in [
            (r#"{"advance":"8d"}"#, "advance"),
            (r#"{"advance":"0"}"#, "advance"),
            (r#"{"advance":"-1s"}"#, "advance"),
            (r#"{"wallSkew":"--1s"}"#, "wallSkew"),
            (r#"{"wallSkew":10}"#, "wallSkew"),
            (r#"{"advance":"1s","unit":"s"}"#, "unit"),
            ("{}", "nothing to change"),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            testkit::assert_begins(&fault, key);
            testkit::assert_has(&fault, &["expected"]);
        }
    }

    #[test]
    fn steps_add_up_to_a_bound_and_a_skew_replaces_the_one_before() {
        let step = Change {
            advance_ms: ADVANCE_MS_MAX,
            skew_ms: Some(5),
        };
        let once = moved(Shift::default(), step).unwrap();
        let twice = moved(once, step).unwrap();
        assert_eq!((twice.advanced_ms, twice.skew_ms), (2 * ADVANCE_MS_MAX, 5));
        assert_eq!(moved(twice, Change::NO_SKEW).unwrap().skew_ms, 0);
        let last = Shift {
            advanced_ms: ADVANCED_MS_MAX,
            skew_ms: 0,
        };
        assert!(moved(last, step).unwrap_err().contains("restart"));
        assert_eq!(moved(last, Change::default()), Ok(last));
    }

    #[test]
    fn a_shard_that_was_silent_gets_the_whole_shift_with_the_next_request() {
        let (posted, seen) = crossbeam_channel::unbounded();
        let mut answers = [None, Some(Moment::default())].into_iter();
        let mut clocks = Clocks::new(Box::new(move |shift| {
            posted.send(shift.advanced_ms).unwrap();
            vec![
                (ShardId(0), Some(Moment::default())),
                (ShardId(1), answers.next().unwrap()),
            ]
        }));
        clocks.shift.advanced_ms = 61_000;
        assert_eq!(clocks.apply().1, None);
        assert_eq!(clocks.apply().1, Some(Moment::default()));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [61_000, 61_000]);
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["61s", "-10m", "1500ms", "0s"] {
            assert_eq!(span(skew(text).unwrap()), text);
        }
    }
}
