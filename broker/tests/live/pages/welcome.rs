//! The answer to a browser at `/` of a client listener.

use crate::http::{Answer, Connection, exchange};
use crate::process::Broker;

const VISIT: &str =
    "Host: localhost:8080\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\r\n";

fn visit(broker: &Broker, method: &str, path: &str) -> Answer {
    exchange(
        broker.plain,
        format!("{method} {path} HTTP/1.1\r\n{VISIT}").as_bytes(),
    )
}

#[test]
fn under_dev_a_visit_leads_to_the_pages() {
    let broker = Broker::dev(2);
    let mut connection = Connection::open(broker.plain);
    for _ in 0..2 {
        connection.send(format!("GET / HTTP/1.1\r\n{VISIT}").as_bytes());
        let page = connection.answer().expect("a page");
        assert_eq!(page.assert_common().status, 200);
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let text = page.text();
        for link in ["/try", "/"] {
            assert!(
                text.contains(&format!("href=\"http://{}{link}\"", broker.admin)),
                "{text}"
            );
        }
    }
    drop(connection);
    // Anything else is an operation that does not exist, as before.
    visit(&broker, "GET", "/index.html").refused(404, "UnknownOperationException");
    let tool = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    exchange(broker.plain, tool).refused(404, "UnknownOperationException");
    broker.assert_balanced();
}

#[test]
fn in_production_a_visit_is_an_unknown_operation() {
    let broker = Broker::strict_channels(1);
    visit(&broker, "GET", "/").refused(404, "UnknownOperationException");
}
