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
    for text in [
        "",
        "20",
        "s",
        "-1s",
        "1.5s",
        "1w",
        "20 s",
        "25h",
        "99999999999999999999s",
        "584942417356d",
    ] {
        assert!(duration(text, 0..=day).is_err(), "{text}");
    }
    for text in ["0", "0s", "off"] {
        assert!(duration(text, 1..=day).is_err(), "{text}");
    }
    assert_eq!(
        duration("x", 0..=day).unwrap_err(),
        "allowed a duration from \"1ms\" to \"1d\", or \"off\""
    );
}

#[test]
fn spans_are_written_in_their_largest_unit() {
    let texts = [0, 250, 90_000, 75_000, 3_600_000].map(|ms| Span(ms).to_string());
    assert_eq!(texts, ["0ms", "250ms", "90s", "75s", "1h"]);
}

#[test]
fn cpu_lists_are_sets() {
    assert_eq!(cpus("0-2,6"), Ok(vec![0, 1, 2, 6]));
    assert_eq!(cpus(" 3 "), Ok(vec![3]));
    for text in [
        "",
        "a",
        "3-1",
        "0,0",
        "0-2,1",
        "1,",
        "-1",
        "99999",
        "0-99999999999",
    ] {
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
    assert_eq!(
        listen("http://localhost:0").unwrap().addr.to_string(),
        "127.0.0.1:0"
    );
    assert_eq!(
        listen("http://127.0.0.1:80/"),
        listen("http://127.0.0.1:80")
    );
    for text in [
        "127.0.0.1:80",
        "ws://127.0.0.1:80",
        "http://127.0.0.1",
        "http://example.com:80",
        "http://1.2.3.4:80/x",
    ] {
        assert!(listen(text).is_err(), "{text}");
    }
}

#[test]
fn endpoints_have_no_path() {
    let schemes = ["wss", "ws"];
    for text in [
        "wss://a.example",
        "wss://a.example:8443",
        "ws://127.0.0.1:8080",
        "wss://[::1]:1",
        "wss://[::1]",
    ] {
        assert_eq!(endpoint(text, schemes), Ok(text.to_owned()), "{text}");
    }
    for text in [
        "a.example",
        "https://a.example",
        "wss://",
        "wss://a/",
        "wss://a:0",
        "wss://a:x",
        "wss://a b",
        "wss://[x]",
    ] {
        assert!(endpoint(text, schemes).is_err(), "{text}");
    }
}

#[test]
fn pages_of_apps_and_extensions_have_origins() {
    for text in [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://5c6d7e8f-0a1b-2c3d-4e5f-60718293a4b5",
        "file://",
        "null",
        "https://app.example:3000",
    ] {
        assert_eq!(dev_origin(text), Ok(text.to_owned()), "{text}");
    }
    for text in [
        "",
        "*",
        "capacitor:",
        "://localhost",
        "1app://x",
        "a b://x",
        "app://x/",
        "app://x y",
        "app://u@x",
        "http://",
        "HTTPS://a/b",
        "file:///page.html",
    ] {
        assert!(dev_origin(text).is_err(), "{text}");
    }
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
