//! The signing time, in the basic format (`20260102T030405Z`) and in the formats of the `Date` header.

use crate::calendar::{civil, days};
use std::fmt;
use std::ops::Range;

/// The time of a signature in seconds since 1970 UTC, between the years 0 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(i64);

impl Stamp {
    /// Creates a stamp from a time in seconds since 1970. Times after the year 9999 are clamped to its last second.
    #[must_use]
    pub fn from_epoch(seconds: u64) -> Self {
        Self(i64::try_from(seconds).map_or(LAST_SECOND, |seconds| seconds.min(LAST_SECOND)))
    }

    /// Returns the time in seconds since 1970. Negative for times before 1970.
    #[must_use]
    pub const fn epoch(self) -> i64 {
        self.0
    }

    /// Parses a time in the basic format of ISO 8601, `YYYYMMDD'T'HHMMSS'Z'`. Returns `None` if it has any other format
    /// or is invalid.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (date, time) = text.strip_suffix(b"Z")?.split_at_checked(8)?;
        let time = time.strip_prefix(b"T").filter(|time| time.len() == 6)?;
        let date_part = |range: Range<usize>| number(date.get(range)?);
        let time_part = |range: Range<usize>| number(time.get(range)?);
        let (year, month, day) = (date_part(0..4)?, date_part(4..6)?, date_part(6..8)?);
        let time = [time_part(0..2)?, time_part(2..4)?, time_part(4..6)?];
        Self::of(year, month, day, time)
    }

    /// Parses a `Date` header. Accepts an IMF-fixdate (RFC 9110 section 5.6.7), botocore's format with a zero offset,
    /// and the basic format.
    #[must_use]
    pub fn parse_date_header(text: &[u8]) -> Option<Self> {
        if text.len() == 16 {
            return Self::parse(text);
        }
        let (date, zone) = text.split_at_checked(26)?;
        if !matches!(zone, b"GMT" | b"UTC" | b"+0000" | b"-0000") {
            return None;
        }
        let form = b"..., .. ... .... ..:..:.. ";
        let mut pairs = date.iter().zip(form);
        if !pairs.all(|(byte, mark)| byte == mark || *mark == b'.') {
            return None;
        }
        let part = |range: Range<usize>| number(date.get(range)?);
        let month = date.get(8..11)?;
        let month = MONTHS.iter().position(|name| &name[..] == month)?;
        let month = i64::try_from(month).ok()? + 1;
        let time = [part(17..19)?, part(20..22)?, part(23..25)?];
        Self::of(part(12..16)?, month, part(5..7)?, time)
    }

    /// Formats the time as `YYYYMMDD'T'HHMMSS'Z'`.
    #[must_use]
    pub fn basic(self) -> [u8; 16] {
        let (days, second) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let [y0, y1] = two(year.div_euclid(100));
        let [y2, y3] = two(year);
        let ([m0, m1], [d0, d1]) = (two(month), two(day));
        let ([h0, h1], [n0, n1], [s0, s1]) =
            (two(second / 3600), two(second / 60 % 60), two(second % 60));
        [
            y0, y1, y2, y3, m0, m1, d0, d1, b'T', h0, h1, n0, n1, s0, s1, b'Z',
        ]
    }

    pub(crate) fn after(self, seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(seconds))
    }

    pub(crate) fn before(self, seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(seconds))
    }

    fn of(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days(year, month, day);
        // A nonexistent day, such as 30 February, would be converted to a different one.
        if civil(days) != (year, month, day) {
            return None;
        }
        Some(Self(days * DAY + hour * 3600 + minute * 60 + second))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let basic = self.basic();
        formatter.write_str(std::str::from_utf8(&basic).map_err(|_| fmt::Error)?)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })
}

fn two(number: i64) -> [u8; 2] {
    let digit = |value: i64| b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or_default();
    [digit(number.div_euclid(10)), digit(number)]
}

const DAY: i64 = 86_400;
const LAST_SECOND: i64 = 253_402_300_799;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::imf_fixdate;

    #[test]
    fn known_moments_read_and_write() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20260102T030405Z", 1_767_323_045),
            ("99991231T235959Z", LAST_SECOND),
            ("00000301T000000Z", -62_162_035_200),
        ] {
            let found = Stamp::parse(text.as_bytes());
            assert_eq!(found, Some(Stamp(seconds)), "{text}");
            assert_eq!(Stamp(seconds).to_string(), text);
        }
        assert_eq!(Stamp::from_epoch(u64::MAX), Stamp(LAST_SECOND));
        assert_eq!(Stamp(0).before(1).to_string(), "19691231T235959Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        #[rustfmt::skip] // a list
        let cases = [
            "", "20260102", "20260102T030405", "20260102T030405z", "20260102 030405Z", "20261302T030405Z",
            "20260002T030405Z", "20260100T030405Z", "20260230T030405Z", "20250229T030405Z", "20260102T240000Z",
            "20260102T036005Z", "20260102T030460Z", "2026-01-02T03:04", "+0260102T030405Z", "20260102T030405Z0",
            "２0260102T030405",
        ];
        for text in cases {
            assert_eq!(Stamp::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_agrees_with_the_date_header() {
        for day in 0..300_000u64 {
            let seconds = day * 86_400 + day % 86_400;
            let stamp = Stamp::from_epoch(seconds);
            assert_eq!(Stamp::parse(&stamp.basic()), Some(stamp));
            let found = Stamp::parse_date_header(&imf_fixdate(seconds * 1000));
            assert_eq!(found, Some(stamp));
        }
    }

    #[test]
    fn date_headers_come_in_a_few_forms() {
        let stamp = Stamp::parse(b"20260102T030405Z");
        #[rustfmt::skip] // a list
        let cases = ["Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:05 -0000", "20260102T030405Z"];
        for text in cases {
            assert_eq!(Stamp::parse_date_header(text.as_bytes()), stamp, "{text}");
        }
        #[rustfmt::skip] // a list
        let all = [
            "", "Fri, 02 Jan 2026 03:04:05 +0100", "Fri, 02 Jan 2026 03:04:05", "Fri, 31 Feb 2026 03:04:05 GMT",
            "Friday, 02-Jan-26 03:04:05 GMT", "Fri, 02 jan 2026 03:04:05 GMT", "Fri Jan  2 03:04:05 2026",
        ];
        for text in all {
            assert_eq!(Stamp::parse_date_header(text.as_bytes()), None, "{text}");
        }
    }
}
