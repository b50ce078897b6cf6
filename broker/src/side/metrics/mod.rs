//! The metrics as tables: of the shards' machines in `machine`, of their edges in `edge`, of the process in `process`.
//!
//! Every series exists from the first scrape on, at 0; label values come from closed sets, never from the wire.

mod edge;
pub(crate) mod exposition;
mod hooks;
mod machine;
pub(crate) mod page;
mod process;
mod providers;
pub(crate) mod scrape;
mod things;
mod view;

use crate::edge::Scraped;
use broker_core::shard::Snapshot;
use exposition::{Exposition, Format};
pub use process::{BUDGETS, ProcessState};
use view::View;

/// The state of the whole process at one scrape.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each shard's answer, in any order.
    pub shards: Vec<Scraped<Snapshot>>,
    /// Since the scrape before, or since the start: how much of its time each shard (in its order) did not wait.
    pub busy_ratios: Vec<f64>,
    /// The figures that are of no shard.
    pub process: ProcessState,
}

impl Report {
    /// The metrics text.
    pub(crate) fn text(self, format: Format) -> String {
        let mut sum = Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot);
        }
        let mut text = Exposition::new(format);
        let Self {
            shards,
            busy_ratios,
            process,
        } = self;
        let view = View {
            shards,
            busy_ratios,
            sum,
        };
        text.table(machine::METRICS, &view);
        text.table(edge::METRICS, &view);
        text.table(process::OF_CLUSTER, &process);
        text.table(process::OF_CREDENTIALS, &process);
        if let Some(report) = &process.hooks {
            text.table(hooks::METRICS, report);
        }
        text.table(providers::METRICS, &process.providers);
        text.table(things::METRICS, &process.authorities);
        text.table(process::METRICS, &process);
        text.finish()
    }
}

#[cfg(test)]
mod tests;
