use super::*;
use crate::limits::{
    PROBLEM_MEMBERS_MAX, PROBLEM_MEMBERS_SHOWN, PROBLEMS_BYTES_MAX, PROBLEMS_KEPT_MAX,
};
use broker_core::journal::{Claims, ConnectionEnd, EndReason, RefusalCount, Subject};
use broker_core::time::Wall;
use rows::Row;
use serde_json::{Value, json};
use std::io::{self, Write};
use table::{DARK_MS, LISTED_MS, QUIET_MS};

const MINUTE: u64 = 60_000;

/// Returns a refusal: a camera tried to connect to `channel` with the access key `key` of `account`.
fn refused(at: u64, channel: &str, key: &str, account: &str) -> Refused {
    let from = ([10, 0, 0, 1], 9).into();
    Refused {
        action: Some("ConnectAsMaster"),
        claims: Claims {
            channel: Some(channel.into()),
            key_id: Some(key.into()),
            account: Some(account.into()),
            channel_account: Some(Account::of_digits(account)),
            ..Claims::default()
        },
        ..Refused::unread("id", Wall(at), 403, "E", Check::SignatureMismatch, from)
    }
}

fn note(problems: &Problems, refused: Refused) {
    problems.note(&Entry::Refused(Box::new(refused)));
}

fn rows(problems: &Problems) -> Vec<Value> {
    let mut document = json!({});
    problems.show(&mut document);
    document["problems"].as_array().unwrap().clone()
}

/// Returns the entity of each row, and the number of its channels and events.
fn gist(problems: &Problems) -> Vec<(String, u64, u64)> {
    let row = |row: &Value| {
        let of = |name: &str| row[name].as_u64().unwrap();
        let value = row["cause"]["value"].as_str().unwrap();
        (
            format!("{} {value}", row["cause"]["by"].as_str().unwrap()),
            of("channels"),
            of("events"),
        )
    };
    rows(problems).iter().map(row).collect()
}

/// Tells the table that the cameras of the channels `connected` have been connected since `since`, and that no other
/// camera is.
fn look(problems: &Problems, connected: &[&str], since: u64, now: u64) {
    let looks = problems.lock().due(usize::MAX);
    for look in looks {
        let master = connected.contains(&&*look.channel).then_some(Wall(since));
        problems.lock().saw(
            &look,
            Seen {
                arn: Some(format!("arn:{}", look.channel).into()),
                master,
                has_viewer: false,
            },
            Wall(now),
        );
    }
}

fn consistent(problems: &Problems) {
    let table = problems.lock();
    let bytes: usize = table.rows.values().map(Row::bytes).sum();
    let shares: usize = table.shares.values().sum();
    assert_eq!((table.bytes, shares), (bytes, bytes));
    for (place, id) in &table.index {
        let row = &table.rows[id];
        assert!(row.named.contains(place) || row.channels.contains(place));
    }
    assert!(table.rows.len() <= PROBLEMS_KEPT_MAX);
    assert!(table.bytes <= PROBLEMS_BYTES_MAX + rows::ROW_BYTES + 4096);
}

#[test]
fn thirty_cameras_with_one_key_are_one_row_that_grew_and_eight_others_are_eight() {
    let problems = Problems::default();
    note(&problems, refused(1_000, "cam-0", "AKIA", "1"));
    let first = rows(&problems)[0].clone();
    assert_eq!(first["cause"]["by"], "channel");
    assert_eq!(first["title"], "Channel cam-0: signature mismatch");
    for number in 0..8 {
        note(
            &problems,
            refused(
                2_000 + number,
                &format!("single-{number}"),
                &format!("KEY-{number}"),
                "1",
            ),
        );
    }
    for (number, at) in (0..30).chain(0..30).zip(3_000..) {
        note(
            &problems,
            refused(at, &format!("cam-{number}"), "AKIA", "1"),
        );
    }
    let shown = gist(&problems);
    assert_eq!((shown.len(), &shown[0]), (9, &("key AKIA".into(), 30, 61)));
    assert_eq!(shown[1], ("channel single-0".into(), 1, 1));
    let row = &rows(&problems)[0];
    assert_eq!(row["id"], first["id"], "its id and its onset stay");
    assert_eq!(row["first"], first["first"], "its id and its onset stay");
    assert_eq!(
        row["members"].as_array().unwrap().len(),
        PROBLEM_MEMBERS_SHOWN
    );
    assert_eq!(row["look"], "bad");
    assert_eq!(
        row["shared"][0],
        json!({ "what": "key", "value": "AKIA", "members": 30, "of": 30, "healthy": null, "ofHealthy": null })
    );
    consistent(&problems);
}

#[test]
fn a_cause_is_the_most_specific_thing_that_two_channels_have_in_common() {
    let of = |channel: Option<&str>, key: &str, principal: &str, last: u8| {
        let mut one = refused(1, "", "", "1");
        let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
        one.claims = Claims {
            channel: channel.map(Box::from),
            channel_account: Some(Account(1)),
            key_id: text(key),
            principal: text(principal),
            ..Claims::default()
        };
        one.remote = ([10, 0, last, 1], 9).into();
        one
    };
    for (requests, wanted) in [
        // One principal that uses two keys.
        (
            vec![
                of(Some("a"), "k1", "p", 1),
                of(Some("b"), "k2", "p", 2),
                of(Some("a"), "k1", "p", 1),
            ],
            &["principal p"][..],
        ),
        // Two keys behind one address: the address is not considered.
        (
            vec![of(Some("a"), "k1", "", 1), of(Some("b"), "k2", "", 1)],
            &["channel a", "channel b"],
        ),
        // Requests that have nothing but an address.
        (
            vec![
                of(Some("a"), "", "", 1),
                of(Some("b"), "", "", 1),
                of(Some("c"), "", "", 2),
            ],
            &["address 10.0.1.0/24", "channel c"],
        ),
        // A call that names no channel, followed by one that does.
        (
            vec![of(None, "k1", "p", 1), of(Some("a"), "k1", "p", 1)],
            &["key k1"],
        ),
        // A channel stays in its row, whichever key it uses.
        (
            vec![of(Some("a"), "k1", "", 1), of(Some("a"), "k2", "", 1)],
            &["channel a"],
        ),
    ] {
        let problems = Problems::default();
        requests.into_iter().for_each(|one| note(&problems, one));
        let mut shown: Vec<String> = gist(&problems).into_iter().map(|it| it.0).collect();
        shown.sort();
        assert_eq!(shown, wanted);
        consistent(&problems);
    }
}

#[test]
fn a_row_ends_when_all_its_cameras_are_back_and_comes_back_as_the_same_row() {
    let problems = Problems::default();
    let three = ["a", "b", "c"];
    three
        .iter()
        .for_each(|channel| note(&problems, refused(1_000, channel, "AKIA", "1")));
    look(&problems, &["a", "b"], 900, 2_000); // these connections are older than the refusals
    assert!(rows(&problems)[0]["ended"].is_null());
    look(&problems, &["a", "b"], 3_000, 4_000);
    assert!(rows(&problems)[0]["ended"].is_null(), "one is missing");
    look(&problems, &["c"], 5_000, 6_000);
    let ended = rows(&problems)[0].clone();
    assert_eq!(ended["ended"], "1970-01-01T00:00:06.000Z");
    assert_eq!(ended["endedBy"], "camera back");
    assert_eq!(problems.open(), [0, 0]);
    note(&problems, refused(5_500, "c", "AKIA", "1")); // the log line arrived late
    assert!(!rows(&problems)[0]["ended"].is_null());
    note(&problems, refused(7_000, "b", "AKIA", "1"));
    let again = rows(&problems)[0].clone();
    assert_eq!(again["id"], ended["id"]);
    assert_eq!(again["first"], ended["first"]);
    assert!(again["ended"].is_null() && problems.open() == [1, 0]);
    look(&problems, &["b"], 8_000, 9_000);
    problems.lock().age(Wall(9_000 + LISTED_MS - 1));
    assert_eq!(rows(&problems).len(), 1);
    problems.lock().age(Wall(9_000 + LISTED_MS));
    assert!(rows(&problems).is_empty());
    consistent(&problems);
}

#[test]
fn members_that_nobody_will_see_connect_end_by_age() {
    let problems = Problems::default();
    note(&problems, refused(0, "dark", "k1", "1"));
    note(&problems, refused(0, "absent", "k2", "1"));
    let mut viewer = refused(0, "viewed", "k3", "1");
    (viewer.action, viewer.claims.client_id) = (Some("ConnectAsViewer"), Some("v".into()));
    note(&problems, viewer);
    let looks = problems.lock().due(usize::MAX);
    for look in looks {
        let seen = Seen {
            arn: (&*look.channel != "absent").then(|| "arn".into()),
            ..Seen::default()
        };
        problems.lock().saw(&look, seen, Wall(1));
    }
    let open = |at| {
        problems.lock().age(Wall(at));
        problems.open()
    };
    assert_eq!((open(QUIET_MS - 1), open(QUIET_MS)), ([3, 0], [1, 0]));
    assert_eq!((open(DARK_MS - 1), open(DARK_MS)), ([1, 0], [0, 0]));
}

#[test]
fn what_is_no_fault_is_no_problem() {
    let problems = Problems::default();
    for (check, status) in [
        (Check::ChannelExists, 400),
        (Check::Draining, 503),
        (Check::UnknownKey, 200),
    ] {
        note(
            &problems,
            Refused {
                check,
                status,
                ..refused(1, "a", "k", "1")
            },
        );
    }
    assert!(rows(&problems).is_empty());
    let counts = [RefusalCount {
        check: Some(Check::SignatureMismatch),
        subject: Subject::Channel(Some(Account(1)), "a".into()),
        refusals: 7,
    }];
    let suppressed = || Entry::Suppressed {
        refusals: 7,
        counts: counts.clone().into(),
    };
    problems.note(&suppressed());
    assert!(rows(&problems).is_empty(), "none of them was noted");
    note(&problems, refused(1, "a", "k", "1"));
    problems.note(&suppressed());
    assert_eq!(gist(&problems), [("channel a".into(), 1, 8)]);
}

#[test]
fn channels_of_one_name_are_two_in_two_accounts_and_each_pays_for_its_own() {
    let problems = Problems::default();
    for (account, key) in [("1", "k1"), ("2", "k2"), ("2", "k3")] {
        note(&problems, refused(0, "cam", key, account));
    }
    let of = |account| RefusalCount {
        check: Some(Check::SignatureMismatch),
        subject: Subject::Channel(Some(Account(account)), "cam".into()),
        refusals: 7,
    };
    let counts = [of(1), of(3)].into();
    problems.note(&Entry::Suppressed {
        refusals: 14,
        counts,
    });
    let shown: Vec<_> = rows(&problems)
        .iter()
        .map(|it| (it["account"].clone(), it["events"].clone()))
        .collect();
    let account = |number: &str| format!("{number:0>12}").into();
    assert_eq!(shown, [(account("1"), json!(8)), (account("2"), json!(2))]);
    assert_eq!(problems.lock().shares.len(), 2);
    look(&problems, &["cam"], 5, 9);
    let all = rows(&problems);
    assert!(
        all.iter()
            .all(|row| row["members"][0]["arn"] == "arn:cam" && !row["ended"].is_null()),
        "{all:?}"
    );
    // If both channels use the same key, there is one row with two channels.
    note(&problems, refused(20, "cam", "both", "3"));
    note(&problems, refused(21, "cam", "both", "4"));
    assert_eq!(gist(&problems)[0], ("key both".into(), 2, 2));
    // Sessions of one channel are not a consequence of the other channel's refusals.
    session(&problems, "unanswered", "cam", 30);
    assert_eq!(gist(&problems).len(), 4);
    problems
        .lock()
        .explain("unanswered", Account(2), "cam", "Other.");
    problems
        .lock()
        .explain("unanswered", Account(1), "cam", "No camera.");
    assert!(
        rows(&problems)
            .iter()
            .any(|row| row["says"] == "No camera.")
    );
    consistent(&problems);
}

fn session(problems: &Problems, check: &'static str, channel: &str, at: u64) {
    problems.lock().session(&Incident {
        channel: Some(channel),
        channel_account: Some(Account(1)),
        role: Some(Role::Viewer),
        client_id: Some("v"),
        account: Some(Account(1)),
        kind: Kind::Session,
        check,
        at: Wall(at),
        says: "it left".into(),
        ..Incident::default()
    });
}

#[test]
fn a_session_without_an_answer_is_of_its_channel_or_of_the_camera_that_was_refused() {
    let problems = Problems::default();
    note(&problems, refused(0, "a", "AKIA", "1"));
    session(&problems, "unanswered", "a", 1);
    session(&problems, "unanswered", "b", 1);
    session(&problems, "cut_off", "a", 2);
    let wanted = [("channel a", 2), ("channel b", 1), ("channel a", 1)];
    let shown: Vec<_> = gist(&problems)
        .into_iter()
        .map(|(by, _, events)| (by, events))
        .collect();
    assert_eq!(shown, wanted.map(|(by, events)| (by.to_owned(), events)));
    let remedy = || rows(&problems)[1]["do"].as_str().unwrap().to_owned();
    look(&problems, &[], 0, 2);
    assert!(remedy().starts_with("No camera is connected"));
    look(&problems, &["b"], 0, 3);
    assert!(remedy().starts_with("The camera is connected and answers no offer"));
    let mut end = ConnectionEnd {
        role: Role::Viewer,
        client_id: Some("w".into()),
        channel: Some("b".into()),
        account: Account(1),
        remote: ([10, 0, 0, 1], 9).into(),
        duration_ms: 9,
        messages_in: 1,
        messages_out: 1,
        returned: 0,
        offered_ms: Some(1),
        answered_ms: None,
        reason: EndReason::PeerClosed,
        refused_by: None,
    };
    problems.note(&Entry::ConnectionEnd(end.clone()));
    assert_eq!(problems.open(), [3, 0]);
    end.answered_ms = Some(2);
    problems.note(&Entry::ConnectionEnd(end));
    let ended: Vec<Value> = rows(&problems)
        .into_iter()
        .map(|row| row["endedBy"].clone())
        .collect();
    assert_eq!(ended, [Value::Null, Value::Null, "answered".into()]);
}

#[test]
fn standing_causes_end_when_they_are_not_found_again() {
    let problems = Problems::default();
    let shard = |number: &'static str, since| Incident {
        thing: Some((By::Shard, number.into())),
        kind: Kind::Standing,
        check: "shard_silent",
        at: Wall(since),
        ..Incident::default()
    };
    let stand = |found: Vec<Incident<'_>>, now| {
        let (found, end) = (found.into_iter(), "shard answers");
        problems.lock().stand("shard_silent", found, Wall(now), end)
    };
    stand(vec![shard("0", 5), shard("1", 7)], 10);
    stand(vec![shard("0", 5), shard("1", 7)], 20);
    assert_eq!(
        gist(&problems),
        [("shard 0".into(), 0, 1), ("shard 1".into(), 0, 1)]
    );
    assert_eq!(rows(&problems)[0]["first"], "1970-01-01T00:00:00.005Z");
    stand(vec![shard("1", 7)], 30);
    let shown = rows(&problems);
    assert_eq!(shown[0]["ended"], Value::Null);
    assert_eq!(shown[1]["endedBy"], "shard answers");
    problems.lock().age(Wall(30 + 2 * QUIET_MS));
    assert_eq!(gist(&problems), [("shard 1".into(), 0, 1)], "it stands");
    assert_eq!(problems.lock().forget(|_, _| true), 0, "it names nobody");
}

#[test]
fn a_flood_stays_within_the_bounds_and_a_tenant_pushes_out_its_own() {
    let problems = Problems::default();
    note(&problems, refused(0, "other", "other", "2"));
    for number in 0..30_000_u64 {
        note(
            &problems,
            refused(
                number,
                &format!("channel-{number}"),
                &format!("key-{number}"),
                "1",
            ),
        );
    }
    consistent(&problems);
    let mine: Vec<_> = problems
        .0
        .lock()
        .rows
        .values()
        .map(|row| row.share)
        .collect();
    assert_eq!(mine.len(), PROBLEMS_KEPT_MAX);
    note(&problems, refused(40_000, "another", "another", "3"));
    let kept = |value: &str| {
        problems
            .0
            .lock()
            .rows
            .values()
            .any(|row| &*row.value == value)
    };
    assert!(
        kept("other") && kept("another") && kept("channel-0"),
        "the newest of the flood made room"
    );
    // If very many channels use the same key, the channels are only counted.
    for number in 0..30_000_u64 {
        note(
            &problems,
            refused(number, &format!("wide-{number}"), "wide", "4"),
        );
    }
    consistent(&problems);
    let row = problems.lock();
    let row = row.rows.values().find(|row| &*row.value == "wide").unwrap();
    assert_eq!(row.members.len(), PROBLEM_MEMBERS_MAX);
    assert_eq!(row.events, 30_000);
    assert!(row.channels.len() > 10_000, "{}", row.channels.len());
}

#[test]
fn names_are_forgotten_and_a_mark_silences_a_row_until_its_time() {
    let problems = Problems::default();
    for (at, channel, key) in [(0, "a", "AKIA"), (0, "b", "AKIA"), (1, "c", "other")] {
        note(&problems, refused(at, channel, key, "1"));
    }
    assert_eq!(
        problems
            .lock()
            .forget(|_, texts| texts.lines().any(|line| line == "a")),
        1
    );
    assert_eq!(
        gist(&problems),
        [("key AKIA".into(), 1, 2), ("channel c".into(), 1, 1)]
    );
    consistent(&problems);
    note(&problems, refused(2, "a", "AKIA", "1"));
    assert_eq!(gist(&problems)[0], ("key AKIA".into(), 2, 3));
    assert_eq!(
        problems
            .lock()
            .forget(|_, texts| texts.lines().any(|line| line == "AKIA")),
        2
    );
    assert_eq!(gist(&problems), [("channel c".into(), 1, 1)]);
    let id = rows(&problems)[0]["id"].as_str().unwrap().to_owned();
    let known = rows::Known {
        until: Wall(MINUTE),
        by: "token".into(),
        why: "a move".into(),
    };
    problems
        .0
        .lock()
        .rows
        .get_mut(&rows::id_of(&id).unwrap())
        .unwrap()
        .known = Some(known);
    assert_eq!(problems.open(), [0, 0]);
    assert_eq!(rows(&problems)[0]["known"]["why"], "a move");
    problems.lock().age(Wall(MINUTE));
    assert_eq!(problems.open(), [1, 0]);
    assert_eq!(
        problems.lock().forget(|at, _| at < Wall(2)),
        1,
        "older than [privacy] keep"
    );
    consistent(&problems);
}

#[test]
fn members_are_looked_at_in_turn() {
    let problems = Problems::default();
    for number in 0..5 {
        note(
            &problems,
            refused(1, &format!("c{number}"), &format!("k{number}"), "1"),
        );
    }
    let mut seen: Vec<Box<str>> = Vec::new();
    for _ in 0..3 {
        let looks = problems.lock().due(2);
        seen.extend(looks.into_iter().map(|look| look.channel));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

/// Measures nanoseconds per refusal. Run with `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement by hand"]
fn the_cost_of_a_refusal() {
    for (what, channels) in [
        ("one camera", 1_u64),
        ("a thousand", 1_000),
        ("ever new ones", u64::MAX),
    ] {
        let problems = Problems::default();
        let entries = (0..100_000_u64).map(|number| {
            let number = number % channels;
            Entry::Refused(Box::new(refused(
                number,
                &format!("channel-{number}"),
                &format!("key-{number}"),
                "1",
            )))
        });
        let entries: Vec<Entry> = entries.collect();
        let began = std::time::Instant::now();
        entries.iter().for_each(|entry| problems.note(entry));
        let spent = began.elapsed().as_nanos() / 100_000;
        writeln!(io::stderr(), "{what}: {spent} ns").expect("stderr");
    }
}
