//! Rows of metrics, and the three resolutions at which they are stored. A row covers a time span and has one number per
//! column.
//!
//! A row's time is the wall-clock time at which it started. If the clock is set back, rows from before and after the
//! change may have equal times. Both are kept, and their counts are added when they are merged. Rows are evicted by
//! sequence number rather than age, so setting the clock forward for a moment evicts none of them.

use crate::side::history::slots::{REGIONS, Region, Slots};
use broker_core::event::Histogram;
use std::io;

/// How the values of a column are combined when rows are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// The sum. Used for counts.
    Sum,
    /// The mean, weighted by duration. Used for levels.
    Mean,
    Least,
    /// The maximum. Also used for quantiles, which cannot be merged exactly.
    Most,
}

/// The columns, in the order in which they are stored. Adding or moving a column requires a new file version.
pub(crate) const COLUMNS: [(&str, Merge); 25] = [
    ("masters", Merge::Mean),
    ("viewers", Merge::Mean),
    ("connects", Merge::Sum),
    ("refused_signature", Merge::Sum),
    ("refused_policy", Merge::Sum),
    ("refused_rate", Merge::Sum),
    ("refused_other", Merge::Sum),
    ("offers", Merge::Sum),
    ("answers", Merge::Sum),
    ("unanswered", Merge::Sum),
    ("confirmed", Merge::Sum),
    ("returned", Merge::Sum),
    ("setupP50Ms", Merge::Most),
    ("setupP99Ms", Merge::Most),
    ("busyMax", Merge::Most),
    ("busyMean", Merge::Mean),
    ("memoryBytes", Merge::Most),
    ("hooks", Merge::Sum),
    ("hooksFailed", Merge::Sum),
    ("mastersLeast", Merge::Least),
    ("channels", Merge::Mean),
    ("pending", Merge::Most),
    ("messages", Merge::Sum),
    ("deliveryP50Us", Merge::Most),
    ("deliveryP99Us", Merge::Most),
];

/// Columns that contain quantiles. Each entry consists of the column's name, the index of a histogram (0: set-up, 1:
/// delivery), the quantile, and the divisor that converts microseconds to the column's unit.
const QUANTILES: [(&str, usize, f64, f64); 4] = [
    ("setupP50Ms", 0, 0.5, 1e3),
    ("setupP99Ms", 0, 0.99, 1e3),
    ("deliveryP50Us", 1, 0.5, 1.0),
    ("deliveryP99Us", 1, 0.99, 1.0),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) at_ms: u64,
    /// Duration of the row in milliseconds, measured by the monotonic clock.
    pub(crate) span_ms: u32,
    values: [f32; COLUMNS.len()],
}

impl Row {
    pub(crate) const fn new(at_ms: u64, span_ms: u32) -> Self {
        Self {
            at_ms,
            span_ms,
            values: [f32::NAN; COLUMNS.len()],
        }
    }

    /// Returns the value of a column, or `None` if it is unknown.
    pub(crate) fn get(&self, column: &str) -> Option<f64> {
        let mut names = COLUMNS.iter().zip(self.values);
        let (_, value) = names.find(|((name, _), _)| *name == column)?;
        (!value.is_nan()).then(|| f64::from(value))
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
    pub(crate) fn set(&mut self, column: &str, number: f64) {
        let place = COLUMNS.iter().position(|(name, _)| *name == column);
        debug_assert!(place.is_some(), "{column} is a column");
        if let Some(value) = place.and_then(|place| self.values.get_mut(place)) {
            *value = number as f32;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let (own, more) = (self.span_ms as f32, other.span_ms as f32);
        let columns = COLUMNS.iter().map(|(_, merge)| merge);
        for ((one, two), merge) in self.values.iter_mut().zip(other.values).zip(columns) {
            *one = match merge {
                _ if two.is_nan() => *one,
                _ if one.is_nan() => two,
                Merge::Sum => *one + two,
                Merge::Mean => (*one * own + two * more) / (own + more).max(1.0),
                Merge::Least => one.min(two),
                Merge::Most => one.max(two),
            };
        }
        self.at_ms = self.at_ms.min(other.at_ms);
        self.span_ms = self.span_ms.saturating_add(other.span_ms);
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = self.at_ms.to_le_bytes().to_vec();
        body.extend(self.span_ms.to_le_bytes());
        body.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (at_ms, rest) = body.split_first_chunk()?;
        let (span_ms, rest) = rest.split_first_chunk()?;
        let (values, []) = rest.as_chunks() else {
            return None;
        };
        let values: &[_; COLUMNS.len()] = values.try_into().ok()?;
        Some(Self {
            at_ms: u64::from_le_bytes(*at_ms),
            span_ms: u32::from_le_bytes(*span_ms),
            values: values.map(f32::from_le_bytes),
        })
    }
}

/// The metrics collected since the previous tick: a row, a histogram of set-up durations and a histogram of delivery
/// durations.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    pub(crate) row: Row,
    pub(crate) durations: [Histogram; 2],
}

impl Tick {
    fn whole(&self) -> Row {
        let mut row = self.row;
        for (column, of, part, unit) in QUANTILES {
            let quantile = self.durations.get(of).and_then(|it| it.quantile(part));
            row.set(column, quantile.map_or(f64::NAN, |us| us / unit));
        }
        row
    }
}

/// A resolution at which rows are stored.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) ms: u64,
    pub(crate) region: Region,
}

const fn step(id: u8, ms: u64, offset: usize, slots: usize) -> Step {
    let bytes = 128;
    let region = Region {
        id,
        offset,
        slots,
        bytes,
    };
    Step { ms, region }
}

const FINE: Step = step(1, 2_000, REGIONS, 1800);
const MINUTES: Step = step(2, 60_000, FINE.region.end(), 24 * 60);
const QUARTERS: Step = step(3, 900_000, MINUTES.region.end(), 30 * 24 * 4);
/// The resolutions: two-second rows for an hour, one-minute rows for a day, and 15-minute rows for 30 days.
pub(crate) const STEPS: [Step; 3] = [FINE, MINUTES, QUARTERS];

pub(crate) const RING_BYTES: usize = QUARTERS.region.end();

const _: () = assert!(12 + 4 * COLUMNS.len() <= FINE.region.body_max());

pub(crate) fn read(slots: &Slots, step: &Step) -> Vec<Row> {
    let mut rows = Vec::new();
    slots.each(&step.region, |slot| {
        rows.extend(Row::decode(slot.body).map(|row| (row.at_ms, slot.number, row)));
    });
    rows.sort_unstable_by_key(|(at_ms, number, _)| (*at_ms, *number));
    rows.into_iter().map(|(.., row)| row).collect()
}

#[derive(Debug)]
pub(crate) struct Open {
    step: &'static Step,
    /// Sequence number of the slot that is being written.
    number: u64,
    /// The last row of an earlier process, which may be incomplete.
    pub(crate) before: Option<Row>,
    own: Option<Tick>,
}

impl Open {
    /// Continues from the last row in the file. The next tick is added to that row if it falls into the same step.
    pub(crate) fn of(slots: &Slots, step: &'static Step) -> Self {
        let mut last = None;
        slots.each(&step.region, |slot| {
            let row = Row::decode(slot.body).map(|row| (slot.number, row));
            last = last.filter(|(number, _)| *number > slot.number).or(row);
        });
        Self {
            step,
            number: last.map_or(0, |(number, _)| number),
            before: last.map(|(_, row)| row),
            own: None,
        }
    }

    /// Adds the metrics of a tick and writes the row. At the finest resolution, each tick is a row of its own. At the
    /// other resolutions, all ticks of a step share a row.
    pub(crate) fn add(&mut self, slots: &Slots, tick: &Tick) -> io::Result<()> {
        let step_of = |row: &Row| row.at_ms / self.step.ms;
        let open = self.own.as_ref().map(|own| &own.row);
        let goes_on = open.or(self.before.as_ref()).is_some_and(|row| {
            // A tick lasts as long as a step of the finest resolution, but is not aligned with it.
            self.step.ms != FINE.ms && step_of(row) == step_of(&tick.row)
        });
        if !goes_on {
            (self.before, self.own) = (None, None);
            self.number += 1;
        }
        match &mut self.own {
            None => self.own = Some(tick.clone()),
            Some(own) => {
                own.row.merge(&tick.row);
                for (sum, more) in own.durations.iter_mut().zip(&tick.durations) {
                    sum.add(more);
                }
            }
        }
        let mut row = self.before.unwrap_or(Row::new(u64::MAX, 0));
        if let Some(own) = &self.own {
            row.merge(&own.whole());
        }
        let slots_of_step = self.step.region.slots as u64;
        let place = usize::try_from(self.number % slots_of_step).unwrap_or(0);
        slots.write(&self.step.region, place, self.number, &row.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(at_ms: u64, masters: f64, connects: f64, setup_us: u64) -> Tick {
        let mut row = Row::new(at_ms, 2_000);
        row.set("masters", masters);
        row.set("mastersLeast", masters);
        row.set("connects", connects);
        let mut durations = [Histogram::default(), Histogram::default()];
        durations[0].observe(setup_us, 1);
        Tick { row, durations }
    }

    fn slots() -> Slots {
        Slots::in_memory(RING_BYTES)
    }

    #[test]
    fn a_row_is_what_was_written_and_the_ring_is_small() {
        let mut row = tick(7, 3.5, 2.0, 900).whole();
        row.set("memoryBytes", 12e9);
        assert_eq!(Row::decode(&row.encode()).unwrap().encode(), row.encode());
        assert_eq!((row.get("viewers"), row.get("none")), (None, None));
        assert_eq!(Row::decode(&row.encode()[1..]), None);
        const { assert!(RING_BYTES < 1 << 20) };
    }

    #[test]
    fn a_minute_has_the_counts_of_its_ticks_and_the_quantiles_of_all_its_durations() {
        let slots = slots();
        let mut open = Open::of(&slots, &STEPS[1]);
        for at in 0..45 {
            // The 99th percentile of a minute differs from that of its last tick.
            let setup = if at == 3 { 800_000 } else { 50_000 };
            open.add(&slots, &tick(at * 2_000, at as f64, 1.0, setup))
                .unwrap();
        }
        let rows = read(&slots, &STEPS[1]);
        let of = |column| {
            rows.iter()
                .map(|row| row.get(column).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            rows.iter().map(|row| row.at_ms).collect::<Vec<_>>(),
            [0, 60_000]
        );
        assert_eq!(of("connects"), vec![30.0, 15.0]);
        assert_eq!(of("mastersLeast"), vec![0.0, 30.0]);
        assert!((of("masters")[0] - 14.5).abs() < 1e-3);
        let p99 = of("setupP99Ms");
        assert!(p99[0] > 700.0 && p99[1] < 60.0, "{p99:?}");
        assert!(of("setupP50Ms")[0] < 60.0);
    }

    #[test]
    fn a_process_that_ends_again_and_again_takes_no_more_rows_than_one_that_runs() {
        let slots = slots();
        for life in 0..30 {
            let mut open = Open::of(&slots, &STEPS[2]);
            open.add(&slots, &tick(life * 10_000, 1.0, 1.0, 1)).unwrap();
        }
        let rows = read(&slots, &STEPS[2]);
        assert_eq!((rows.len(), rows[0].get("connects")), (1, Some(30.0)));
    }

    #[test]
    fn the_oldest_rows_make_room_by_their_number_whatever_the_clock_says() {
        let slots = slots();
        let mut open = Open::of(&slots, &STEPS[0]);
        for at in 0..1_700 {
            open.add(&slots, &tick(1_000_000 + at * 2_000, 1.0, 1.0, 1))
                .unwrap();
        }
        // The clock is set ten years forward for a moment, and then is an hour behind.
        open.add(&slots, &tick(315_360_000_000, 1.0, 1.0, 1))
            .unwrap();
        let mut open = Open::of(&slots, &STEPS[0]);
        for at in 0..50 {
            open.add(&slots, &tick(1_000_000 + at * 2_000, 2.0, 1.0, 1))
                .unwrap();
        }
        let rows = read(&slots, &STEPS[0]);
        assert_eq!(rows.len(), 1_751);
        let twice = rows.iter().filter(|row| row.at_ms == 1_000_000);
        let twice: Vec<_> = twice.map(|row| row.get("masters")).collect();
        assert_eq!(twice, [Some(1.0), Some(2.0)], "both passes");
        for at in 0..100 {
            open.add(&slots, &tick(9_000_000 + at * 2_000, 2.0, 1.0, 1))
                .unwrap();
        }
        assert_eq!(read(&slots, &STEPS[0]).len(), 1_800);
    }
}
