use super::*;
use crate::result::spread::histogram;
use proptest::prelude::*;

/// Returns the document of one part. Each pair in `seen` contains the second in which a latency ended, and the latency.
fn part(name: u64, seen: &[(u64, u64)]) -> Document {
    let started = format!("2026-01-01T00:00:0{name}Z");
    let mut document = Document::new("sessions", "http://t", EventArguments::new(), started);
    document
        .arguments
        .insert("part".into(), format!("{name}/3").into());
    document.arguments.insert("rate".into(), 10.into());
    document.ok = true;
    document.duration_s = 5.0;
    let spans = || histogram(seen.iter().map(|(_, span)| *span));
    let count = seen.len() as u64;
    document.latency_us.message = Spread::of(&spans());
    document.schedule_lag_us = ScheduleLag::of(&spans());
    document.messages.sent = Some(count);
    document.messages.lost = Some(0);
    document.errors.insert("status:403".into(), count);
    document.cpu = Cpu::of(Some(count as f64 * 2.0), Some(8.0), count as f64, 0.0);
    document.intervals = (1..=5)
        .map(|second| {
            let own = seen.iter().filter(|(at, _)| *at == second);
            let own = histogram(own.map(|(_, span)| *span));
            let interval = Interval {
                t_s: second as f64,
                messages: Some(own.len()),
                open: Some(count),
                ..Interval::default()
            };
            interval.with_latencies(&own)
        })
        .collect();
    document
}

fn seen() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((1_u64..=5, 1_u64..100_000_000), 1..40)
}

proptest! {
    #[test]
    fn parts_are_worth_the_whole(a in seen(), b in seen(), c in seen()) {
        let parts = [part(0, &a), part(1, &b), part(2, &c)];
        let sum = merge(&parts).unwrap();
        let whole = part(0, &[a, b, c].concat());
        prop_assert_eq!(&sum.latency_us, &whole.latency_us);
        prop_assert_eq!(&sum.schedule_lag_us, &whole.schedule_lag_us);
        prop_assert_eq!(&sum.intervals, &whole.intervals);
        prop_assert_eq!(sum.messages, whole.messages);
        prop_assert_eq!(&sum.errors, &whole.errors);
        prop_assert!((sum.cpu.driver_us_per_message.unwrap() - 2e6).abs() < 1.0);
        prop_assert_eq!(sum.cpu.server_s, Some(8.0));

        // Neither the order nor the grouping of the parts matters.
        let [a, b, c] = parts;
        let ab = merge(&[a.clone(), b.clone()]).unwrap();
        let cb = merge(&[c.clone(), b]).unwrap();
        let mut one = merge(&[ab, c]).unwrap();
        let other = merge(&[cb, a]).unwrap();
        prop_assert_eq!(&one.arguments["part"], &serde_json::json!(["0/3", "1/3", "2/3"]));
        prop_assert!((one.cpu.driver_s.unwrap() - other.cpu.driver_s.unwrap()).abs() < 1e-6);
        one.cpu = other.cpu;
        prop_assert_eq!(&one, &other);
    }

    #[test]
    fn documents_survive_the_file(a in seen()) {
        let mut document = part(1, &a);
        document.cpu = Cpu::of(Some(3.0), Some(8.0), 4.0, 2.0); // decimal fractions may be read one bit off
        prop_assert_eq!(Document::parse(&document.json().unwrap()).unwrap(), document);
    }
}

#[test]
fn one_part_is_the_whole() {
    let one = part(1, &[(1, 10), (3, 20)]);
    assert_eq!(merge(std::slice::from_ref(&one)), Ok(one));
    assert_eq!(merge(&[]), Err(MergeError::Nothing));
}

#[test]
fn one_bad_part_spoils_the_whole() {
    let good = part(1, &[(1, 10)]);
    let mut bad = part(2, &[(1, 10)]);
    bad.ok = false;
    bad.messages.lost = Some(2);
    bad.sessions.failed = Some(1);
    let sum = merge(&[good, bad]).unwrap();
    assert!(!sum.ok);
    assert_eq!((sum.messages.lost, sum.verdict().exit_code()), (Some(2), 1));
    assert_eq!(sum.sessions.failed, None, "one part does not know");
}

#[test]
fn quantiles_without_their_histogram_are_not_made_up() {
    let mut one = part(1, &[(1, 10)]);
    one.intervals[0].hdr = None;
    one.schedule_lag_us.hdr = None;
    let sum = merge(&[one, part(2, &[(1, 1000)])]).unwrap();
    let found = (sum.intervals[0].p99_us, sum.intervals[0].messages);
    assert_eq!(found, (None, Some(2)));
    let found = (sum.schedule_lag_us.p99, sum.schedule_lag_us.max);
    assert_eq!(found, (None, Some(1000)));
}

#[test]
fn seconds_are_aligned_though_the_clocks_drift() {
    let mut one = part(1, &[(2, 10)]);
    one.intervals[1].t_s = 2.04;
    let sum = merge(&[one, part(2, &[(2, 10)])]).unwrap();
    assert_eq!(sum.intervals.len(), 5);
    let found = (sum.intervals[1].t_s, sum.intervals[1].messages);
    assert_eq!(found, (2.04, Some(2)));
    // A sum that no number can represent does not cause a failure.
    let mut huge = part(1, &[]);
    huge.intervals[0].t_s = f64::MAX;
    assert!(merge(&[huge.clone(), huge]).is_ok());
}
