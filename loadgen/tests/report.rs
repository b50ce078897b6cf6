//! `loadgen report` as a program: one report, several, parts of one run, and files that are none.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

use crate::broker::process::directory;
use hdrhistogram::Histogram;
use loadgen::result::{Document, EventArguments, Spread};
use std::fs;
use std::process::{Command, Output};
use testkit::Directory;

/// A relay run of this many messages that took so long, of which some were lost.
fn document(count: u64, us: u64, lost: u64) -> String {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    histogram.record_n(us, count).unwrap();
    let mut document = Document::new(
        "relay",
        "http://127.0.0.1:1",
        EventArguments::new(),
        "2026-01-31T00:00:00Z".into(),
    );
    document.duration_s = 1.0;
    document.ok = lost == 0;
    document.messages.sent = Some(count + lost);
    document.messages.lost = Some(lost);
    document.latency_us.message = Spread::of(&histogram);
    document.json().unwrap()
}

fn report(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("report").args(words).output().unwrap()
}

/// A file in a test's directory, by its path.
fn file(folder: &Directory, name: &str, text: &str) -> String {
    folder.file(name, text).display().to_string()
}

/// The cells of a line of the table.
fn cells(output: &Output, label: &str) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(label));
    let rest = line
        .unwrap_or_default()
        .trim_start()
        .trim_start_matches(label)
        .trim();
    rest.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn several_runs_are_side_by_side_on_a_page() {
    let folder = directory();
    let (one, other) = (
        file(&folder, "before.json", &document(10, 500, 0)),
        file(&folder, "after.json", &document(10, 2_000, 0)),
    );
    let page = folder.path("page.html").display().to_string();
    let output = report(&[&one, &other, "--html", &page]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(cells(&output, "message p50"), ["500 µs", "2 ms"]);
    let html = fs::read_to_string(page).unwrap();
    #[rustfmt::skip] // a list
    let cases = [
        "2 runs side by side", "before", "after", "[500.0,2000.0]", "</html>",
    ];
    for word in cases {
        assert!(html.contains(word), "{word}");
    }
}

#[test]
fn parts_merge_exactly() {
    let folder = directory();
    // The quantile of the whole is not the mean of the parts': 980 fast messages and 20 slow ones.
    let (one, other) = (
        file(&folder, "1.json", &document(980, 500, 0)),
        file(&folder, "2.json", &document(20, 2_000, 1)),
    );
    let good = report(&[&one]);
    assert_eq!(good.status.code(), Some(0));
    assert_eq!(cells(&good, "message ")[2], "500 µs", "its p99");
    let whole = folder.path("whole.json").display().to_string();
    let output = report(&["--merge", &one, &other, "--json", &whole]);
    assert_eq!(output.status.code(), Some(1), "one part lost a message");
    let whole = Document::parse(&fs::read_to_string(whole).unwrap()).unwrap();
    let spread = whole.latency_us.message.unwrap();
    let found = (spread.count(), spread.quantile(0.98), spread.quantile(0.99));
    assert_eq!(found, (1_000, Some(500), Some(2_000)));
    let found = (whole.messages.sent, whole.messages.lost, whole.ok);
    assert_eq!(found, (Some(1_001), Some(1), false));
}

#[test]
fn files_that_are_no_reports_are_named() {
    let folder = directory();
    let newer = document(1, 1, 0).replace("\"schema\": 1", "\"schema\": 2");
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        ("newer.json", newer.as_str(), "schema 2, expected 1"),
        ("list.json", "[]", "not a report of loadgen"),
        ("half.json", &document(1, 1, 0)[..40], "not a report of loadgen"),
    ];
    for (name, text, words) in rows {
        let output = report(&[&file(&folder, name, text)]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
    let output = report(&[&folder.path("absent.json").display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    let other = document(1, 1, 0).replace("relay", "idle");
    let (one, other) = (
        file(&folder, "a.json", &document(1, 1, 0)),
        file(&folder, "b.json", &other),
    );
    let output = report(&["--merge", &one, &other]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not parts of one run"));
}
