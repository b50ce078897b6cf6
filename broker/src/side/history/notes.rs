//! Marks for process events, and causes of problems that have ended. Both are stored as JSON in slots.
//!
//! When there are too many marks, the oldest one is evicted. When there are too many causes, the oldest one from the
//! account with the most causes is evicted, so no account can crowd out the causes of others. Age is determined by
//! sequence numbers rather than by times.

use crate::limits::{
    HISTORY_CAUSES_MAX, HISTORY_CAUSES_SHOWN_MAX, HISTORY_MARKS_MAX, HISTORY_MARKS_SHOWN_MAX,
};
use crate::side::history::slots::{REGIONS, Region, Slots};
use aws_lc_rs::digest::{SHA256, digest};
use codec::limits::beginning;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::io;

/// An event that concerns the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The process has started.
    Start,
    /// The process has stopped, either normally or with an error.
    Stop,
    /// A previous process ended without recording that it stopped.
    Killed,
    /// Files were reloaded, or a reload was rejected.
    Reload,
    /// A drain has started.
    Drain,
    /// The node has gained or lost slots of the cluster.
    Slots,
    /// A shard has stopped responding, a clock was set, or the history could not be written.
    Alert,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    pub(crate) kind: MarkKind,
    pub(crate) says: String,
}

/// The cause of a problem. Replaces any earlier cause with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// A stable id of at most about 200 bytes.
    pub id: String,
    /// The check that failed, or the kind of session that failed.
    pub check: String,
    /// The entity to which the cause is attributed.
    pub cause: Blamed,
    /// The account to which the cause is charged when the file is full, or `None` if the cause concerns the whole
    /// process.
    pub account: Option<String>,
    /// The title, on one line.
    pub title: String,
    /// A description of the cause.
    pub says: String,
    /// The time when the first event occurred, in milliseconds since 1970.
    pub first: u64,
    /// The time when the last event occurred, in milliseconds since 1970.
    pub last: u64,
    /// The time when the cause ended, in milliseconds since 1970.
    pub ended: Option<u64>,
    /// The number of channels affected.
    pub channels: u64,
    /// The number of events attributed to the cause.
    pub events: u64,
    /// The severity, which is `bad` or `warn`.
    pub look: String,
}

/// An entity to which causes are attributed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    /// The kind of entity: `key`, `principal`, `authority`, `address`, `file`, `node`, `shard` or `channel`.
    pub by: String,
    /// The name or id of the entity.
    pub value: String,
}

impl Cause {
    pub(crate) fn json(&self) -> Value {
        let moment = |ms: u64| codec::calendar::rfc3339(ms);
        value!({
            "id": self.id,
            "check": self.check,
            "cause": self.cause,
            "title": self.title,
            "says": self.says,
            "look": self.look,
            "first": moment(self.first),
            "last": moment(self.last),
            "ended": self.ended.map(moment),
            "channels": self.channels,
            "events": self.events,
        })
    }
}

const MARKS: Region = Region {
    id: 4,
    offset: REGIONS,
    slots: HISTORY_MARKS_MAX,
    bytes: 256,
};
const CAUSES: Region = Region {
    id: 5,
    offset: MARKS.end(),
    slots: HISTORY_CAUSES_MAX,
    bytes: 1024,
};

pub(crate) const NOTES_BYTES: usize = CAUSES.end();

pub(crate) fn marks(slots: &Slots, from: u64, to: u64) -> Vec<Mark> {
    let fits = |mark: &Mark| (from..=to).contains(&mark.at).then_some(mark.at);
    newest(slots, &MARKS, HISTORY_MARKS_SHOWN_MAX, fits)
}

/// Returns the newest causes that overlap a time span, sorted by the time of their first event.
pub(crate) fn causes(slots: &Slots, from: u64, to: u64) -> Vec<Cause> {
    let until = |it: &Cause| it.ended.unwrap_or(it.last);
    let fits = |it: &Cause| (it.first <= to && until(it) >= from).then_some(it.first);
    newest(slots, &CAUSES, HISTORY_CAUSES_SHOWN_MAX, fits)
}

/// Returns the newest notes in a region of the file, sorted by time. `fits` returns a note's time, or `None` to skip
/// the note.
fn newest<T: for<'b> Deserialize<'b>>(
    slots: &Slots,
    region: &Region,
    most: usize,
    fits: impl Fn(&T) -> Option<u64>,
) -> Vec<T> {
    let mut found = Vec::new();
    let sort = |found: &mut Vec<(u64, u64, T)>| {
        found.sort_unstable_by_key(|(at, number, _)| (*at, *number));
        found.drain(..found.len().saturating_sub(most));
    };
    slots.each(region, |slot| {
        let note = serde_json::from_slice::<T>(slot.body).ok();
        let at = note.as_ref().and_then(&fits);
        found.extend(at.zip(note).map(|(at, note)| (at, slot.number, note)));
        if found.len() >= 2 * most {
            sort(&mut found);
        }
    });
    sort(&mut found);
    found.into_iter().map(|(.., note)| note).collect()
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    numbers: [u64; 2],
    /// Time of the last mark of the previous process.
    last: u64,
    /// Kind of the last mark of the previous process that is a start or an end.
    life: Option<MarkKind>,
    /// The slot that contains the start mark of this process. It is never evicted, since the next process needs it.
    start: Option<usize>,
    causes: BTreeMap<usize, Kept>,
}

/// A stored cause, represented by digests of its id and its account.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: u64,
    account: u64,
    last: u64,
}

impl Kept {
    fn of(cause: &Cause) -> Self {
        Self {
            id: short(&cause.id),
            account: cause.account.as_deref().map_or(0, short),
            last: cause.last,
        }
    }
}

impl Notes {
    pub(crate) fn of(slots: &Slots) -> Self {
        let mut notes = Self::default();
        let mut life = 0;
        slots.each(&MARKS, |slot| {
            let mark = serde_json::from_slice::<Mark>(slot.body).ok();
            if slot.number > notes.numbers[0] {
                notes.numbers[0] = slot.number;
                notes.last = mark.as_ref().map_or(notes.last, |mark| mark.at);
            }
            let kind = mark
                .map(|mark| mark.kind)
                .filter(|kind| matches!(kind, MarkKind::Start | MarkKind::Stop | MarkKind::Killed));
            if slot.number > life && kind.is_some() {
                (life, notes.life) = (slot.number, kind);
            }
        });
        slots.each(&CAUSES, |slot| {
            notes.numbers[1] = notes.numbers[1].max(slot.number);
            if let Ok(cause) = serde_json::from_slice::<Cause>(slot.body) {
                notes.causes.insert(slot.place, Kept::of(&cause));
            }
        });
        notes
    }

    /// Returns the time of the last mark of the previous process, if that process did not record that it stopped.
    pub(crate) fn unended(&self) -> Option<u64> {
        (self.life == Some(MarkKind::Start)).then_some(self.last)
    }

    pub(crate) fn mark(&mut self, slots: &Slots, mark: &Mark) -> io::Result<()> {
        let body = fitted(mark.clone(), |it| vec![&mut it.says], MARKS.body_max());
        let Some(body) = body else { return Ok(()) };
        let number = self.numbers[0] + 1;
        let place = usize::try_from(number % MARKS.slots as u64).unwrap_or(0);
        slots.write(&MARKS, place, number, &body)?;
        self.numbers[0] = number;
        if mark.kind == MarkKind::Start {
            self.start = Some(place);
        }
        Ok(())
    }

    pub(crate) fn cause(&mut self, slots: &Slots, cause: &Cause) -> io::Result<()> {
        let body = fitted(
            cause.clone(),
            |it| vec![&mut it.says, &mut it.title, &mut it.cause.value],
            CAUSES.body_max(),
        );
        let Some(body) = body else { return Ok(()) };
        let kept = Kept::of(cause);
        let place = self.place(kept);
        slots.write(&CAUSES, place, self.numbers[1] + 1, &body)?;
        self.numbers[1] += 1;
        self.causes.insert(place, kept);
        Ok(())
    }

    /// Selects the slot for a cause: the slot that the cause already has, otherwise a free one. If no slot is free,
    /// selects the one with the oldest cause from the account that has the most causes.
    fn place(&self, cause: Kept) -> usize {
        let own = self.causes.iter().find(|(_, kept)| kept.id == cause.id);
        if let Some((place, _)) = own {
            return *place;
        }
        if let Some(free) = (0..CAUSES.slots).find(|place| !self.causes.contains_key(place)) {
            return free;
        }
        let mut shares = BTreeMap::<u64, usize>::new();
        for kept in self.causes.values() {
            *shares.entry(kept.account).or_default() += 1;
        }
        let largest = shares.into_iter().max_by_key(|(_, count)| *count);
        let largest = largest.map(|(account, _)| account);
        let of_largest = self.causes.iter();
        let of_largest = of_largest.filter(|(_, kept)| Some(kept.account) == largest);
        let oldest = of_largest.min_by_key(|(place, kept)| (kept.last, **place));
        oldest.map_or(0, |(place, _)| *place)
    }

    /// Erases the marks and causes for which `fits` returns `true`, given their time and their text. A cause's time is
    /// the time of its last event. Returns how many were erased.
    pub(crate) fn forget(&mut self, slots: &Slots, fits: &dyn Fn(u64, &str) -> bool) -> usize {
        let mut erased = 0;
        for region in [MARKS, CAUSES] {
            let mut places = Vec::new();
            slots.each(&region, |slot| {
                let text = String::from_utf8_lossy(slot.body);
                let note: Value = serde_json::from_str(&text).unwrap_or_default();
                let at = note["last"].as_u64().or_else(|| note["at"].as_u64());
                let stays = region.id == MARKS.id && self.start == Some(slot.place);
                if !stays && fits(at.unwrap_or_default(), &text) {
                    places.push(slot.place);
                }
            });
            for place in places {
                if let Err(error) = slots.erase(&region, place) {
                    tracing::error!(%error, "a note of the history could not be erased");
                    continue;
                }
                erased += 1;
                if region.id == CAUSES.id {
                    self.causes.remove(&place);
                }
            }
        }
        // Synced so that erased notes do not reappear after a power loss.
        if erased > 0
            && let Err(error) = slots.sync()
        {
            tracing::error!(%error, "erased notes of the history may not be on the disk");
        }
        erased
    }
}

/// Formats a note as JSON of limited size. Truncates its longest `texts`. Returns `None` if the note cannot be made to
/// fit.
fn fitted<T: Serialize>(
    mut note: T,
    texts: impl Fn(&mut T) -> Vec<&mut String>,
    most: usize,
) -> Option<Vec<u8>> {
    loop {
        let body = serde_json::to_vec(&note).ok()?;
        let more = body.len().saturating_sub(most);
        if more == 0 {
            return Some(body);
        }
        let longest = texts(&mut note).into_iter().max_by_key(|text| text.len())?;
        let short = longest
            .len()
            .checked_sub(more.min(longest.len() / 2).max(ELLIPSIS.len()))?;
        longest.truncate(beginning(longest, short.checked_sub(ELLIPSIS.len())?).len());
        longest.push_str(ELLIPSIS);
    }
}

const ELLIPSIS: &str = "…";

fn short(text: &str) -> u64 {
    let sum = digest(&SHA256, text.as_bytes());
    let first = sum.as_ref().first_chunk().copied();
    u64::from_le_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Slots {
        Slots::in_memory(NOTES_BYTES)
    }

    fn mark(at: u64, kind: MarkKind, says: &str) -> Mark {
        let says = says.to_owned();
        Mark { at, kind, says }
    }

    fn cause(id: &str, account: &str, first: u64) -> Cause {
        Cause {
            id: id.into(),
            check: "signature_mismatch".into(),
            cause: Blamed {
                by: "key".into(),
                value: "AKIA1".into(),
            },
            account: Some(account.into()),
            title: "Key AKIA1: signature does not match".into(),
            says: "30 cameras".into(),
            first,
            last: first + 10,
            ended: Some(first + 20),
            channels: 30,
            events: 4_000,
            look: "bad".into(),
        }
    }

    #[test]
    fn marks_are_a_ring_and_say_whether_a_process_has_ended() {
        let slots = slots();
        let mut notes = Notes::of(&slots);
        assert_eq!(notes.unended(), None);
        for at in 0..HISTORY_MARKS_MAX as u64 + 2 {
            notes.mark(&slots, &mark(at, MarkKind::Alert, "x")).unwrap();
        }
        assert_eq!(marks(&slots, 0, u64::MAX).len(), HISTORY_MARKS_SHOWN_MAX);
        assert_eq!(
            marks(&slots, 0, 3),
            [2, 3].map(|at| mark(at, MarkKind::Alert, "x"))
        );
        for (at, kind, unended) in [
            (9_000, MarkKind::Start, Some(9_000)),
            (9_001, MarkKind::Reload, Some(9_001)),
            (9_002, MarkKind::Stop, None),
            (9_003, MarkKind::Start, Some(9_003)),
            (8_000, MarkKind::Killed, None), // the clock was set back
        ] {
            notes.mark(&slots, &mark(at, kind, "it")).unwrap();
            notes = Notes::of(&slots);
            assert_eq!(notes.unended(), unended, "{at}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_none_is_lost_for_it() {
        let slots = slots();
        let mut notes = Notes::of(&slots);
        let long = "\"né\"".repeat(900);
        notes
            .mark(&slots, &mark(1, MarkKind::Reload, &long))
            .unwrap();
        let mut huge = cause("one", "a", 1);
        (huge.says, huge.title, huge.cause.value) = (long.clone(), long.clone(), long.clone());
        notes.cause(&slots, &huge).unwrap();
        let kept = &marks(&slots, 0, 9)[0].says;
        assert!(kept.ends_with("é\"…") || kept.ends_with('…'), "{kept}");
        let kept = &causes(&slots, 0, 9)[0];
        assert!(kept.says.len() > 100 && kept.title.len() > 100, "{kept:?}");
        let mut endless = cause("two", "a", 1);
        endless.id = "x".repeat(2_000);
        notes.cause(&slots, &endless).unwrap();
        assert_eq!(causes(&slots, 0, 9).len(), 1, "its name alone does not fit");
    }

    #[test]
    fn a_cause_comes_back_as_the_same_row_and_overlaps_spans() {
        let slots = slots();
        let mut notes = Notes::of(&slots);
        notes.cause(&slots, &cause("one", "a", 100)).unwrap();
        notes.cause(&slots, &cause("two", "a", 50)).unwrap();
        let mut again = cause("one", "a", 100);
        again.ended = Some(500);
        Notes::of(&slots).cause(&slots, &again).unwrap();
        for (from, to, ids) in [
            (0, 49, &[][..]),
            (0, 99, &["two"]),
            (60, 200, &["two", "one"]),
            (500, 900, &["one"]),
            (501, 900, &[]),
        ] {
            let found = causes(&slots, from, to);
            let found: Vec<_> = found.iter().map(|it| it.id.as_str()).collect();
            assert_eq!(found, ids, "{from} {to}");
        }
        assert_eq!(causes(&slots, 60, 200)[1], again);
    }

    #[test]
    fn an_account_pushes_out_causes_of_its_own() {
        let slots = slots();
        let mut notes = Notes::of(&slots);
        for number in 0..8 {
            let one = cause(&format!("quiet-{number}"), "quiet", number);
            notes.cause(&slots, &one).unwrap();
        }
        for number in 0..HISTORY_CAUSES_MAX as u64 + 100 {
            let one = cause(&format!("loud-{number}"), "loud", 1_000 + number);
            notes.cause(&slots, &one).unwrap();
        }
        let quiet = causes(&slots, 0, 999);
        assert_eq!((notes.causes.len(), quiet.len()), (HISTORY_CAUSES_MAX, 8));
        let oldest = causes(&slots, 1_000, 1_120);
        assert_eq!(oldest[0].id, "loud-108", "the oldest of the loud one");
        let newest = causes(&slots, 0, u64::MAX);
        assert_eq!(newest.len(), HISTORY_CAUSES_SHOWN_MAX);
        assert_eq!(newest[HISTORY_CAUSES_SHOWN_MAX - 1].id, "loud-4195");
    }

    #[test]
    fn what_is_forgotten_is_not_in_the_file_any_more() {
        let slots = slots();
        let mut notes = Notes::of(&slots);
        notes.cause(&slots, &cause("one", "a", 100)).unwrap();
        notes.cause(&slots, &cause("two", "a", 900)).unwrap();
        notes
            .mark(&slots, &mark(100, MarkKind::Alert, "AKIA1"))
            .unwrap();
        notes
            .mark(&slots, &mark(100, MarkKind::Start, "0.1.0"))
            .unwrap();
        assert_eq!(notes.forget(&slots, &|at, _| at < 500), 2);
        assert_eq!(notes.forget(&slots, &|_, text| text.contains("AKIA1")), 1);
        assert_eq!(notes.forget(&slots, &|_, _| true), 0);
        assert_eq!(
            marks(&slots, 0, 900).len(),
            1,
            "the next process goes by it"
        );
        assert!(notes.causes.is_empty() && causes(&slots, 0, u64::MAX).is_empty());
    }
}
