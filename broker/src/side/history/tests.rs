use super::*;
use crate::side::history::notes::Blamed;
use serde_json::json;

const NOW: u64 = 1_795_176_000_000; // 2026-11-20T12:00:00Z
const DAY: u64 = 86_400_000;

fn tick(at_ms: u64, span_ms: u32) -> Tick {
    let mut row = Row::new(at_ms, span_ms);
    row.set("masters", 40.0);
    row.set("connects", 3.0);
    row.set("refused_signature", 2.0);
    let mut durations = <[broker_core::event::Histogram; 2]>::default();
    durations[0].observe(50_000, 1);
    Tick { row, durations }
}

fn cause(account: &str) -> Cause {
    Cause {
        id: "signature_mismatch:key:AKIA1".into(),
        check: "signature_mismatch".into(),
        cause: Blamed {
            by: "key".into(),
            value: "AKIA1".into(),
        },
        account: Some(account.into()),
        title: "Key AKIA1: signature does not match".into(),
        says: "30 cameras".into(),
        first: NOW - 5_000,
        last: NOW - 2_000,
        ended: Some(NOW - 1_000),
        channels: 30,
        events: 4_000,
        look: "bad".into(),
    }
}

fn writer() -> Writer {
    let rows = Arc::new(Slots::in_memory(RING_BYTES));
    Writer::new(rows, Arc::new(Slots::in_memory(NOTES_BYTES)))
}

fn readers(writer: &Writer) -> HistoryStore {
    HistoryStore {
        rows: Arc::clone(&writer.rows),
        notes: Arc::clone(&writer.notes),
        ..HistoryStore::default()
    }
}

fn wanted(query: &str) -> Wanted {
    Wanted::parse(query, NOW).unwrap()
}

fn asked(store: &HistoryStore, query: &str) -> Value {
    store.document(&wanted(query))
}

#[test]
fn a_request_is_read_or_refused_with_what_is_expected() {
    let default = wanted("");
    assert_eq!((default.from, default.to), (NOW - HOUR_MS, NOW));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("from=-24h", NOW - DAY, NOW, None),
        ("from=-90s&to=-30s&step=2s", NOW - 90_000, NOW - 30_000, Some(0)),
        ("from=2026-11-19T12:00:00Z&step=15m", NOW - DAY, NOW, Some(2)),
        ("to=2026-11-19T12:00:00Z&step=1m", NOW - DAY - HOUR_MS, NOW - DAY, Some(1)),
        ("from=-4294967295d", 0, NOW, None),
    ];
    for (query, from, to, step) in cases {
        let expected = Wanted { from, to, step };
        assert_eq!(wanted(query), expected, "{query}");
    }
    for (query, accept, wanted) in [
        ("", "text/csv", true),
        ("format=json", "text/csv", false),
        ("format=csv", "", true),
    ] {
        assert_eq!(is_csv(query, accept), Ok(wanted));
    }
    let Fault(_, text) = is_csv("format=xml", "").unwrap_err();
    assert_eq!(text, "format: expected json or csv; found \"xml\"");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("from=yesterday", "from: expected a moment in UTC such as", "\"yesterday\""),
        ("from=-h", "from: expected", "\"-h\""),
        ("from=-9999999999d", "from: expected", "d\""),
        ("from=-1é", "from: expected", "-1é"),
        ("to=2026-11-19T12:00:00", "to: expected", "12:00:00\""),
        ("step=3s", "step: expected 2s, 1m or 15m; found", "\"3s\""),
        ("from=-1h&to=-2h", "from: must be before to", ""),
    ];
    for (query, name, found) in cases {
        let Fault(code, text) = Wanted::parse(query, NOW).unwrap_err();
        assert_eq!(code.as_u16(), 400, "{query}");
        assert!(text.starts_with(name) && text.contains(found), "{text}");
    }
}

#[test]
fn the_finest_step_that_reaches_back_is_shown() {
    let mut writer = writer();
    // Two days of rows of a minute, followed by an hour and a half of rows of two seconds.
    for at in (NOW - 2 * DAY..NOW - 5_400_000).step_by(60_000) {
        writer.tick(&tick(at, 60_000));
    }
    for at in (NOW - 5_400_000..NOW).step_by(2_000) {
        writer.tick(&tick(at, 2_000));
    }
    let store = readers(&writer);
    for (query, step, rows) in [
        ("from=-30m", 2, 900),
        ("from=-2h", 60, 120),
        ("from=-90m&to=-80m", 60, 10),
        ("from=-23h&to=-22h", 60, 60),
        ("from=-30h", 900, 120),
        ("from=-60d", 900, 192),
        ("from=-30h&step=1m", 60, 1_440),
        ("from=-30m&step=15m", 900, 2),
    ] {
        let answer = asked(&store, query);
        let shown = answer["columns"]["t"].as_array().unwrap().len();
        assert!(shown.abs_diff(rows) <= 1, "{query}: {shown}");
        assert_eq!(answer["step"], step, "{query}");
        assert_eq!(answer["begins"], rfc3339(NOW - 2 * DAY), "{query}");
    }
    let minutes = asked(&store, "from=-10m&step=1m");
    assert_eq!(minutes["columns"]["connects"][0], 90.0);
    assert_eq!(minutes["columns"]["viewers"][0], Value::Null);
    let p99 = minutes["columns"]["setupP99Ms"][0].as_f64().unwrap();
    assert!((44.0..56.0).contains(&p99), "{p99}");
    let csv = store.csv(&wanted("from=-30m&to=-29m"));
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[0].starts_with("t,masters,viewers,connects,refused_signature,"));
    let first = format!("{},40,,3,2,,", NOW - 1_800_000);
    assert!(lines[1].starts_with(&first), "{}", lines[1]);
}

#[test]
fn an_answer_has_no_more_rows_than_it_may() {
    let rows: Vec<Row> = (0..2_880)
        .map(|at| tick(at * 900_000, 900_000).row)
        .collect();
    let (fewer, times) = fewer(rows, 900_000);
    assert_eq!((fewer.len(), times), (1_440, 2));
    assert_eq!(fewer[7].get("connects"), Some(6.0));
    assert_eq!(fewer[7].at_ms, 14 * 900_000);
    assert_eq!(fewer[7].get("masters"), Some(40.0));
}

#[test]
fn a_process_that_ended_without_a_mark_gets_one_where_its_rows_end() {
    let mut first = writer();
    let start = |at, kind| {
        let says = "it".into();
        Note::Mark(Mark { at, kind, says })
    };
    first.note(start(NOW - 60_000, MarkKind::Start));
    first.tick(&tick(NOW - 10_000, 2_000));
    let mut second = Writer::new(Arc::clone(&first.rows), Arc::clone(&first.notes));
    second.write_notes();
    second.note(start(NOW - 3_000, MarkKind::Start));
    second.note(Note::Cause(Box::new(cause("a"))));
    second.note(start(NOW - 1_000, MarkKind::Stop));
    let mut third = Writer::new(Arc::clone(&first.rows), Arc::clone(&first.notes));
    third.write_notes();
    let answer = asked(&readers(&third), "");
    let marks = answer["marks"].as_array().unwrap();
    let marks: Vec<_> = marks
        .iter()
        .map(|it| (it["kind"].as_str().unwrap(), it["at"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("start", NOW - 60_000),
        ("killed", NOW - 8_000),
        ("start", NOW - 3_000),
        ("stop", NOW - 1_000),
    ];
    assert_eq!(marks, expected);
    let problem = &answer["problems"][0];
    assert_eq!(problem["cause"], json!({ "by": "key", "value": "AKIA1" }));
    assert_eq!(problem["ended"], value!(rfc3339(NOW - 1_000)));
    assert_eq!(problem["events"], value!(4_000));
    assert_eq!(
        asked(&readers(&third), "from=-3h&to=-2h")["problems"],
        json!([])
    );
}

#[test]
fn a_full_disk_stops_it_and_a_mark_says_so_when_it_goes_on() {
    let mut writer = writer();
    writer.rows.resize(0);
    writer.notes.resize(0);
    writer.tick(&tick(NOW - 9_000, 2_000));
    writer.note(Note::Cause(Box::new(cause("a"))));
    writer.tick(&tick(NOW - 7_000, 2_000));
    assert!(asked(&readers(&writer), "")["begins"].is_null());
    writer.rows.resize(RING_BYTES);
    writer.notes.resize(NOTES_BYTES);
    writer.tick(&tick(NOW - 5_000, 2_000));
    let store = readers(&writer);
    let answer = store.document(&Wanted {
        to: u64::MAX,
        ..wanted("")
    });
    let count = |list: &Value| list.as_array().unwrap().len();
    assert_eq!(count(&answer["columns"]["t"]), 1);
    assert_eq!(count(&answer["problems"]), 1);
    let says = answer["marks"][0]["says"].as_str().unwrap();
    testkit::assert_begins(&says, "the history could not be written since ");
    assert_eq!((count(&answer["marks"]), writer.waiting.len()), (1, 0));
}

#[test]
fn a_clock_that_is_set_is_marked_and_hides_no_row() {
    let mut writer = writer();
    #[rustfmt::skip] // a list
    let cases = [NOW - 8_000, NOW - 6_000, NOW - 3_606_000, NOW - 4_000, NOW - 2_000];
    for at in cases {
        writer.tick(&tick(at, 2_000));
    }
    let answer = asked(&readers(&writer), "from=-2h&step=2s");
    assert_eq!(answer["columns"]["t"].as_array().unwrap().len(), 5);
    let marks = answer["marks"].as_array().unwrap();
    let says: Vec<_> = marks
        .iter()
        .map(|it| it["says"].as_str().unwrap())
        .collect();
    assert!(
        says[0].starts_with("the clock was set back by 3602 s"),
        "{says:?}"
    );
    assert!(
        says[1].starts_with("the clock went 3600 s forward"),
        "{says:?}"
    );
    assert_eq!(says.len(), 2);
}

#[test]
fn notes_are_forgotten_in_the_file_and_on_their_way_to_it() {
    let store = HistoryStore::open(None).unwrap();
    store.record(cause("a"));
    store.mark(MarkKind::Alert, "nobody");
    assert_eq!(store.forget(|_, text| text.contains("AKIA1")), Some(1));
    assert_eq!(store.forget(|_, text| text.contains("AKIA1")), Some(0));
    assert_eq!(store.forget(|at, _| at > NOW), Some(1));
    assert_eq!(HistoryStore::default().forget(|_, _| true), Some(0));
}

#[test]
fn where_no_file_can_be_made_it_is_in_memory() {
    let directory = testkit::Directory::temporary();
    for name in [RING, NOTES] {
        std::fs::create_dir_all(directory.join(name)).unwrap();
    }
    let store = HistoryStore::open(Some(&directory)).unwrap();
    store.mark(MarkKind::Alert, "kept");
    store.record(cause("1"));
    store.settle();
    let shown = store.notes(&Wanted {
        from: 0,
        to: u64::MAX,
        step: None,
    });
    assert_eq!(shown["marks"][0]["says"], "kept");
    assert_eq!(shown["problems"].as_array().map(Vec::len), Some(1));
}
