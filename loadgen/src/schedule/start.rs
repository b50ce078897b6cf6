//! When a load begins, if not as soon as it can.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment as the command line takes it: `2026-01-31T23:59:59Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Moment(SystemTime);

impl Moment {
    /// The moment on the system's clock.
    #[must_use]
    pub const fn time(self) -> SystemTime {
        self.0
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: allowed is a moment in UTC, such as 2026-01-31T23:59:59Z");
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
        let moment = moment.filter(|moment| moment.unix_timestamp() >= 0);
        let moment = Self(moment.ok_or_else(wrong)?.into());
        // Written again, one with a fraction or in another zone is another text.
        (moment.to_string() == text)
            .then_some(moment)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::result::words::rfc3339(self.0))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn moments_are_read_as_they_are_written() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T12:30:00Z",
            "2026-12-31T23:59:59Z",
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(moment.to_string(), text);
        }
        let moment: Moment = "1970-01-02T00:00:01Z".parse().unwrap();
        assert_eq!(moment.time(), UNIX_EPOCH + Duration::from_secs(86_401));
        for text in [
            "",
            "now",
            "12:30",
            "2026-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31 23:59:59Z",
            "2026-01-31T23:59:59+01:00",
            "1969-12-31T23:59:59Z",
            "+026-01-31T23:59:59Z",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
