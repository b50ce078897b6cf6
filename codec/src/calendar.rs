//! Date arithmetic in the proleptic Gregorian calendar. Times are always arguments; this module never reads a clock.
//!
//! Internally, years start in March, so the leap day is the last day of the year and one formula gives the length of
//! every month.

use std::fmt;

/// Returns the number of days from 1970-01-01 to a date, which is negative for earlier dates. Months and days start at
/// 1.
#[must_use]
pub const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9).rem_euclid(12);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns the date (year, month, day) that is `days` days after 1970-01-01. Months and days start at 1.
#[must_use]
pub const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Formats a time in milliseconds since 1970 as RFC 3339 in UTC. Times after the year 9999 are clamped to that year's
/// last millisecond.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let ms = ms.min(LAST_SECOND * 1000 + 999);
    format!("{}.{:03}Z", WholeSeconds(ms / 1000), ms % 1000)
}

/// A time in seconds since 1970, displayed as in RFC 3339 but without a time zone, such as `2026-11-22T05:54:46`. Times
/// after the year 9999 are clamped to the last second of that year.
pub(crate) struct WholeSeconds(pub(crate) u64);

impl fmt::Display for WholeSeconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.min(LAST_SECOND);
        let (year, month, day) = civil((seconds / 86_400).cast_signed());
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )
    }
}

/// The last second of the year 9999, in seconds since 1970.
pub(crate) const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_176_001_007), "2026-11-20T12:00:01.007Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (1_767_323_045, "2026-01-02T03:04:05"),
            (951_868_799, "2000-02-29T23:59:59"),
            (253_402_300_799, "9999-12-31T23:59:59"),
            (253_402_300_800, "9999-12-31T23:59:59"),
            (u64::MAX, "9999-12-31T23:59:59"),
        ] {
            assert_eq!(WholeSeconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn days_follow_each_other_for_eight_centuries() {
        let (mut year, mut month, mut day) = (1969, 1, 1);
        for number in -365..300_000 {
            assert_eq!(civil(number), (year, month, day), "day {number}");
            assert_eq!(days(year, month, day), number);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month == 13 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
