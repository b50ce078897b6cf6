//! Markup and control characters of clients are text wherever operators read them.

use crate::http::get;
use crate::peer::{upgrade, viewer_query};
use crate::process::{Broker, arn};
use serde_json::json;
use testkit::until;

on_shards!(a_wild_client_id_is_text_on_every_page);

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
    testkit::assert_begins(&content_type, "application/json");
    assert_eq!(list.header("x-content-type-options"), Some("nosniff"));
    let wild = |text: &str| {
        let control = |one: char| one.is_control() && one != '\n';
        text.chars().any(control) || text.contains("agent</script>")
    };
    #[rustfmt::skip] // a list
    let cases = ["/refusals", "/channels", "/channels/wild/trace", "/dev/messages", "/dev/connections", "/metrics"];
    for page in cases {
        let text = get(broker.admin, page).text();
        assert!(!wild(&text), "{page}: {text:?}");
    }
    let why = broker.asked(&["why", "--client", WILD]).stdout;
    assert!(why.contains(r"\u{1b}[2J\r\n\u{202e}v1"), "{why}");
    assert!(!wild(&why), "{why:?}");
}
