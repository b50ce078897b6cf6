//! What a broker remembers of somebody, erased: `heliograph forget`, and `[privacy] keep`.

use crate::http::{admin, call, get};
use crate::operator::events::Watcher;
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn};
use serde_json::json;
use testkit::until;

/// `heliograph forget`: its exit code, and what it says.
fn forget(broker: &Broker, text: &str) -> (Option<i32>, String) {
    let exit = broker.asked(&["forget", text]);
    (exit.code, exit.stdout + &exit.stderr)
}

fn refuse(broker: &Broker) {
    let body = json!({ "ChannelName": "absent" });
    assert_eq!(
        call(broker.plain, "/describeSignalingChannel", &body).status,
        404
    );
    until("the refusal", || {
        let list = get(broker.admin, "/refusals").json();
        (list["kept"] == 1).then_some(())
    });
}

/// The pages that show people, with the lines of the log.
fn shown(broker: &Broker) -> String {
    #[rustfmt::skip] // a list
    let pages = ["/channels/cam/trace", "/overview", "/refusals", "/refusals/groups", "/log"];
    let pages = pages.map(|path| get(broker.admin, path).text());
    let mut watcher = Watcher::open(broker.admin, "log");
    assert_eq!(watcher.status(), 200);
    pages.concat() + &watcher.event("snapshot").to_string()
}

#[test]
fn what_names_somebody_is_forgotten() {
    let broker = Broker::dev(2);
    let mut viewer = Peer::viewer(&broker, &arn("cam"), "guest-1");
    viewer.send(&offer("b2ZmZXI="));
    let _other = Peer::viewer(&broker, &arn("cam"), "guest-12");
    viewer.close();
    until("what it leaves", || {
        let shown = shown(&broker);
        let places =
            shown.matches("\"guest-1\"").count() + shown.matches("\\\"guest-1\\\"").count();
        (places >= 3).then_some(()) // the trace, the troubled sessions, the log
    });
    let (code, said) = forget(&broker, "guest-1");
    assert_eq!(code, Some(0), "{said}");
    #[rustfmt::skip] // a list
    let cases = ["removed: 0 refusals, 1 troubled session, ", " log line", " recorder note"];
    for part in cases {
        assert!(said.contains(part), "{said}");
    }
    let left = shown(&broker).replace("guest-12", "");
    assert!(!left.contains("guest-1"), "{left}");
    let none = "removed: 0 refusals, 0 troubled sessions, 0 problem members, 0 log lines, 0 recorder notes, \
                0 history notes\n";
    assert_eq!(forget(&broker, "guest-1"), (Some(0), none.into()));
    assert_eq!(forget(&broker, "nobody"), (Some(0), none.into()));
    let lines = broker.logged(&["\"Forget\""], 3);
    assert!(lines.iter().all(|it| !it.contains("guest-1")), "{lines:?}");

    refuse(&broker);
    let (code, said) = forget(&broker, "127.0.0.1");
    assert_eq!(code, Some(0), "{said}");
    testkit::assert_begins(&said, "removed: 1 refusal, ");
    assert_eq!(get(broker.admin, "/refusals").json()["kept"], 0);
    for (body, status) in [
        (r#"{"text":"nobody"}"#, 200),
        (r#"{"text":1}"#, 400),
        ("", 400),
    ] {
        assert_eq!(
            admin(broker.admin, "POST", "/forget", body).status,
            status,
            "{body}"
        );
    }
    let (code, said) = forget(&broker, "");
    assert_eq!(code, Some(1), "{said}");
    testkit::assert_has(&said, &["1 to 2048 bytes"]);
}

#[test]
fn what_is_older_than_the_configured_age_is_forgotten() {
    let broker = Broker::configured("[privacy]\nkeep = \"2s\"\n", 1);
    let viewer = Peer::viewer(&broker, &arn("cam"), "guest-1");
    viewer.close();
    refuse(&broker);
    until("nothing is left", || {
        let left = shown(&broker);
        let list = get(broker.admin, "/refusals").json();
        (list["kept"] == 0 && !left.contains("guest-1")).then_some(())
    });
}
