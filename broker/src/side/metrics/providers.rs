//! The metrics of OpenID providers whose keys are fetched, by their names in the credentials file.

use crate::providers::{ProviderReport, ProvidersReport};
use crate::side::metrics::exposition::{Row, Samples, counter, gauge};

/// Every metric of providers, in the order of the text.
pub(crate) const METRICS: &[Row<ProvidersReport>] = &[
    gauge(
        "heliograph_oidc_provider_up",
        "1 while the last request for a provider's keys was answered with some, 0 after any other",
        |it, to| of_each(it, |one| u64::from(one.error.is_none()), to),
    ),
    gauge(
        "heliograph_oidc_provider_keys",
        "Keys of a provider that tokens may be signed with",
        |it, to| of_each(it, |one| one.keys as u64, to),
    ),
    gauge(
        "heliograph_oidc_provider_fetched_seconds",
        "When a provider last answered with keys, in seconds since 1970 UTC; 0 if it has not",
        |it, to| of_each(it, |one| one.fetched_s.unwrap_or(0), to),
    ),
    counter(
        "heliograph_oidc_fetches_total",
        "Requests for keys of a provider by their outcome",
        |it, to| {
            for one in &it.providers {
                for (outcome, count) in ["ok", "failed"].iter().zip(one.fetches) {
                    to.labelled([("provider", &*one.issuer), ("outcome", outcome)], count);
                }
            }
        },
    ),
];

fn of_each(
    report: &ProvidersReport,
    figure: impl Fn(&ProviderReport) -> u64,
    to: &mut Samples<'_>,
) {
    for one in &report.providers {
        to.labelled([("provider", &*one.issuer)], figure(one));
    }
}
