use super::{document, *};
use serde_json::json;

fn read(value: &Value) -> Result<FaultRule, String> {
    Body::parse(value.to_string().as_bytes()).and_then(parse)
}

#[test]
fn every_act_is_read_where_it_belongs_and_refused_elsewhere() {
    #[rustfmt::skip] // a table, a case per row
    let acts = [
        ("refuse", json!({ "error": "AccessDeniedException" }), "connect api"),
        ("throttle", json!({}), "connect api"),
        ("delay", json!("3s"), "connect api message delivery"),
        ("hang", json!(true), "connect api"),
        ("reset", json!(true), "connect api message delivery session"),
        ("drop", json!(true), "message delivery"),
        ("status", json!({ "errorType": "InternalFailure", "statusCode": 500 }), "message"),
        ("expire", json!(true), "message"),
        ("duplicate", json!(true), "delivery"),
        ("reorder", json!(true), "delivery"),
        ("corrupt", json!("base64"), "delivery"),
        ("misdirect", json!("phone-2"), "message"),
        ("goAway", json!({ "grace": "5s" }), "message delivery session"),
        ("close", json!({ "code": 1001, "reason": "bye", "after": "2s" }), "message delivery session"),
        ("stall", json!(true), "message delivery session"),
        ("reconnectIce", json!(true), "message delivery session"),
        ("send", json!("empty"), "message delivery session"),
    ];
    for (name, how, places) in acts {
        for on in ["connect", "api", "message", "delivery", "session"] {
            let rule = read(&json!({ "on": on, "do": { name: how } }));
            let belongs = places.split(' ').any(|place| place == on);
            assert_eq!(rule.is_ok(), belongs, "{on} {name}: {rule:?}");
        }
    }
}

/// The console offers everything that the parser accepts, and nothing else.
#[test]
fn all_that_is_listed_as_allowed_is_read() {
    let allowed = document();
    let names = |of: &Value| -> Vec<String> {
        let of = of.as_array().unwrap();
        of.iter().map(|it| it.as_str().unwrap().into()).collect()
    };
    for on in allowed["on"].as_array().unwrap() {
        let (place, acts) = (&on["name"], on["do"].as_array().unwrap());
        for act in acts {
            read(&json!({ "on": place, "do": act })).unwrap();
        }
        let refused = read(&json!({ "on": place, "do": "nothing" })).unwrap_err();
        let in_words = refused.split_once("expected ").unwrap().1;
        assert_eq!(in_words.split(", ").count(), acts.len(), "{refused}");
        let keys = names(&on["match"]);
        for key in ["channel", "role", "clientId", "operation", "action"] {
            let values = allowed.get(key).map_or_else(|| vec!["x".into()], names);
            for value in values {
                let rule = json!({ "on": place, "match": { key: value }, "do": acts[0] });
                let is_listed = keys.iter().any(|it| it == key);
                assert_eq!(read(&rule).is_ok(), is_listed, "{rule}");
            }
        }
    }
    for error in names(&allowed["error"]) {
        read(&json!({ "on": "api", "do": { "refuse": { "error": error } } })).unwrap();
    }
}

#[test]
fn a_fault_is_read_whole() {
    let rule = read(&json!({
        "on": "api",
        "match": { "channel": "cam-*", "operation": "GetIceServerConfig" },
        "do": { "refuse": { "error": "AccessDeniedException", "message": "No." } },
        "skip": 2, "times": "always", "for": "60s", "probability": 0.5, "seed": 7,
    }))
    .unwrap();
    let refuse = RequestAct::Refuse {
        error: FaultError::named("AccessDeniedException").unwrap(),
        status: None,
        message: "No.".into(),
    };
    assert_eq!(rule.act, FaultAct::Api(refuse));
    assert_eq!(rule.skip, 2);
    assert_eq!(rule.times, None);
    assert_eq!(rule.lasts_ms, Some(60_000));
    assert_eq!(
        rule.chance,
        Some(Chance {
            seed: 7,
            of_2_32: 1 << 31
        })
    );
    assert_eq!(rule.matches.operation, Some(Operation::GetIceServerConfig));
    let rule = read(&json!({ "on": "message", "do": "drop" })).unwrap();
    assert_eq!((rule.skip, rule.times), (0, Some(1)));
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    for (fault, starts) in WRONG {
        let text = Body::parse(fault.as_bytes()).and_then(parse).unwrap_err();
        assert!(text.starts_with(starts), "{fault}: {text}");
    }
}

#[test]
fn what_is_misspelt_is_named_with_the_nearest() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (r#"{"on":"mesage","do":"drop"}"#, "message"),
        (r#"{"on":"message","do":"expires"}"#, "expire"),
        (r#"{"on":"message","do":"drop","tiems":3}"#, "times"),
        (r#"{"on":"session","do":"go_away"}"#, "goAway"),
        (r#"{"on":"message","do":"drop","match":{"client_id":"x"}}"#, "clientId"),
        (r#"{"on":"api","do":"hang","match":{"operation":"CreateSignallingChannel"}}"#, "CreateSignalingChannel"),
        (r#"{"on":"api","do":{"refuse":{"error":"Throttling"}}}"#, "ThrottlingException"),
    ];
    for (fault, nearest) in cases {
        let text = Body::parse(fault.as_bytes()).and_then(parse).unwrap_err();
        assert!(
            text.ends_with(&format!("; the nearest is {nearest}")),
            "{fault}: {text}"
        );
    }
}

#[rustfmt::skip] // a table with a request and its response per entry
const WRONG: &[(&str, &str)] = &[
    (r#"{}"#, "on: missing; expected connect,"),
    (r#"{"on":"upgrade","do":"drop"}"#, "on = \"upgrade\": expected connect,"),
    (r#"{"on":"message"}"#, "do: missing; expected drop, delay, status, expire"),
    (r#"{"on":"message","do":{"drop":true,"expire":true}}"#, "do: expected one of"),
    (r#"{"on":"message","do":"refuse"}"#, "do.refuse: not with this \"on\"; expected drop,"),
    (r#"{"on":"message","do":{"delay":"11m"}}"#, "do.delay = \"11m\": expected a duration"),
    (r#"{"on":"message","do":"delay"}"#, "do.delay: expected a duration"),
    (r#"{"on":"message","do":"drop","time":1}"#, "time: unknown key; expected on, match,"),
    (r#"{"on":"message","do":"drop","times":0}"#, "times = 0: expected 1 to 1000000"),
    (r#"{"on":"message","do":"drop","skip":-1}"#, "skip = -1: expected 0 to 1000000"),
    (r#"{"on":"message","do":"drop","for":"0s"}"#, "for = \"0s\": expected a duration"),
    (r#"{"on":"message","do":"drop","probability":0.1}"#, "probability: needs seed"),
    (r#"{"on":"message","do":"drop","probability":2,"seed":1}"#, "probability = 2: must be"),
    (r#"{"on":"message","do":"drop","match":{"role":"both"}}"#, "match.role = \"both\": expected"),
    (r#"{"on":"message","do":"drop","match":{"rolle":"x"}}"#, "match.rolle: unknown key; expected"),
    (r#"{"on":"message","do":"drop","match":[]}"#, "match = []: must be an object"),
    (r#"{"on":"api","do":"hang","match":{"action":"SDP_OFFER"}}"#, "match.action: not with"),
    (r#"{"on":"api","do":{"refuse":{}}}"#, "do.refuse: expected error, status"),
    (r#"{"on":"api","do":{"refuse":{"error":"Nope"}}}"#, "do.refuse.error = \"Nope\": expected A"),
    (r#"{"on":"api","do":{"refuse":{"status":200}}}"#, "do.refuse.status = 200: expected 400"),
    (r#"{"on":"api","do":{"hang":{"for":1}}}"#, "do.hang.for: unknown key"),
    (r#"{"on":"session","do":{"close":{"code":1006}}}"#, "do.close.code: expected 1000 to"),
    (r#"{"on":"session","do":"send"}"#, "do.send: missing; expected \"empty\""),
    (r#"{"on":"session","do":{"send":"full"}}"#, "do.send = \"full\": "),
    (r#"{"on":"message","do":"misdirect"}"#, "do.misdirect: missing; expected a client id"),
    (r#"{"on":"message","do":{"misdirect":"a b"}}"#, "do.misdirect = \"a b\": must be a client"),
    (r#"{"on":"delivery","do":{"corrupt":"sdp"}}"#, "do.corrupt = \"sdp\": expected payload, base64, message"),
];
