//! Prints a record as a table of ratios, or two records side by side. Only ratios within one run are meaningful, since
//! machines differ and the speed of a machine varies over time.

use crate::compare::record::{Figures, Record};
use crate::compare::server::Server;
use std::fmt::{self, Display, Formatter};

/// Displays a record as a table, with the best value and the median of each server and their ratios to the floor and to
/// the best rival.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Record);

/// Displays how two runs differ: the ratios of the broker and of its rivals to the floor in each run, and the change
/// between them.
#[derive(Debug)]
pub struct Change<'a> {
    /// The earlier run.
    pub before: &'a Record,
    /// The later run.
    pub after: &'a Record,
}

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let record = self.0;
        for case in record.cases() {
            let unit = record.of(case).next().map_or("", |figures| &figures.unit);
            writeln!(out, "{case}, {unit}")?;
            writeln!(
                out,
                "  {:<16} {:>9} {:>9} {:>8} {:>8} {:>8}",
                "", "best", "median", "user", "÷ floor", "÷ rival"
            )?;
            let (floor, rival) = (floor(record, case), rival(record, case));
            for figures in record.of(case) {
                let best = figures.best();
                let late = figures.driver_late_us.iter().copied();
                let late = late.max_by(f64::total_cmp);
                let late = late.map_or_else(String::new, |us| format!("  driver late {us} µs"));
                writeln!(
                    out,
                    "  {:<16} {best:>9.2} {:>9.2} {:>8} {:>8} {:>8}{late}",
                    figures.server,
                    figures.median(),
                    shown(figures.user()),
                    ratio(best, floor),
                    ratio(best, rival)
                )?;
            }
        }
        Ok(())
    }
}

impl Display for Change<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { before, after } = *self;
        for case in after.cases() {
            writeln!(out, "{case}, best ÷ floor")?;
            writeln!(
                out,
                "  {:<16} {:>8} {:>8} {:>8}",
                "", "before", "after", "change"
            )?;
            let (floor_before, floor_after) = (floor(before, case), floor(after, case));
            for figures in after.of(case) {
                let server = &figures.server;
                let earlier = before.of(case).find(|figures| figures.server == *server);
                let (was, is) = (
                    earlier.and_then(|figures| quotient(figures.best(), floor_before)),
                    quotient(figures.best(), floor_after),
                );
                let change = was.zip(is).map(|(was, is)| (is / was - 1.0) * 100.0);
                let change =
                    change.map_or_else(|| "–".into(), |percent| format!("{percent:+.1} %"));
                writeln!(
                    out,
                    "  {server:<16} {:>8} {:>8} {change:>8}",
                    shown(was),
                    shown(is)
                )?;
            }
        }
        Ok(())
    }
}

fn floor(record: &Record, case: &str) -> Option<f64> {
    best(
        record
            .of(case)
            .filter(|figures| Server::is_floor(&figures.server)),
    )
}

fn rival(record: &Record, case: &str) -> Option<f64> {
    best(record.of(case).filter(|figures| {
        !Server::is_floor(&figures.server) && !figures.server.starts_with(BROKER)
    }))
}

fn best<'a>(figures: impl Iterator<Item = &'a Figures>) -> Option<f64> {
    figures.map(Figures::best).min_by(f64::total_cmp)
}

fn quotient(value: f64, by: Option<f64>) -> Option<f64> {
    let by = by?;
    (by > 0.0 && value.is_finite()).then(|| value / by)
}

fn ratio(value: f64, by: Option<f64>) -> String {
    shown(quotient(value, by))
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".into(), |figure| format!("{figure:.2}"))
}

/// Prefix that the names of all broker binaries share.
pub const BROKER: &str = "heliograph";

#[cfg(test)]
mod tests {
    use super::*;

    fn record(broker: f64, floor: f64) -> Record {
        let mut record = Record::default();
        for (server, value) in [
            (BROKER, broker),
            ("floor-uring", floor),
            ("floor-epoll", floor * 2.0),
            ("axum", 12.0),
            ("fastwebsockets", 6.0),
        ] {
            record.add("pairs", server, "µs/message", value);
        }
        record
    }

    #[test]
    fn ratios_are_to_the_lower_floor_and_the_best_rival() {
        let text = Table(&record(4.5, 3.0)).to_string();
        let line = text.lines().nth(2).expect("the broker's");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [BROKER, "4.50", "4.50", "–", "1.50", "0.75"],
            "{text}"
        );
        assert!(text.contains("2.00     1.00"), "{text}");
        assert!(!text.contains("late"), "{text}");
        let mut record = record(4.5, 3.0);
        record.add_lateness("pairs", "axum", 60.0);
        record.add_lateness("pairs", "axum", 90.0);
        record.add_user("pairs", BROKER, 1.25);
        let text = Table(&record).to_string();
        assert!(text.contains("driver late 90 µs"), "{text}");
        assert!(text.contains("4.50     1.25     1.50"), "{text}");
    }

    #[test]
    fn a_change_is_that_of_ratios() {
        let (before, after) = (record(4.5, 3.0), record(8.1, 6.0));
        let (before, after) = (&before, &after);
        let text = Change { before, after }.to_string();
        let line = text.lines().nth(2).expect("the broker's");
        assert!(line.ends_with("1.50     1.35  -10.0 %"), "{text}");
        let empty = &Record::default();
        let text = Change {
            before: empty,
            after,
        };
        assert!(text.to_string().contains('–'));
    }
}
