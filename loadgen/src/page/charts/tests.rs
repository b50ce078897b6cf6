use super::*;

fn log(count: u32) -> Vec<Interval> {
    let interval = |number| Interval {
        t_s: f64::from(number),
        messages: Some(10),
        ..Interval::default()
    };
    (1..=count).map(interval).collect()
}

#[test]
fn long_runs_keep_their_rate() {
    let rate = |chunk: &[Interval], span: f64| {
        Some(chunk.iter().filter_map(|i| i.messages).sum::<u64>() as f64 / span)
    };
    for count in [1, 7, 400, 401, 86_400] {
        let points = sampled(&log(count), rate);
        assert!(points.len() <= POINTS_MAX, "{count}: {}", points.len());
        assert!(points.iter().all(|(_, y)| *y == Some(10.0)), "{count}");
        assert_eq!(points.last().unwrap().0, f64::from(count));
    }
}

#[test]
fn an_interval_after_a_stall_is_taken_with_the_next() {
    let mut log = log(5);
    log[2].t_s = 3.95;
    let count = |chunk: &[Interval], span: f64| Some(chunk.len() as f64 + span / 1000.0);
    let points = sampled(&log, count);
    let seen: Vec<_> = points
        .iter()
        .map(|(t_s, y)| (*t_s, y.unwrap().floor()))
        .collect();
    assert_eq!(seen, [(1.0, 1.0), (2.0, 1.0), (3.95, 1.0), (5.0, 2.0)]);
}

#[test]
fn moments_are_round() {
    for (end, last) in [
        (0.4, "0.40 s"),
        (10.0, "10 s"),
        (150.0, "2:30"),
        (3_600.0, "60:00"),
        (86_400.0, "24:00 h"),
    ] {
        let line = Line {
            name: String::new(),
            colour: 0,
            stroke: Stroke::Solid,
            points: vec![(end, None)],
        };
        let ticks = time_ticks(&[line]);
        assert!((2..=7).contains(&ticks.len()), "{end}: {ticks:?}");
        if end > 1.0 {
            assert_eq!(ticks.last().unwrap().1, last);
        }
    }
}

#[test]
fn shares_in_words() {
    for (nines, text) in [
        (0.0, "0 %"),
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
    ] {
        assert_eq!(say_share(nines), text);
    }
}

/// In a storm everything happens within the first interval.
#[test]
fn a_point_without_neighbours_is_seen() {
    let mut document = Document::new("storm", "t", crate::result::Arguments::new(), String::new());
    document.intervals = log(6);
    document.intervals[0].p99_us = Some(700);
    document.sessions.completed = Some(60);
    assert_eq!(document.sessions_per_s(), None, "they stay to its end");
    let run = Run {
        name: "storm".into(),
        document,
    };
    let page = all(&[run]).into_string();
    assert_eq!(page.matches("class=\"dots ").count(), 1, "{page}");
}
