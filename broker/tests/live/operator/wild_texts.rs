//! Markup and control characters of clients are text wherever operators read them, and what is not read is nowhere.

use crate::http::get;
use crate::peer::{Peer, offer, upgrade, viewer_query};
use crate::process::{Broker, arn, command};
use serde_json::{Value, json};
use testkit::until;

on_shards!(
    a_wild_client_id_is_text_on_every_page,
    a_channel_that_does_not_exist_has_nothing_on_any_page,
);

/// Text that a page would run, that would clear a terminal, forge a line, and turn text around.
const WILD: &str = "<img src=x onerror=alert(1)>\u{1b}[2J\r\n\u{202e}v1";

fn a_wild_client_id_is_text_on_every_page(broker: &Broker) {
    let agent = "User-Agent: <script>agent</script>\r\n";
    let (refused, _) = upgrade(broker, &viewer_query(&arn("wild"), WILD), agent);
    refused.refused(400, "InvalidArgumentException");
    let list = until("the refusal", || {
        let list = get(broker.admin, "/refusals?check=client_id_malformed");
        (list.json()["refusals"] != json!([])).then_some(list)
    });
    assert_eq!(list.json()["refusals"][0]["clientId"], WILD);
    let content_type = list.header("content-type").expect("a type");
    assert!(
        content_type.starts_with("application/json"),
        "{content_type}"
    );
    assert_eq!(list.header("x-content-type-options"), Some("nosniff"));
    let wild = |text: &str| {
        let control = |one: char| one.is_control() && one != '\n';
        text.chars().any(control) || text.contains("agent</script>")
    };
    for page in [
        "/refusals",
        "/channels",
        "/channels/wild/trace",
        "/dev/messages",
        "/dev/connections",
        "/metrics",
    ] {
        let text = get(broker.admin, page).text();
        assert!(!wild(&text), "{page}: {text:?}");
    }
    let admin = format!("http://{}", broker.admin);
    let why = command()
        .args(["why", "--client", WILD, "--admin", &admin])
        .output();
    let why = String::from_utf8(why.expect("it runs").stdout).expect("UTF-8");
    assert!(why.contains(r"\u{1b}[2J\r\n\u{202e}v1"), "{why}");
    assert!(!wild(&why), "{why:?}");
}

fn a_channel_that_does_not_exist_has_nothing_on_any_page(broker: &Broker) {
    let fault = json!({ "on": "message", "match": { "channel": "absent" }, "do": "drop" });
    let made = crate::http::admin(broker.admin, "POST", "/dev/faults", &fault.to_string());
    assert_eq!(made.status, 201, "{}", made.text());
    let mut viewer = Peer::viewer(broker, &arn("there"), "v1");
    viewer.send(&offer("AAAA"));
    viewer.expect_silence();
    for page in ["/channels/absent", "/channels/absent/trace"] {
        assert_eq!(get(broker.admin, page).status, 404, "{page}");
    }
    for (page, key) in [
        ("/dev/messages?channel=absent", "messages"),
        ("/dev/connections?channel=absent", "connections"),
        ("/dev/parity?channel=absent", "findings"),
        ("/refusals?channel=absent", "refusals"),
    ] {
        let answer = get(broker.admin, page);
        assert_eq!(
            (answer.status, &answer.json()[key]),
            (200, &json!([])),
            "{page}"
        );
    }
    let shown = get(broker.admin, "/dev/faults").json();
    assert_eq!(shown["faults"][0]["seen"], Value::from(0));
    viewer.close();
}
