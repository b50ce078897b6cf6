//! The history of slots on all nodes, by the lines that each writes (`src/server/cluster/slot_orders.rs`), and the
//! rules that these must keep:
//!
//! | rule | what |
//! |---|---|
//! | one process | owns a slot under an epoch, serves it and admits to it |
//! | served before | a connection is admitted under the epoch that its process serves |
//! | no overlap | no two nodes may admit to a slot at one moment, except in the spans that a test allows |
//!
//! A process may admit to a slot from `serves` to `stops`, while it is valid.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

/// The lines of all nodes, in the order of time.
#[derive(Debug)]
pub(crate) struct Journal(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    at: u64,
    /// Node and process.
    process: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Owns(u16, u64),
    Serves(u16, u64),
    Admits(u16, u64),
    Stops(u16),
    Valid(u64),
}

/// A span in which a process may admit to a slot.
#[derive(Clone, Debug)]
struct Served {
    process: String,
    epoch: u64,
    span: Range<u64>,
}

/// Two nodes that may admit to one slot.
#[derive(Debug)]
pub(crate) struct Overlap {
    pub(crate) slot: u16,
    /// The nodes that serve it: under the older epoch, and under the newer one.
    pub(crate) nodes: [String; 2],
    pub(crate) span: Range<u64>,
}

impl Journal {
    /// The lines of files that nodes have written so far.
    pub(crate) fn read(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let texts: Vec<String> = files
            .into_iter()
            .map(|path| fs::read_to_string(path).unwrap_or_default())
            .collect();
        Self::parse(texts.iter().map(String::as_str))
    }

    fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut lines: Vec<Line> = texts
            .into_iter()
            // A line that is being written has no end yet.
            .flat_map(|text| {
                text.split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'))
            })
            .map(|line| {
                Line::parse(line).unwrap_or_else(|| panic!("no line of a journal: {line:?}"))
            })
            .collect();
        // Stable: lines of one process stay in the order in which it wrote them.
        lines.sort_by_key(|line| line.at);
        Self(lines)
    }

    /// Asserts the rules, without any overlap.
    pub(crate) fn assert_sound(&self) {
        self.assert_except_in(0..0);
    }

    /// Asserts the rules; slots may be with two nodes in this span.
    pub(crate) fn assert_except_in(&self, allowed: Range<u64>) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:#?}");
        let mut bad = self.overlaps();
        bad.retain(|Overlap { span, .. }| span.start < allowed.start || span.end > allowed.end);
        assert!(
            bad.is_empty(),
            "{} overlaps beyond {allowed:?}, such as {:#?}",
            bad.len(),
            bad.first()
        );
        let is_admission = |line: &Line| matches!(line.what, What::Admits(..));
        assert!(self.0.iter().any(is_admission), "nobody was admitted");
    }

    /// The number of moves of slots from one node to another after this moment.
    pub(crate) fn moves_since(&self, moment: u64) -> usize {
        let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
        let mut moves = 0;
        for line in &self.0 {
            let (What::Owns(slot, _) | What::Serves(slot, _)) = line.what else {
                continue;
            };
            let before = owners.insert(slot, line.node());
            moves +=
                usize::from(line.at > moment && before.is_some_and(|node| node != line.node()));
        }
        moves
    }

    /// The number of times that slots were owned or left after this moment, by whichever process.
    pub(crate) fn changes_since(&self, moment: u64) -> usize {
        let is_change = |line: &&Line| {
            let is_of_slots = matches!(
                line.what,
                What::Owns(..) | What::Serves(..) | What::Stops(_)
            );
            line.at > moment && is_of_slots
        };
        self.0.iter().filter(is_change).count()
    }

    /// Lines that break the first two rules.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut owners: BTreeMap<(u16, u64), &str> = BTreeMap::new();
        let mut served: BTreeMap<(&str, u16), (u64, Option<u64>)> = BTreeMap::new();
        for line in &self.0 {
            let (What::Owns(slot, epoch) | What::Serves(slot, epoch) | What::Admits(slot, epoch)) =
                line.what
            else {
                if let What::Stops(slot) = line.what
                    && let Some((_, stopped)) = served.get_mut(&(line.process.as_str(), slot))
                {
                    *stopped = Some(line.at);
                }
                continue;
            };
            let owner = *owners.entry((slot, epoch)).or_insert(&line.process);
            if owner != line.process {
                faults.push(format!("{line:?}: this epoch is that of {owner}"));
            }
            let key = (line.process.as_str(), slot);
            match line.what {
                What::Serves(..) => {
                    served.insert(key, (epoch, None));
                }
                What::Admits(..) => {
                    let is_served = served.get(&key).is_some_and(|(of, stopped)| {
                        *of == epoch && stopped.is_none_or(|at| line.at <= at + ORDER_MS)
                    });
                    if !is_served {
                        faults.push(format!("{line:?}: its process does not serve it"));
                    }
                }
                What::Owns(..) | What::Stops(_) | What::Valid(_) => {}
            }
        }
        faults
    }

    /// Moments at which two nodes may admit to one slot.
    pub(crate) fn overlaps(&self) -> Vec<Overlap> {
        let valid = self.valid();
        let mut overlaps = Vec::new();
        for (slot, spans) in self.served() {
            for (number, older) in spans.iter().enumerate() {
                for newer in spans.get(number + 1..).unwrap_or_default() {
                    if newer.span.start >= older.span.end {
                        break;
                    }
                    let (node, other) = (node_of(&older.process), node_of(&newer.process));
                    if node == other {
                        continue;
                    }
                    let both = newer.span.start..older.span.end.min(newer.span.end);
                    let spans = [
                        valid.get(older.process.as_str()),
                        valid.get(newer.process.as_str()),
                    ];
                    if let Some(span) = common(both, spans) {
                        let mut nodes = [node.to_owned(), other.to_owned()];
                        if older.epoch > newer.epoch {
                            nodes.reverse();
                        }
                        overlaps.push(Overlap { slot, nodes, span });
                    }
                }
            }
        }
        overlaps
    }

    /// By slot: who served it when, in the order of the beginnings.
    fn served(&self) -> BTreeMap<u16, Vec<Served>> {
        let mut slots: BTreeMap<u16, Vec<Served>> = BTreeMap::new();
        for line in &self.0 {
            let (What::Serves(slot, _) | What::Stops(slot)) = line.what else {
                continue;
            };
            let spans = slots.entry(slot).or_default();
            let mut own = spans.iter_mut().rev();
            if let Some(open) =
                own.find(|span| span.process == line.process && span.span.end == u64::MAX)
            {
                open.span.end = line.at;
            }
            if let What::Serves(_, epoch) = line.what {
                let (process, span) = (line.process.clone(), line.at..u64::MAX);
                spans.push(Served {
                    process,
                    epoch,
                    span,
                });
            }
        }
        slots
    }

    /// By process: the spans in which it may admit at all.
    fn valid(&self) -> BTreeMap<&str, Vec<Range<u64>>> {
        let mut processes: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
        for line in &self.0 {
            let What::Valid(until) = line.what else {
                continue;
            };
            let spans = processes.entry(&line.process).or_default();
            match spans.last_mut() {
                // The earlier end holds no longer, be it shorter or longer.
                Some(last) if last.end >= line.at => last.end = until.max(line.at),
                Some(_) | None => spans.push(line.at..until.max(line.at)),
            }
        }
        processes
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (at, process, what) = (
            words.next()?.parse().ok()?,
            words.next()?.to_owned(),
            words.next()?,
        );
        let mut number = || words.next()?.parse::<u64>().ok();
        let first = number()?;
        let slot = u16::try_from(first).ok();
        let what = match what {
            "owns" => What::Owns(slot?, number()?),
            "serves" => What::Serves(slot?, number()?),
            "admits" => What::Admits(slot?, number()?),
            "stops" => What::Stops(slot?),
            "valid" => What::Valid(first),
            _ => return None,
        };
        Some(Self { at, process, what })
    }

    fn node(&self) -> &str {
        node_of(&self.process)
    }
}

fn node_of(process: &str) -> &str {
    process.split('/').next().unwrap_or_default()
}

/// The first part of a span in which both processes are valid, to the end of the last one.
fn common(both: Range<u64>, valid: [Option<&Vec<Range<u64>>>; 2]) -> Option<Range<u64>> {
    let [older, newer] = valid.map(|spans| spans.map_or(&[][..], Vec::as_slice));
    let mut found: Option<Range<u64>> = None;
    for one in older {
        for other in newer {
            let start = both.start.max(one.start).max(other.start);
            let end = both.end.min(one.end).min(other.end);
            if start < end {
                let found = found.get_or_insert(start..end);
                *found = found.start.min(start)..found.end.max(end);
            }
        }
    }
    found
}

/// A shard carries an order out within that: until then it may admit to a slot that its node gave up.
const ORDER_MS: u64 = 1_000;

/// This moment, as the lines have it.
pub(crate) fn moment() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let milliseconds = time.tv_sec * 1_000 + time.tv_nsec / 1_000_000;
    u64::try_from(milliseconds).expect("it began at 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node n1 goes, n2 takes over.
    const GOOD: &str = "100 n1/1 valid 9000\n100 n1/1 owns 7 5\n110 n1/1 serves 7 5\n120 n1/1 admits 7 5\n\
                        200 n1/1 stops 7\n200 n2/2 valid 9000\n210 n2/2 owns 7 9\n230 n2/2 serves 7 9\n\
                        240 n2/2 admits 7 9\n";

    fn sound(from: &str, to: &str) -> bool {
        assert!(GOOD.contains(from));
        let journal = Journal::parse([GOOD.replace(from, to).as_str()]);
        std::panic::catch_unwind(|| journal.assert_sound()).is_ok()
    }

    #[test]
    fn what_nodes_may_not_do_is_found() {
        assert!(sound("200 n1", "200 n1"));
        assert!(
            !sound("210 n2/2 owns 7 9", "210 n2/2 owns 7 5"),
            "one epoch of two nodes"
        );
        assert!(
            !sound("210 n2/2 owns 7 9", "210 n1/3 owns 7 5"),
            "one epoch of two processes"
        );
        assert!(
            !sound("240 n2/2 admits 7 9", "240 n1/1 admits 7 9"),
            "by a node that does not own it"
        );
        assert!(
            !sound("240 n2/2 admits 7 9", "1300 n1/1 admits 7 5"),
            "long after it was given up"
        );
        assert!(
            !sound("120 n1/1 admits 7 5", "105 n1/1 admits 7 5"),
            "before it is served"
        );
        assert!(
            !sound("200 n1/1 stops 7\n", "235 n1/1 stops 7\n"),
            "two at a time"
        );
        assert!(!sound("200 n1/1 stops 7\n", ""), "it never stops");
        // It does not stop, but may not admit either.
        assert!(sound("200 n1/1 stops 7\n", "120 n1/1 valid 220\n"));
        assert!(
            !sound(
                "200 n1/1 stops 7\n",
                "120 n1/1 valid 220\n225 n1/1 valid 9000\n"
            ),
            "it is valid again"
        );
    }

    #[test]
    fn an_overlap_may_be_allowed_for_a_while() {
        let journal = Journal::parse([GOOD
            .replace("200 n1/1 stops 7", "300 n1/1 stops 7")
            .as_str()]);
        journal.assert_except_in(230..300);
        let short = std::panic::catch_unwind(|| journal.assert_except_in(230..299));
        assert!(short.is_err());
        let [overlap] = &journal.overlaps()[..] else {
            panic!("{:?}", journal.overlaps());
        };
        assert_eq!((overlap.slot, &overlap.span), (7, &(230..300)));
        assert_eq!(overlap.nodes, ["n1", "n2"]);
    }

    #[test]
    fn moves_are_counted_by_node() {
        let journal = Journal::parse([GOOD]);
        assert_eq!((journal.moves_since(0), journal.moves_since(230)), (1, 0));
        assert_eq!(journal.changes_since(120), 3);
        let restarted = Journal::parse([GOOD.replace("n2/2", "n1/2").as_str()]);
        assert_eq!(restarted.moves_since(0), 0);
    }
}
