//! Formats figures for human readers, with three significant digits and a unit. Used by the text table, the HTML page
//! and the live view.

use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Formats a duration in microseconds as `412 µs`, `1.84 ms`, `12.3 s` or `2 min 05 s`.
#[must_use]
pub fn span_us(us: u64) -> String {
    let us = us as f64;
    if us < 1_000.0 {
        format!("{us:.0} µs")
    } else if us < 999_500.0 {
        format!("{} ms", three(us / 1e3))
    } else {
        seconds(us / 1e6)
    }
}

/// Formats a fractional duration in microseconds, such as the CPU time per message, as `3.42 µs`.
#[must_use]
pub fn cost_us(us: f64) -> String {
    if us < 1_000.0 {
        format!("{} µs", three(us))
    } else {
        format!("{} ms", three(us / 1e3))
    }
}

/// Formats a duration in seconds as `0.30 s`, `12.3 s`, `2 min 05 s` or `1 h 02 min`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if !(0.0..LONGEST_S).contains(&seconds) {
        return "–".into();
    }
    if seconds < 99.95 {
        return format!("{} s", three(seconds));
    }
    match whole(seconds) {
        whole @ 0..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        whole => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
    }
}

/// Rounds to the nearest integer from 0 to [`u64::MAX`]. Returns 0 for NaN.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float casts to the nearest bound"
)]
pub const fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

/// Formats a count with thousands separators, as in `1,000,000`.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count followed by the singular or plural of a noun, as in `1 address` and `2 addresses`.
#[must_use]
pub fn counted(number: u64, one: &str, several: &str) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { one } else { several }
    )
}

/// Formats a figure of any magnitude, as in `0`, `3.42`, `412`, `18,240` and `1.25 M`.
#[must_use]
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value.abs() >= 1e6 {
        return match value.abs() {
            1e9.. => format!("{} G", three(value / 1e9)),
            _ => format!("{} M", three(value / 1e6)),
        };
    }
    if value < 0.0 {
        return format!("-{}", figure(-value));
    }
    if value < 999.5 {
        return three(value);
    }
    count(whole(value))
}

/// Formats a size in bytes, as in `812 B`, `43.9 KiB` and `1.20 GiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes.abs() < 1_024.0 {
        return format!("{bytes:.0} B");
    }
    let (mut value, mut unit) = (bytes / 1_024.0, "KiB");
    for larger in units.iter().skip(1) {
        if value.abs() < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, larger);
    }
    format!("{} {unit}", three(value))
}

/// Formats a time in RFC 3339, as in `2026-01-31T23:59:59Z`.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let moment = OffsetDateTime::from(moment).truncate_to_second();
    moment.format(&Rfc3339).unwrap_or_default()
}

fn three(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        Some(_) | None => text,
    }
}

const LONGEST_S: f64 = 1e10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        for (us, text) in [
            (0, "0 µs"),
            (412, "412 µs"),
            (999, "999 µs"),
            (1_840, "1.84 ms"),
            (18_400, "18.4 ms"),
            (184_000, "184 ms"),
            (999_600, "1 s"),
            (1_500_000, "1.50 s"),
            (125_000_000, "2 min 05 s"),
            (3_725_000_000, "1 h 02 min"),
        ] {
            assert_eq!(span_us(us), text);
        }
        assert_eq!(seconds(0.3), "0.30 s");
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(seconds(bad), "–");
        }
        let counts = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (3.417, "3.42"),
            (999.7, "1,000"),
            (18_240.4, "18,240"),
            (1.254e6, "1.25 M"),
            (-12_000.0, "-12,000"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figure(value), text);
        }
        for (value, text) in [
            (812.0, "812 B"),
            (45_000.0, "43.9 KiB"),
            (1.29e9, "1.20 GiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        let found = (cost_us(3.4), cost_us(1_200.0));
        assert_eq!(found, ("3.40 µs".into(), "1.20 ms".into()));
    }
}
