//! The `Date` header: IMF-fixdate (RFC 9110 section 5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`.

use crate::calendar::civil;

/// The length of an IMF-fixdate in bytes.
pub const DATE_BYTES: usize = 29;

/// Writes a moment, milliseconds since 1970 UTC, cut to seconds. Moments after the year 9999 read as its last second.
#[must_use]
pub fn imf_fixdate(wall_ms: u64) -> [u8; DATE_BYTES] {
    let seconds = (wall_ms / 1000).min(LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days.cast_signed());
    let [year, month, day] = [year, month - 1, day].map(i64::cast_unsigned);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    put(&mut out, 0, name(DAYS, days % 7)); // 1970-01-01 was a Thursday
    put(&mut out, 5, &two(day));
    put(&mut out, 8, name(MONTHS, month));
    put(&mut out, 12, &two(year / 100));
    put(&mut out, 14, &two(year % 100));
    put(&mut out, 17, &two(second / 3600));
    put(&mut out, 20, &two(second / 60 % 60));
    put(&mut out, 23, &two(second % 60));
    out
}

fn two(number: u64) -> [u8; 2] {
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

/// The three letters of a day or month.
fn name(names: &'static [u8], index: u64) -> &'static [u8] {
    let start = usize::try_from(index).unwrap_or_default() * 3;
    names.get(start..start + 3).unwrap_or(b"???")
}

fn put(out: &mut [u8], at: usize, text: &[u8]) {
    if let Some(place) = out.get_mut(at..at + text.len()) {
        place.copy_from_slice(text);
    }
}

const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// 9999-12-31 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn known_moments_read_as_they_should() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_767_323_045, "Fri, 02 Jan 2026 03:04:05 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(
                std::str::from_utf8(&imf_fixdate(seconds * 1000 + 999)).unwrap(),
                text
            );
        }
        assert_eq!(imf_fixdate(u64::MAX), imf_fixdate(LAST_SECOND * 1000));
    }
}
