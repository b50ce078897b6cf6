//! Parses the text of `/metrics`.

/// All metrics, as returned by one scrape.
#[derive(Clone, Debug)]
pub struct Scrape(String);

impl Scrape {
    /// Creates a scrape from the text of `/metrics`.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text as received.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the sum of a metric over all its series. Panics if there are none. If `name` includes labels, only the
    /// series with exactly these labels counts.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_with(name, "")
    }

    /// Returns the sum of a metric over the series whose labels contain `label`. Panics if there are none.
    #[must_use]
    pub fn sum_with(&self, name: &str, label: &str) -> f64 {
        let is_wanted = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        };
        let lines = self.0.lines().filter(is_wanted);
        let samples: Vec<f64> = lines
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(
            !samples.is_empty(),
            "no metric {name} with {label:?} in\n{}",
            self.0
        );
        samples.iter().sum()
    }

    /// Like [`Scrape::sum`], but for metrics with integer values.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counters of a test are small"
    )]
    #[expect(clippy::cast_sign_loss, reason = "a counter")]
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.sum(name) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Scrape;

    const TEXT: &str = "# TYPE kept gauge\nkept 2\nended{how=\"well\",shard=\"0\"} 3\n\
                        ended{how=\"badly\",shard=\"0\"} 4\nended_late{how=\"well\"} 100\n";

    #[test]
    fn series_are_added_by_name_and_by_label() {
        let scrape = Scrape::new(TEXT.to_owned());
        assert_eq!(scrape.count("kept"), 2);
        assert_eq!(scrape.count("ended"), 7);
        assert_eq!(scrape.count("ended{how=\"badly\",shard=\"0\"}"), 4);
        assert!((scrape.sum_with("ended", "how=\"well\"") - 3.0).abs() < 0.1);
    }

    #[test]
    #[should_panic(expected = "no metric end with")]
    fn an_absent_metric_is_no_zero() {
        let _ = Scrape::new(TEXT.to_owned()).sum("end");
    }
}
