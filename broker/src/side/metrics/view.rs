//! The figures that rows are read off, and samples with labels.

use crate::edge::Scraped;
use crate::side::metrics::exposition::Samples;
use broker_core::shard::Snapshot;

/// The figures that rows are read off.
pub(crate) struct View {
    pub(crate) shards: Vec<Scraped<Snapshot>>,
    /// The part of its time that each shard, in its order, did not wait.
    pub(crate) busy_ratios: Vec<f64>,
    /// Of all shards.
    pub(crate) sum: Snapshot,
}

/// A sample for each label.
pub(crate) fn labelled(to: &mut Samples<'_>, name: &str, labels: &[&str], counts: &[u64]) {
    for (label, count) in labels.iter().zip(counts) {
        to.labelled([(name, label)], *count);
    }
}

/// A sample for each pair of labels.
pub(crate) fn crossed<const N: usize>(
    to: &mut Samples<'_>,
    [(row_name, row_labels), (name, labels)]: [(&str, &[&str]); 2],
    counts: &[[u64; N]],
) {
    for (row_label, row) in row_labels.iter().zip(counts) {
        for (label, count) in labels.iter().zip(row) {
            to.labelled([(row_name, row_label), (name, label)], *count);
        }
    }
}
