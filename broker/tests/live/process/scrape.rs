//! The text of `/metrics`.

/// One scrape.
pub(crate) struct Scrape(pub(super) String);

impl Scrape {
    /// The sum of one metric over its labels, or of one series if the name has its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let samples: Vec<f64> = self
            .0
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(!samples.is_empty(), "no metric {name} in\n{}", self.0);
        samples.iter().sum()
    }

    /// The same of a metric that counts.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "counters of a test are small"
    )]
    #[expect(clippy::cast_sign_loss, reason = "a counter")]
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.sum(name) as u64
    }
}
