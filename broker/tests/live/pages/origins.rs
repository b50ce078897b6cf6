//! Which pages of browsers may use a broker, by what they say in `Origin` and `Host`.

use crate::http::{Answer, exchange};
use crate::process::Broker;

const UPGRADE: &str = "GET /?X-Amz-ChannelARN=arn:aws:kinesisvideo:us-west-2:123456789012:channel/page/1700000000000 \
                       HTTP/1.1\r\n\
     Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const CALL: &str = "POST /listSignalingChannels HTTP/1.1\r\nContent-Length: 2\r\n";
const PREFLIGHT: &str =
    "OPTIONS /listSignalingChannels HTTP/1.1\r\nAccess-Control-Request-Method: POST\r\n";

fn ask(broker: &Broker, start: &str, lines: &str) -> Answer {
    let body = if start == CALL { "{}" } else { "" };
    exchange(
        broker.plain,
        format!("{start}{lines}\r\n\r\n{body}").as_bytes(),
    )
}

#[test]
fn foreign_pages_are_refused_under_dev_with_the_remedy() {
    let broker = Broker::dev(2);
    for start in [UPGRADE, CALL, PREFLIGHT] {
        let foreign = ask(
            &broker,
            start,
            "Host: localhost\r\nOrigin: https://evil.example",
        );
        assert_eq!(foreign.status, 403, "{start}");
        assert!(foreign.text().contains("--dev-origin ORIGIN"));
        let hidden = ask(
            &broker,
            start,
            "Host: localhost\r\nSec-Fetch-Site: cross-site",
        );
        let acts = start != PREFLIGHT;
        assert_eq!(hidden.status, if acts { 403 } else { 200 }, "{start}");
        let rebound = ask(&broker, start, "Host: evil.example:8080");
        assert_eq!(rebound.status, 403, "{start}");
        assert!(rebound.text().contains("--dev-origin http://NAME"));
        let own = ask(
            &broker,
            start,
            "Host: localhost\r\nOrigin: http://127.0.0.1:5173",
        );
        assert!([101, 200].contains(&own.status), "{own:?}");
    }
    broker.assert_balanced();
}

/// What the answer to a foreign page advises is taken at start, for pages of every scheme, and lets in that page alone.
#[test]
fn pages_of_apps_and_extensions_may_when_they_are_named() {
    #[rustfmt::skip] // a list
    let pages = [
        "capacitor://localhost", "ionic://localhost", "tauri://localhost", "file://",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "null",
    ];
    let ask = |broker: &Broker, page: &str| {
        let lines = format!("Host: localhost\r\nOrigin: {page}");
        let [call, upgrade] = [CALL, UPGRADE].map(|start| ask(broker, start, &lines));
        if call.status == 403 {
            assert!(call.text().contains("--dev-origin ORIGIN"), "{page}");
        }
        (call.status, upgrade.status)
    };
    let plain = Broker::dev(1);
    let mut arguments = vec!["--dev", "--listen", "http://127.0.0.1:0"];
    for page in pages {
        assert_eq!(ask(&plain, page), (403, 403), "{page}");
        arguments.extend(["--dev-origin", page]);
    }
    let broker = Broker::start(&arguments, 1);
    for page in pages {
        assert_eq!(ask(&broker, page), (200, 101), "{page}");
    }
    for other in [
        "capacitor://other",
        "file://x",
        "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba",
        "https://app.example",
    ] {
        assert_eq!(ask(&broker, other), (403, 403), "{other}");
    }
}
