//! Figures of a comparison as a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::{fs, io};

/// All figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Start time: RFC 3339, UTC.
    pub started: String,
    /// Properties of the machine, as reported by the driver.
    pub machine: Value,
    /// Output of `rustc --version`.
    pub compiler: String,
    /// Measured time of each round, in seconds.
    pub seconds: f64,
    /// CPUs of the servers and of the driver.
    pub cores: (usize, usize),
    /// Figures of each case and server, in the order of the runs.
    pub figures: Vec<Figures>,
}

/// Figures of one server under one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Name of the load.
    pub case: String,
    /// Name of the server.
    pub server: String,
    /// Unit of the values.
    pub unit: String,
    /// Value of each round.
    pub values: Vec<f64>,
    /// 99th percentile of the driver's schedule lag in each round, in microseconds, if messages are sent on schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub driver_late_us: Vec<f64>,
    /// User time contained in each value, if the figure is CPU time. The kernel counts user time in ticks of some
    /// milliseconds from the first connection to the last, so only a median over many seconds is meaningful.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<f64>,
}

impl Figures {
    /// Lowest value.
    #[must_use]
    pub fn best(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Median; the lower one of the two middle values if their number is even.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.values)
    }

    /// Median of the user time; `None` if it was not measured.
    #[must_use]
    pub fn user(&self) -> Option<f64> {
        (!self.user.is_empty()).then(|| median(&self.user))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::INFINITY)
}

impl Record {
    /// Adds the value of a round.
    pub fn add(&mut self, case: &str, server: &str, unit: &str, value: f64) {
        let there = self
            .figures
            .iter_mut()
            .find(|figures| figures.case == case && figures.server == server);
        match there {
            Some(figures) => figures.values.push(value),
            None => self.figures.push(Figures {
                case: case.to_owned(),
                server: server.to_owned(),
                unit: unit.to_owned(),
                values: vec![value],
                ..Figures::default()
            }),
        }
    }

    /// Adds the driver's schedule lag to the round added last.
    pub fn add_lateness(&mut self, case: &str, server: &str, us: f64) {
        let mut figures = self.figures.iter_mut();
        if let Some(figures) = figures.find(|one| one.case == case && one.server == server) {
            figures.driver_late_us.push(us);
        }
    }

    /// Adds the user time to the value added last.
    pub fn add_user(&mut self, case: &str, server: &str, us: f64) {
        let mut figures = self.figures.iter_mut();
        if let Some(figures) = figures.find(|one| one.case == case && one.server == server) {
            figures.user.push(us);
        }
    }

    /// Names of the cases, in order.
    #[must_use]
    pub fn cases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .figures
            .iter()
            .map(|figures| figures.case.as_str())
            .collect();
        names.dedup();
        names
    }

    /// Figures of a case, in order.
    pub fn of<'a>(&'a self, case: &'a str) -> impl Iterator<Item = &'a Figures> {
        self.figures
            .iter()
            .filter(move |figures| figures.case == case)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is not a record.
    pub fn read(path: &Path) -> io::Result<Self> {
        let about = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", path.display()))
        };
        let bytes = fs::read(path).map_err(|error| about(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| about(&error))
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        let about = |error| io::Error::other(format!("{}: {error}", path.display()));
        fs::write(path, text + "\n").map_err(about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_gather_under_their_case_and_server() {
        let mut record = Record::default();
        for (case, server, value) in [("a", "x", 3.0), ("a", "y", 9.0), ("a", "x", 1.0)] {
            record.add(case, server, "µs", value);
        }
        record.add("a", "x", "µs", 2.0);
        record.add("b", "x", "µs", 7.0);
        record.add_lateness("b", "x", 60.0);
        assert_eq!(record.cases(), ["a", "b"]);
        let figures: Vec<&Figures> = record.of("a").collect();
        assert_eq!(figures[0].values, [3.0, 1.0, 2.0]);
        assert_eq!((figures[0].best(), figures[0].median()), (1.0, 2.0));
        assert_eq!(figures[1].best(), 9.0);
        let late = |case| {
            record
                .of(case)
                .next()
                .map(|figures| figures.driver_late_us.len())
        };
        assert_eq!((late("a"), late("b")), (Some(0), Some(1)));
        let text = serde_json::to_string(&record).expect("a record has numbers and texts");
        assert_eq!(
            serde_json::from_str::<Record>(&text).ok().as_ref(),
            Some(&record)
        );
    }
}
