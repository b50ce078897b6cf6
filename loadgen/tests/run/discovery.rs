//! API calls before each connection: where they lead.

use crate::run::program::run;
use crate::run::service::reception;

/// Calls and connections go where the service says, under the name that it says; nothing but the first call goes to the
/// target.
#[test]
fn sessions_connect_to_discovered_endpoints() {
    let (connections, relay) = reception(None);
    let (calls, desk) = reception(None);
    let named = format!("localhost:{}", connections.port());
    let endpoints = [format!("ws://{named}"), format!("http://{calls}/")];
    let (target, front) = reception(Some(endpoints));
    let flags = "--rate 100 --channels 3 --discover";
    let (code, report) = run(&format!("http://{target}"), flags);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sessions"]["completed"], 30, "{report}");
    // One for each step: endpoint, TURN servers, messages.
    assert_eq!(report["latency_us"]["connect"]["count"], 90, "{report}");

    #[rustfmt::skip] // a table, a case per row
    let wanted = [
        (&front, "POST /getSignalingChannelEndpoint ", target.to_string(), 33),
        (&desk, "POST /v1/get-ice-server-config ", calls.to_string(), 30),
        (&relay, "GET /?X-Amz-ChannelARN=", named, 33),
    ];
    for (place, line, host, count) in wanted {
        let heads = place.heads.lock().unwrap();
        assert_eq!(heads.len(), count, "{line}");
        let host = format!("\r\nHost: {host}\r\n");
        for head in heads.iter() {
            assert!(head.starts_with(line) && head.contains(&host), "{head}");
        }
    }
}

/// Discovery leads no load to another machine, and says why it leads nowhere.
#[test]
fn bad_endpoints_fail_by_name() {
    for (wss, name) in [
        ("ws://192.0.2.1:9", "endpoint_not_loopback"),
        ("no url", "bad_endpoint_in_answer"),
        ("ws://127.0.0.1:1", "refused"),
    ] {
        let (calls, _) = reception(None);
        let endpoints = [wss.to_owned(), format!("http://{calls}")];
        let (target, _) = reception(Some(endpoints));
        let flags = "--rate 20 --channels 1 --discover --patience 5";
        let (code, report) = run(&format!("http://{target}"), flags);
        assert_eq!(code, Some(3), "{wss}: {report}");
        assert!(report.to_string().contains(name), "{wss}: {report}");
    }
}
