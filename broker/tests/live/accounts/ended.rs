//! Sessions that end because their account is let in no more.

use super::browser::{Browser, Console, read_to_end};
use serde_json::json;
use testkit::until_true;

fn ends(browser: &Browser<'_>) {
    until_true("the end of the session", || browser.overview() == 401);
}

#[test]
fn another_claim_ends_sessions_and_their_streams() {
    let console = Console::start(&json!({}));
    let browser = console.signed_in();
    let stream = browser.stream();
    // A file that is wrong changes nothing.
    console.configure("[admin.oidc]\nclaim = 7\n");
    console.service.broker.signal("HUP");
    console
        .service
        .broker
        .logged(&["the table of accounts stays as it was"], 1);
    assert_eq!(browser.overview(), 200);
    console.configure(&console.rule("heads"));
    console.service.broker.signal("HUP");
    ends(&browser);
    read_to_end(stream);
    console
        .service
        .broker
        .logged(&["a session of the console ended", "ada@example.com"], 1);
    // And the new one is in force.
    let begun = browser.begin();
    console.vouches(&begun["nonce"], &json!({}));
    let back = browser.back(&begun["state"], "&code=c");
    assert!(back.text().contains("groups = heads"), "{}", back.text());
    let begun = browser.begin();
    console.vouches(&begun["nonce"], &json!({"groups": ["heads"]}));
    assert_eq!(browser.back(&begun["state"], "&code=c").status, 303);
    assert_eq!(browser.overview(), 200);
    // Without the table nobody is let in.
    console.configure("");
    console.service.broker.signal("HUP");
    ends(&browser);
    assert_eq!(browser.get("/account/sign-in").status, 503);
    console.end();
}

#[test]
fn a_provider_that_is_taken_out_ends_its_sessions() {
    let console = Console::start(&json!({}));
    let browser = console.signed_in();
    console.forget_provider();
    console.service.broker.signal("HUP");
    ends(&browser);
    assert_eq!(
        browser.account(),
        json!({"provider": null, "account": null})
    );
    console.end();
}

#[test]
fn a_sign_in_under_way_is_over_when_the_rule_changes() {
    let console = Console::start(&json!({}));
    let browser = Browser::of(&console);
    let begun = browser.begin();
    console.configure(&console.rule("staff"));
    console.service.broker.signal("HUP");
    console
        .service
        .broker
        .logged(&["table of accounts reloaded"], 1);
    console.vouches(&begun["nonce"], &json!({}));
    let back = browser.back(&begun["state"], "&code=c");
    assert_eq!(back.status, 409, "{}", back.text());
    assert!(back.text().contains("changed meanwhile"), "{}", back.text());
    assert!(console.provider.posted().is_none(), "no code was exchanged");
    console.end();
}
