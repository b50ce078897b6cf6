//! Accounts that are not let in, and requests that are not taken for the way back from the provider.

use super::browser::{Browser, Console};
use crate::http::Answer;
use serde_json::{Value, json};

/// Asserts a page that says this, and that nobody was signed in.
fn refused(browser: &Browser<'_>, answer: &Answer, status: u16, words: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(text.contains(words), "{words}: {text}");
    assert!(browser.cookie("session").is_none());
    assert_eq!(browser.overview(), 401);
}

#[test]
fn a_state_belongs_to_one_browser_and_serves_once() {
    let console = Console::start(&json!({}));
    let (browser, other) = (Browser::of(&console), Browser::of(&console));
    let begun = browser.begin();
    console.vouches(&begun["nonce"], &json!({}));
    let not_begun = "was not begun in this browser";
    let answer = other.back(&begun["state"], "&code=c");
    refused(&other, &answer, 400, not_begun);
    let wrong = browser.begin();
    let answer = browser.back(&begun["state"], "&code=c");
    refused(&browser, &answer, 400, not_begun);
    assert!(console.provider.posted().is_none(), "no code was exchanged");
    // The cookie is gone with the first answer.
    let answer = browser.back(&wrong["state"], "&code=c");
    refused(&browser, &answer, 400, not_begun);
    for state in ["", "&state=x"] {
        refused(&browser, &browser.back(state, "&code=c"), 400, not_begun);
    }
    let begun = browser.begin();
    let (name, value) = browser.cookie("state").expect("a state");
    console.vouches(&begun["nonce"], &json!({}));
    assert_eq!(browser.back(&begun["state"], "&code=c").status, 303);
    other.plant(&name, &value);
    let again = other.back(&begun["state"], "&code=c");
    refused(&other, &again, 400, "used already");
    console.end();
}

#[test]
fn tokens_of_others_let_nobody_in() {
    let console = Console::start(&json!({}));
    let browser = Browser::of(&console);
    let tries = |changes: Value| {
        let begun = browser.begin();
        console.vouches(&begun["nonce"], &changes);
        browser.back(&begun["state"], "&code=c")
    };
    for (changes, words) in [
        (json!({"nonce": "of-another-sign-in"}), "nonce"),
        (json!({"nonce": null}), "nonce"),
        (json!({"aud": "home-app"}), "audience"),
        (json!({"aud": ["home-app"], "azp": "console"}), "audience"),
        (json!({"exp": 1, "iat": 1}), "expired"),
        (json!({"iss": "https://evil.example"}), "issuer"),
    ] {
        let answer = tries(changes.clone());
        refused(&browser, &answer, 502, words);
    }
    for changes in [
        json!({"groups": ["staff", "operators2"], "sub": "<eve>"}),
        json!({"groups": "Operators", "sub": "<eve>"}),
        json!({"groups": {"operators": true}, "sub": "<eve>"}),
        json!({"groups": null, "sub": "<eve>"}),
    ] {
        let answer = tries(changes);
        refused(&browser, &answer, 403, "may not use the console");
        #[rustfmt::skip] // a list
        let cases = ["&lt;eve&gt;", &*console.provider.issuer, "groups = operators"];
        for words in cases {
            assert!(answer.text().contains(words), "{words}: {}", answer.text());
        }
    }
    #[rustfmt::skip] // a list
    let texts = ["not admitted to the console", "<eve>", &console.provider.issuer];
    assert!(!console.service.broker.logged(&texts, 1).is_empty());
    console.end();
}

#[test]
fn what_the_provider_refuses_is_said_in_plain_words() {
    let console = Console::start(&json!({}));
    let browser = Browser::of(&console);
    let begun = browser.begin();
    let answer = browser.back(
        &begun["state"],
        "&error=access_denied&error_description=%3Cb%3E",
    );
    refused(&browser, &answer, 403, "access_denied");
    assert!(!answer.text().contains("<b>"));
    let begun = browser.begin();
    let answer = browser.back(&begun["state"], "&error=%3Cscript%3E");
    refused(&browser, &answer, 403, "without a reason");
    let foreign = "&code=c&iss=https%3A%2F%2Fevil.example";
    let begun = browser.begin();
    refused(
        &browser,
        &browser.back(&begun["state"], foreign),
        502,
        "another provider",
    );
    let begun = browser.begin();
    refused(&browser, &browser.back(&begun["state"], ""), 502, "no code");
    let begun = browser.begin();
    let twice = "&code=c&code=d";
    refused(
        &browser,
        &browser.back(&begun["state"], twice),
        502,
        "no code",
    );
    assert!(console.provider.posted().is_none(), "no code was exchanged");
    let begun = browser.begin();
    let used = json!({"error": "invalid_grant", "error_description": "<b>used</b>"});
    console.provider.publish_token(400, &used);
    let answer = browser.back(&begun["state"], "&code=used");
    refused(&browser, &answer, 502, "status 400, invalid_grant");
    let begun = browser.begin();
    console
        .provider
        .publish_token(200, &json!({"access_token": "t"}));
    refused(
        &browser,
        &browser.back(&begun["state"], "&code=c"),
        502,
        "no id_token",
    );
    console.end();
}

/// Nothing is new where none are configured.
#[test]
fn without_accounts_there_are_no_such_pages() {
    let broker = crate::process::Broker::dev(1);
    for path in ["/account", "/account/sign-in", "/account/callback"] {
        assert_eq!(crate::http::get(broker.admin, path).status, 404, "{path}");
    }
}
