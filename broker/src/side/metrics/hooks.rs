//! The metrics of hooks, by their names in the configuration; nothing where there are none.

use crate::hooks::{HookReport, HooksReport, Outcome, WakeResult};
use crate::side::metrics::exposition::{self, Row, counter, gauge, histogram};
use crate::side::metrics::view::labelled;
use strum::VariantNames;

/// Every metric of hooks, in the order of the text.
pub(crate) const METRICS: &[Row<HooksReport>] = &[
    counter(
        "heliograph_hook_deliveries_total",
        "Events for hooks by what became of each request for one, or of an event without a request",
        |it, to| {
            for hook in &it.hooks {
                for (result, count) in Outcome::VARIANTS.iter().zip(hook.outcomes) {
                    to.labelled([("hook", &*hook.name), ("result", result)], count);
                }
            }
        },
    ),
    gauge(
        "heliograph_hook_waiting",
        "Channels of which something waits for a hook or is on its way to it",
        |it, to| of_each(it, |hook| hook.waiting, to),
    ),
    gauge(
        "heliograph_hook_oldest_seconds",
        "How long the oldest of it has waited",
        |it, to| {
            for hook in &it.hooks {
                to.labelled([("hook", &*hook.name)], hook.oldest_ms as f64 / 1e3);
            }
        },
    ),
    gauge(
        "heliograph_hook_off",
        "1 for a hook whose receiver answered 410: it gets nothing until a reload",
        |it, to| of_each(it, |hook| u64::from(hook.off), to),
    ),
    counter(
        "heliograph_wakes_total",
        "Absent masters that somebody waited for, by how calling for them ended",
        |it, to| labelled(to, "result", WakeResult::VARIANTS, &it.wakes),
    ),
    histogram(
        "heliograph_wake_seconds",
        "From the first message that was kept for an absent master to the master that a call brought",
        |it, to| to.histogram(&it.wake_seconds),
    ),
];

fn of_each(
    report: &HooksReport,
    figure: impl Fn(&HookReport) -> u64,
    to: &mut exposition::Samples<'_>,
) {
    for hook in &report.hooks {
        to.labelled([("hook", &*hook.name)], figure(hook));
    }
}
