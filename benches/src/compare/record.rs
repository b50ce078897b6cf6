//! The results of a comparison, as stored in a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::{fs, io};

/// All results of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When the comparison started, in RFC 3339 format (UTC).
    pub started: String,
    /// Properties of the machine, as reported by the load driver.
    pub machine: Value,
    /// Output of `rustc --version`.
    pub compiler: String,
    /// Duration of the measurement in each round, in seconds.
    pub seconds: f64,
    /// The CPU that runs the servers and the CPU that runs the driver.
    pub cores: (usize, usize),
    /// Results for each load and server, in the order in which they ran.
    pub figures: Vec<Figures>,
}

/// Results of one server under one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Name of the load.
    pub case: String,
    /// Name of the server.
    pub server: String,
    /// Unit of the values.
    pub unit: String,
    /// The values measured, one per round.
    pub values: Vec<f64>,
    /// How late the driver sent messages compared with its schedule: the 99th percentile in microseconds, one value per
    /// round. Empty if messages are not sent on a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub driver_late_us: Vec<f64>,
    /// The part of each value that is user time. Empty if the values are not CPU times. Only a median over many seconds
    /// is meaningful: the kernel counts user time in ticks of several milliseconds, and the count also includes the
    /// time in which connections are opened and closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<f64>,
}

impl Figures {
    /// Returns the lowest value.
    #[must_use]
    pub fn best(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns the median. If the number of values is even, returns the lower of the two middle values.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.values)
    }

    /// Returns the median of the user time, or `None` if it was not measured.
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
    /// Adds the value measured in one round.
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

    /// Adds the driver's delay for the round that was added last.
    pub fn add_lateness(&mut self, case: &str, server: &str, us: f64) {
        let mut figures = self.figures.iter_mut();
        if let Some(figures) = figures.find(|one| one.case == case && one.server == server) {
            figures.driver_late_us.push(us);
        }
    }

    /// Adds the user time for the value that was added last.
    pub fn add_user(&mut self, case: &str, server: &str, us: f64) {
        let mut figures = self.figures.iter_mut();
        if let Some(figures) = figures.find(|one| one.case == case && one.server == server) {
            figures.user.push(us);
        }
    }

    /// Returns the names of the loads, in the order in which they ran.
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

    /// Returns the results for one load, in the order in which its servers ran.
    pub fn of<'a>(&'a self, case: &'a str) -> impl Iterator<Item = &'a Figures> {
        self.figures
            .iter()
            .filter(move |figures| figures.case == case)
    }

    /// Reads a record from a file.
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

    /// Writes the record to a file.
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
