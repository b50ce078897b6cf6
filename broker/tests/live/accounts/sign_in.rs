//! The whole way: to the provider, back, and what an account may do then.

use super::browser::{Browser, Console};
use aws_lc_rs::digest;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::json;

#[test]
fn an_account_uses_the_console() {
    let console = Console::start(&json!({}));
    let (browser, issuer) = (Browser::of(&console), &console.provider.issuer);
    let nobody = json!({"provider": issuer, "account": null});
    assert_eq!(browser.account(), nobody.clone());
    assert_eq!(browser.overview(), 401);
    let begun = browser.begin();
    let callback = format!("http://{}/account/callback", browser.host);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "console"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", &callback),
    ] {
        assert_eq!(begun[name], value, "{name}");
    }
    console.vouches(&begun["nonce"], &json!({}));
    console.service.keep("a-code-that-is-a-secret");
    let back = browser.back(&begun["state"], "&code=a-code-that-is-a-secret");
    assert_eq!((back.status, back.header("location")), (303, Some("/")));
    assert_eq!(back.header("cache-control"), Some("no-store"));
    assert_eq!(back.header("referrer-policy"), Some("no-referrer"));
    assert!(browser.cookie("state").is_none(), "removed");
    let posted = console.provider.posted().expect("an exchange");
    let pair = BASE64.encode(b"console:the-secret-of-the-console-client");
    assert_eq!(posted.authorization, Some(format!("Basic {pair}")));
    let field = |name: &str| {
        let mut pairs = posted.form.split('&').filter_map(|it| it.split_once('='));
        pairs
            .find(|(other, _)| *other == name)
            .map(|(_, text)| text)
    };
    assert_eq!(field("code"), Some("a-code-that-is-a-secret"));
    assert_eq!((field("client_id"), field("client_secret")), (None, None));
    let verifier = field("code_verifier").expect("a verifier");
    console.service.keep(verifier);
    let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
    assert_eq!(
        begun["code_challenge"],
        BASE64URL_NOPAD.encode(hash.as_ref())
    );

    assert_eq!(browser.overview(), 200);
    let account = &browser.account()["account"];
    assert_eq!(account["subject"], "ada@example.com");
    assert_eq!(account["issuer"], issuer.as_str());
    let left = account["secondsLeft"].as_u64().expect("a number");
    assert!((28_000..=28_800).contains(&left), "{left}");
    assert_eq!(Browser::of(&console).overview(), 401, "another browser");
    let token = format!("Authorization: Bearer {}\r\n", super::browser::TOKEN);
    let with_token = Browser::of(&console).ask("GET", "/overview", &token);
    assert_eq!(with_token.status, 200, "the token as before");
    console.end();
}

#[test]
fn changes_need_the_origin_and_are_logged_with_who_made_them() {
    let console = Console::start(&json!({}));
    let browser = console.signed_in();
    let issuer = &console.provider.issuer;
    let own = format!("Origin: http://{}\r\n", browser.host);
    for (lines, status) in [
        ("", 403),
        ("Origin: null\r\n", 403),
        ("Origin: https://evil.example\r\n", 403),
        // An origin of ours, but not that of the session.
        ("Origin: https://ops.example.com\r\n", 403),
        (&own, 200),
    ] {
        let answer = browser.ask("POST", "/ice/reconnect", lines);
        assert_eq!(answer.status, status, "{lines} {}", answer.text());
    }
    let foreign = format!("{own}Sec-Fetch-Site: same-site\r\n");
    let answer = browser.ask("POST", "/ice/reconnect", &foreign);
    assert_eq!(answer.status, 403, "a page of another port");
    for operation in ["SignIn", "POST /ice/reconnect"] {
        let texts = ["audit", issuer, "ada@example.com", operation];
        assert_eq!(console.service.broker.logged(&texts, 1).len(), 1);
    }
    console.end();
}

#[test]
fn signing_out_ends_the_session_and_its_streams() {
    let console = Console::start(&json!({}));
    let (browser, other) = (console.signed_in(), console.signed_in());
    let (stream, kept) = (
        browser.stream(),
        browser.cookie("session").expect("a session"),
    );
    let refused = browser.ask("POST", "/account/sign-out", "");
    assert_eq!(refused.status, 403, "a page of nobody knows where");
    assert_eq!(browser.overview(), 200);
    let own = format!("Origin: http://{}\r\n", browser.host);
    assert_eq!(browser.ask("POST", "/account/sign-out", &own).status, 204);
    super::browser::read_to_end(stream);
    assert!(browser.cookie("session").is_none(), "removed");
    browser.plant(&kept.0, &kept.1);
    assert_eq!((browser.overview(), other.overview()), (401, 200));
    let texts = ["audit", "ada@example.com", "SignOut"];
    assert_eq!(console.service.broker.logged(&texts, 1).len(), 1);
    console.end();
}

/// As browsers see it behind a proxy that ends TLS.
#[test]
fn at_an_https_origin_cookies_are_for_tls_alone() {
    let console = Console::start(&json!({"authorization_response_iss_parameter_supported": true}));
    let browser = Browser::at(&console, "ops.example.com");
    let begun = browser.begin();
    let callback = "https://ops.example.com/account/callback";
    assert_eq!(begun["redirect_uri"], callback);
    console.vouches(&begun["nonce"], &json!({"groups": "operators"}));
    let iss = format!("&code=c&iss={}", console.provider.url());
    let back = browser.back(&begun["state"], &iss);
    assert_eq!(back.status, 303, "{}", back.text());
    let cookies = back.headers.iter().filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<_> = cookies.map(|(_, line)| line.as_str()).collect();
    let [state, session] = cookies[..] else {
        panic!("{cookies:?}");
    };
    let path = "; Path=/account/callback; Max-Age=0; HttpOnly; SameSite=Lax; Secure";
    assert_eq!(state, format!("__Secure-heliograph-state={path}"));
    let rest = "; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict; Secure";
    testkit::assert_begins(&session, "__Host-heliograph-session=");
    assert!(session.ends_with(rest), "{session}");
    assert_eq!(browser.overview(), 200);
    let own = "Origin: https://ops.example.com\r\n";
    assert_eq!(browser.ask("POST", "/ice/reconnect", own).status, 200);
    // The same text under the name that it would have on loopback.
    let (_, text) = browser.cookie("session").expect("a session");
    let loopback = Browser::of(&console);
    let name = format!("heliograph-session-{}", console.address().port());
    loopback.plant(&name, &text);
    assert_eq!(loopback.overview(), 401, "bound to its origin");
    console.end();
}
