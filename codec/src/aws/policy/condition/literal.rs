//! Values of typed condition operators: numbers, dates, yes and no, networks. They are read when a policy loads, to
//! refuse what is none, and again for each comparison: their texts are shorter than what is read from them.

use crate::calendar;
use std::net::IpAddr;

/// A number in billionths: `-12`, `0.5`.
pub(crate) fn number(text: &str) -> Option<i128> {
    if text.len() <= 18
        && let Some(whole) = digits_of(text)
    {
        return Some(scaled(whole));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let read = |text: &str| digits_of(text).map(i128::from);
    let scale = 10_i128.pow(9 - u32::try_from(fraction.len()).ok()?);
    let value = read(whole)? * BILLION + read(fraction)? * scale;
    Some(if negative { -value } else { value })
}

/// A number as [`number`] has it.
pub(crate) fn scaled(number: u64) -> i128 {
    i128::from(number) * BILLION
}

/// A moment in billionths of seconds since 1970 UTC: of the forms `2026`, `2026-11`, `2026-11-22`, `2026-11-22T05:54Z`,
/// `2026-11-22T05:54:46Z`, `2026-11-22T05:54:46.5+01:00`, and as a number of seconds of five digits or more.
///
/// Source: W3C Note "Date and Time Formats"; IAM User Guide, "Condition operators": *or in epoch (UNIX) time*.
pub(crate) fn date(text: &str) -> Option<i128> {
    let is_number = text.len() > 4
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        return number(text);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = exact(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| exact(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| exact(day, 2))?;
    let days = calendar::days(year, month, day);
    let is_date = parts.next().is_none() && calendar::civil(days) == (year, month, day);
    if !is_date || (time.is_some() && date.len() != 10) {
        return None;
    }
    let seconds = time.map_or(Some(0), self::time)?;
    Some(i128::from(days) * 86_400 * BILLION + seconds)
}

/// The date as a policy keeps it: in seconds since 1970, which take no time to read, where that is a number and no
/// longer.
pub(crate) fn short_date(text: &str) -> Option<String> {
    let date = date(text).filter(|date| *date >= 0 && date % BILLION == 0)?;
    let seconds = (date / BILLION).to_string();
    (5..=text.len()).contains(&seconds.len()).then_some(seconds)
}

/// The time of a day with its offset, in billionths of seconds.
fn time(text: &str) -> Option<i128> {
    let at = text.find(['Z', 'z', '+', '-'])?;
    let (time, offset) = text.split_at_checked(at)?;
    let mut parts = time.split(':');
    let (hour, minute) = (exact(parts.next()?, 2)?, exact(parts.next()?, 2)?);
    let seconds = parts.next().unwrap_or("00");
    let whole = exact(seconds.get(..2)?, 2)?;
    let is_form = seconds.len() == 2 || seconds.get(2..3) == Some(".") && seconds.len() > 3;
    let is_time = parts.next().is_none() && hour < 24 && minute < 60 && whole < 61 && is_form;
    let seconds = number(seconds).filter(|_| is_time)?;
    let offset_minutes = if offset.eq_ignore_ascii_case("Z") {
        0
    } else {
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let (hours, minutes) = (exact(hours, 2)?, exact(minutes, 2)?);
        let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
        if offset.starts_with('-') {
            -minutes
        } else {
            minutes
        }
    };
    Some(i128::from(hour * 60 + minute - offset_minutes) * 60 * BILLION + seconds)
}

/// Yes or no.
pub(crate) fn flag(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

/// An address, and how many of its bits count: all, unless `/` and a number follow.
pub(crate) fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) if bits.len() <= 3 => u32::try_from(digits_of(bits)?).ok()?,
        Some(_) => return None,
        None => most,
    };
    if bits > most {
        return None;
    }
    Some((address, bits))
}

/// A number of exactly this many digits.
fn exact(text: &str, digits: usize) -> Option<i64> {
    let number = digits_of(text).filter(|_| text.len() == digits)?;
    i64::try_from(number).ok()
}

fn digits_of(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

pub(crate) const BILLION: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-12", Some(-12 * BILLION)),
            ("0.5", Some(BILLION / 2)),
            ("1.000000001", Some(BILLION + 1)),
            (
                "999999999999999999",
                Some(999_999_999_999_999_999 * BILLION),
            ),
            ("1000000000000000000", None),
            ("1.0000000001", None),
            ("", None),
            ("-", None),
            ("1.", None),
            (".5", None),
            ("+1", None),
            ("1e3", None),
        ] {
            assert_eq!(number(text), wanted, "{text}");
        }
    }

    #[test]
    fn dates_are_moments() {
        for (text, seconds) in [
            ("1970", Some(0)),
            ("2026-11", Some(1_793_491_200)),
            ("2026-11-22", Some(1_795_305_600)),
            ("2026-11-22T05:54Z", Some(1_795_326_840)),
            ("2026-11-22T05:54:46Z", Some(1_795_326_886)),
            ("2026-11-22t06:54:46+01:00", Some(1_795_326_886)),
            ("2026-11-21T21:54:46-08:00", Some(1_795_326_886)),
            ("1795326886", Some(1_795_326_886)),
            ("2026-11-22T05:54:46", None),
            ("2026-13-01", None),
            ("2026-02-29", None),
            ("2026-11-22T24:00Z", None),
            ("2026-11T05:54Z", None),
            ("2026-11-22T05:54:46.Z", None),
            ("tomorrow", None),
            ("", None),
        ] {
            let wanted = seconds.map(|seconds: i128| seconds * BILLION);
            assert_eq!(date(text), wanted, "{text}");
        }
        let half = date("2026-11-22T05:54:46.5Z").unwrap();
        assert_eq!(half, 1_795_326_886 * BILLION + BILLION / 2);
    }

    #[test]
    fn networks_have_a_valid_length() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0",
            "x",
            "",
            "10.0.0.0/0008",
        ] {
            assert_eq!(network(text), None, "{text}");
        }
        assert_eq!(network("10.0.0.0/8").unwrap().1, 8);
        assert_eq!(network("::1").unwrap().1, 128);
    }
}
