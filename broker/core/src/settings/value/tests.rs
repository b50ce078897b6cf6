use super::*;

#[test]
fn durations_have_units_and_bounds() {
    let day = 86_400_000;
    let good = [
        ("250ms", 250),
        ("20s", 20_000),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("1d", day),
        ("0", 0),
        ("off", 0),
    ];
    for (text, ms) in good {
        assert_eq!(duration(text, 0..=day), Ok(ms), "{text}");
    }
    #[rustfmt::skip] // a list
    let cases = [
        "", "20", "s", "-1s", "1.5s", "1w", "20 s", "25h", "99999999999999999999s", "584942417356d",
    ];
    for text in cases {
        assert!(duration(text, 0..=day).is_err(), "{text}");
    }
    for text in ["0", "0s", "off"] {
        assert!(duration(text, 1..=day).is_err(), "{text}");
    }
    assert_eq!(
        duration("x", 0..=day).unwrap_err(),
        "expected a duration from \"1ms\" to \"1d\", or \"off\""
    );
}

#[test]
fn spans_are_written_in_their_largest_unit() {
    let texts = [0, 250, 90_000, 75_000, 3_600_000].map(|ms| ConfigSpan(ms).to_string());
    assert_eq!(texts, ["0ms", "250ms", "90s", "75s", "1h"]);
}

#[test]
fn cpu_lists_are_sets() {
    assert_eq!(cpus("0-2,6"), Ok(vec![0, 1, 2, 6]));
    assert_eq!(cpus(" 3 "), Ok(vec![3]));
    #[rustfmt::skip] // a list
    let all = [
        "", "a", "3-1", "0,0", "0-2,1", "1,", "-1", "99999", "0-99999999999",
    ];
    for text in all {
        assert!(cpus(text).is_err(), "{text}");
    }
}

#[test]
fn listeners_are_urls_of_addresses() {
    let secure = Listen {
        scheme: Scheme::Https,
        addr: "[::1]:8443".parse().unwrap(),
    };
    assert_eq!(listen("https://[::1]:8443"), Ok(secure));
    let found = listen("http://localhost:0").unwrap().addr.to_string();
    assert_eq!(found, "127.0.0.1:0");
    let found = listen("http://127.0.0.1:80/");
    assert_eq!(found, listen("http://127.0.0.1:80"));
    #[rustfmt::skip] // a list
    let all = [
        "127.0.0.1:80", "ws://127.0.0.1:80", "http://127.0.0.1", "http://example.com:80", "http://1.2.3.4:80/x",
    ];
    for text in all {
        assert!(listen(text).is_err(), "{text}");
    }
}

#[test]
fn endpoints_have_no_path() {
    let schemes = ["wss", "ws"];
    #[rustfmt::skip] // a list
    let all = [
        "wss://a.example", "wss://a.example:8443", "ws://127.0.0.1:8080", "wss://[::1]:1", "wss://[::1]",
    ];
    for text in all {
        assert_eq!(endpoint(text, schemes), Ok(text.to_owned()), "{text}");
    }
    #[rustfmt::skip] // a list
    let all = [
        "a.example", "https://a.example", "wss://", "wss://a/", "wss://a:0", "wss://a:x", "wss://a b", "wss://[x]",
    ];
    for text in all {
        assert!(endpoint(text, schemes).is_err(), "{text}");
    }
}

#[test]
fn pages_of_apps_and_extensions_have_origins() {
    #[rustfmt::skip] // a list
    let all = [
        "capacitor://localhost", "ionic://localhost", "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "moz-extension://5c6d7e8f-0a1b-2c3d-4e5f-60718293a4b5",
        "file://", "null", "https://app.example:3000",
    ];
    for text in all {
        assert_eq!(dev_origin(text), Ok(text.to_owned()), "{text}");
    }
    #[rustfmt::skip] // a list
    let all = [
        "", "*", "capacitor:", "://localhost", "1app://x", "a b://x", "app://x/", "app://x y", "app://u@x", "http://",
        "HTTPS://a/b", "file:///page.html",
    ];
    for text in all {
        assert!(dev_origin(text).is_err(), "{text}");
    }
}

/// Whatever the configuration gives to clients must be accepted by the parsers of these clients. Each row contains a
/// parser, the text in the configuration, and the text given to clients.
#[test]
fn clients_get_what_they_can_read() {
    for (reader, text, handed_out) in ROWS {
        let expected = handed_out.map(str::to_owned);
        assert_eq!(reader(text).ok(), expected, "{text}");
    }
    assert!(ice_url(&format!("turn:{}.example:3478", "a".repeat(63))).is_ok());
    assert!(ice_url(&format!("turn:{0}.{0}.example", "a".repeat(63))).is_err());
    for (url, word) in [
        (V6, "IPv6"),
        ("turns:turn.example.com", ":5349"),
        ("turn:turn.example.com?transport=udp", ":3478"),
    ] {
        assert!(ice_url_notice(url).unwrap().contains(word), "{url}");
    }
    assert_eq!(ice_url_notice("turn:turn.example.com"), None);
    assert_eq!(ice_url_notice("turns:turn.example.com:443"), None);
}

type Reader = fn(&str) -> Checked<String>;
type Row = (Reader, &'static str, Option<&'static str>);

const V6: &str = "turn:[2001:db8::1]:3478?transport=tcp";

#[rustfmt::skip] // a table, a case per row
const ROWS: &[Row] = &[
    same(ice_url, "stun:stun.example.com:3478"),
    same(ice_url, "stun:192.0.2.1"),
    same(ice_url, "turn:turn.example.com:3478?transport=udp"),
    same(ice_url, "turns:turn.example.com:443?transport=tcp"),
    same(ice_url, "turn:turn.example.com?transport=tcp"),
    same(ice_url, "turn:turn_server.:65535"),
    same(ice_url, V6),
    refused(ice_url, "turn://turn.example.com:3478"),
    refused(ice_url, "turn:turn.example.com:99999"),
    refused(ice_url, "turn:turn.example.com:0"),
    refused(ice_url, "turn:turn.example.com:+443"),
    refused(ice_url, "turn:turn.example.com:"),
    refused(ice_url, "turn:turn.example.com:3478:1"),
    refused(ice_url, "turn:turn.example.com:3478?transport=tls"),
    refused(ice_url, "turn:turn.example.com:3478?transport=UDP"),
    refused(ice_url, "turn:turn.example.com:3478?transport=udp&a=b"),
    refused(ice_url, "turn:turn.example.com:3478?transport"),
    refused(ice_url, "turn:turn.example.com:3478?"),
    refused(ice_url, "turn:turn.example.com:3478/"),
    refused(ice_url, "turn:turn.example.com:3478#a"),
    refused(ice_url, "turn:user@turn.example.com:3478"),
    refused(ice_url, "turn:user:word@turn.example.com:3478"),
    refused(ice_url, "turn:turn..example.com"),
    refused(ice_url, "turn:192.0.2.256:3478"),
    refused(ice_url, "turn:[2001:db8::1:3478"),
    refused(ice_url, "turn:2001:db8::1"),
    refused(ice_url, "turn:turn.exämple.com"),
    refused(ice_url, "turn:?transport=udp"),
    refused(ice_url, "turn:"),
    refused(ice_url, "stun:stun.example.com:3478?transport=udp"),
    refused(ice_url, "stuns:stun.example.com:5349"),
    refused(ice_url, "TURN:turn.example.com:3478"),
    refused(ice_url, " turn:turn.example.com"),
    refused(ice_word, "a b"),
    refused(ice_word, "a\"b"),
    (wss, "wss://Kvs.Example.com:443", Some("wss://kvs.example.com")),
    (wss, "ws://[::1]:80", Some("ws://[::1]")),
    same(wss, "wss://kvs.example.com:8443"),
    refused(wss, "wss://kvs.example.com:+8443"),
    refused(wss, "wss://user@kvs.example.com"),
    refused(wss, "wss://192.0.2.256"),
    refused(wss, "wss://kvs.0x1f"),
    (domain, "Kvs.Example.com", Some("kvs.example.com")),
    refused(domain, "192.0.2.1"),
    refused(domain, "kvs.1"),
    (origin, "HTTPS://App.example:443", None),
    (origin, "https://App.example:443", Some("https://app.example")),
    refused(origin, "https://app.example:99999"),
    refused(origin, "https://app.example/"),
    refused(dev_host, "192.0.2.256"),
];

const fn same(reader: Reader, text: &'static str) -> Row {
    (reader, text, Some(text))
}

const fn refused(reader: Reader, text: &'static str) -> Row {
    (reader, text, None)
}

fn wss(text: &str) -> Checked<String> {
    advertised(text, ["wss", "ws"])
}

#[test]
fn a_path_says_its_role() {
    for (path, role) in [
        ("/master", Some(Role::Master)),
        ("/viewer/", Some(Role::Viewer)),
        ("/", None),
        ("/viewer//", None),
        ("/masters", None),
    ] {
        assert_eq!(role_of_path(path), role, "{path}");
    }
    assert_eq!(without_role("wss://a:8443/viewer"), "wss://a:8443");
    assert_eq!(without_role("wss://a/other"), "wss://a/other");
}
