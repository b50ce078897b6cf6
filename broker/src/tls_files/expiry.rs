//! Expiry of the certificates in use, and warnings about it, graded by urgency.

use crate::devices::unix_s;
use codec::calendar::civil;
use std::time::SystemTime;

/// The earliest expiry among the presented certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The last time at which the certificates are valid, in seconds since 1970.
    pub not_after: u64,
    whose: String,
    effect: &'static str,
}

/// How urgent an expiry is, depending on the time left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The certificate expires within 30 days.
    Month,
    /// The certificate expires within 7 days.
    Week,
    /// The certificate expires within a day, or has expired.
    Day,
}

impl Expiry {
    pub(crate) fn new(not_after: u64, whose: String) -> Self {
        Self {
            not_after,
            whose,
            effect: "clients reject it",
        }
    }

    /// Creates the expiry of a file that is used for outgoing connections.
    pub(crate) fn of_client(not_after: u64, key: &str) -> Self {
        Self {
            effect: "connections with it fail",
            ..Self::new(not_after, key.into())
        }
    }

    pub(crate) fn log(&self) {
        match self.notice(SystemTime::now()) {
            Some((Urgency::Day, text)) => tracing::error!("{text}"),
            Some((Urgency::Week | Urgency::Month, text)) => tracing::warn!("{text}"),
            None => {}
        }
    }

    /// Formats the certificate's name and expiry time.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "that of {} is valid until {}",
            self.whose,
            moment(self.not_after)
        )
    }

    /// Returns the warning for the operator at `now`, or `None` while more than 30 days are left.
    #[must_use]
    pub fn notice(&self, now: SystemTime) -> Option<(Urgency, String)> {
        let (whose, end) = (&self.whose, moment(self.not_after));
        let Some(left) = self.not_after.checked_sub(unix_s(now)) else {
            return Some((
                Urgency::Day,
                format!("the certificate of {whose} expired {end}: {}", self.effect),
            ));
        };
        let urgency = match left / DAY {
            0 => Urgency::Day,
            1..7 => Urgency::Week,
            7..30 => Urgency::Month,
            _ => return None,
        };
        let text = format!(
            "the certificate of {whose} expires {end}, in {} days: renew it; it is reloaded without a restart",
            left / DAY
        );
        Some((urgency, text))
    }
}

pub(crate) fn moment(seconds: u64) -> String {
    let (year, month, day) = civil((seconds / DAY).cast_signed());
    let of_day = seconds % DAY;
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

const DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_notice_grows_more_urgent_as_the_end_comes_near() {
        let end = 1_795_176_000;
        let expiry = Expiry::new(end, "signaling.example".into());
        let at = |before: i64| {
            let seconds = end.cast_signed() - before;
            expiry.notice(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.cast_unsigned()))
        };
        let urgency = |before: i64| at(before).map(|(urgency, _)| urgency);
        let day = DAY.cast_signed();
        assert_eq!(urgency(30 * day), None);
        assert_eq!(urgency(30 * day - 1), Some(Urgency::Month));
        assert_eq!(urgency(7 * day), Some(Urgency::Month));
        assert_eq!(urgency(7 * day - 1), Some(Urgency::Week));
        assert_eq!(urgency(day), Some(Urgency::Week));
        assert_eq!(urgency(day - 1), Some(Urgency::Day));
        assert_eq!(urgency(0), Some(Urgency::Day));
        assert_eq!(urgency(-1), Some(Urgency::Day));
        assert_eq!(
            at(3 * day + 5).unwrap().1,
            "the certificate of signaling.example expires 2026-11-20 12:00:00 UTC, in 3 days: renew it; it is \
             reloaded without a restart"
        );
        assert_eq!(
            at(-1).unwrap().1,
            "the certificate of signaling.example expired 2026-11-20 12:00:00 UTC: clients reject it"
        );
        let client = Expiry::of_client(0, "cluster.etcd_cert");
        assert_eq!(
            client.notice(SystemTime::now()).unwrap().1,
            "the certificate of cluster.etcd_cert expired 1970-01-01 00:00:00 UTC: connections with it fail"
        );
    }
}
