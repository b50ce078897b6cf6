//! The metrics of hooks, of OpenID providers and of the authorities of devices, by their names in the configuration;
//! nothing where there are none.

use crate::hooks::{HookReport, HooksReport, Outcome, WakeResult};
use crate::providers::{ProviderReport, ProvidersReport};
use crate::side::metrics::exposition::{self, Row, Samples, counter, gauge, histogram, labelled};
use broker_core::auth::Credentials;
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use strum::VariantNames;

/// Every metric of hooks, in the order of the text.
pub(crate) const OF_HOOKS: &[Row<HooksReport>] = &[
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
        |it, to| of_each_hook(it, |hook| hook.waiting, to),
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
        |it, to| of_each_hook(it, |hook| u64::from(hook.off), to),
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

fn of_each_hook(
    report: &HooksReport,
    figure: impl Fn(&HookReport) -> u64,
    to: &mut exposition::Samples<'_>,
) {
    for hook in &report.hooks {
        to.labelled([("hook", &*hook.name)], figure(hook));
    }
}

// The metrics of OpenID providers whose keys are fetched, by their names in the credentials file.

/// Every metric of providers, in the order of the text.
pub(crate) const OF_PROVIDERS: &[Row<ProvidersReport>] = &[
    gauge(
        "heliograph_oidc_provider_up",
        "1 while the last request for a provider's keys was answered with some, 0 after any other",
        |it, to| of_each_provider(it, |one| u64::from(one.error.is_none()), to),
    ),
    gauge(
        "heliograph_oidc_provider_keys",
        "Keys of a provider that tokens may be signed with",
        |it, to| of_each_provider(it, |one| one.keys as u64, to),
    ),
    gauge(
        "heliograph_oidc_provider_fetched_seconds",
        "When a provider last answered with keys, in seconds since 1970 UTC; 0 if it has not",
        |it, to| of_each_provider(it, |one| one.fetched_s.unwrap_or(0), to),
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

fn of_each_provider(
    report: &ProvidersReport,
    figure: impl Fn(&ProviderReport) -> u64,
    to: &mut Samples<'_>,
) {
    for one in &report.providers {
        to.labelled([("provider", &*one.issuer)], figure(one));
    }
}

// The metrics of the authorities of devices, by their subject and the begin of their key's fingerprint: a renewed one
// has the same subject.

/// When the authorities of devices end, for a report.
#[derive(Clone, Debug, Default)]
pub struct AuthoritiesReport(BTreeMap<(Box<str>, String), Ends>);

#[derive(Clone, Copy, Debug)]
struct Ends {
    authority_s: u64,
    list_s: Option<u64>,
}

/// Every metric of authorities, in the order of the text.
pub(crate) const OF_AUTHORITIES: &[Row<AuthoritiesReport>] = &[
    gauge(
        "heliograph_device_authority_not_after_seconds",
        "When the certificate of an authority of devices ends, in seconds since 1970",
        |it, to| of_each_authority(it, |ends| Some(ends.authority_s), to),
    ),
    gauge(
        "heliograph_device_crl_next_update_seconds",
        "When the revocation list of an authority of devices is to be replaced, in seconds since 1970",
        |it, to| of_each_authority(it, |ends| ends.list_s, to),
    ),
];

impl AuthoritiesReport {
    /// Of the credentials in force. Of several certificates of one key the last to end counts.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let mut all = BTreeMap::new();
        let authorities = credentials.things().into_iter();
        for authority in authorities.flat_map(|things| &things.authorities) {
            let key = HEXLOWER.encode(authority.key.first_chunk::<8>().unwrap_or(&[0; 8]));
            let ends = Ends {
                authority_s: authority.ends_s,
                list_s: authority.list_ends_s,
            };
            let kept = all.entry((authority.subject.clone(), key)).or_insert(ends);
            kept.authority_s = kept.authority_s.max(ends.authority_s);
        }
        Self(all)
    }
}

fn of_each_authority(
    report: &AuthoritiesReport,
    figure: impl Fn(&Ends) -> Option<u64>,
    to: &mut Samples<'_>,
) {
    for ((subject, key), ends) in &report.0 {
        if let Some(seconds) = figure(ends) {
            to.labelled([("authority", &**subject), ("key", key)], seconds);
        }
    }
}
