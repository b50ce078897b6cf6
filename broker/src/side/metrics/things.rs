//! The metrics of the authorities of devices, by their subject and the begin of their key's fingerprint: a renewed one
//! has the same subject.

use crate::side::metrics::exposition::{Row, Samples, gauge};
use broker_core::auth::Credentials;
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;

/// When the authorities of devices end, for a report.
#[derive(Clone, Debug, Default)]
pub struct AuthoritiesReport(BTreeMap<(Box<str>, String), Ends>);

#[derive(Clone, Copy, Debug)]
struct Ends {
    authority_s: u64,
    list_s: Option<u64>,
}

/// Every metric of authorities, in the order of the text.
pub(crate) const METRICS: &[Row<AuthoritiesReport>] = &[
    gauge(
        "heliograph_device_authority_not_after_seconds",
        "When the certificate of an authority of devices ends, in seconds since 1970",
        |it, to| of_each(it, |ends| Some(ends.authority_s), to),
    ),
    gauge(
        "heliograph_device_crl_next_update_seconds",
        "When the revocation list of an authority of devices is to be replaced, in seconds since 1970",
        |it, to| of_each(it, |ends| ends.list_s, to),
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

fn of_each(
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
