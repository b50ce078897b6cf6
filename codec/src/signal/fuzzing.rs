//! Fuzz entry point for messages. Checks that the flat scanner and simd-json agree, and that no input causes a panic.

use crate::base64;
use crate::json::TapeReader;
use crate::signal::client::EventParser;
use crate::signal::{Delivery, Fault, FaultKind, MessageRules, Parser, Request, Role, judge};

/// Parses `data` as a message, with the scanner and with simd-json, in both roles and under both profiles.
///
/// # Panics
/// Panics if the two readers disagree, or if a request violates its invariants.
pub fn fuzz(data: &[u8]) {
    // The WebSocket layer passes on only valid UTF-8.
    let text = String::from_utf8_lossy(data).into_owned();
    let (mut parser, mut tape) = (Parser::new(), TapeReader::default());
    for role in [Role::Master, Role::Viewer] {
        for rules in [
            MessageRules::DEFAULT,
            MessageRules::STRICT,
            MessageRules {
                payload_bytes: 8,
                url_safe: true,
                master_offers: true,
            },
        ] {
            let (mut ours, mut theirs) = (text.clone().into_bytes(), text.clone().into_bytes());
            let both = parser.parse(&mut ours, role, &rules);
            let oracle = match tape.members(&mut theirs) {
                Some(members) => judge(&members, &mut theirs, role, &rules),
                None => Err(Fault {
                    kind: FaultKind::NotJson,
                    correlation_id: None,
                }),
            };
            assert_eq!(both, oracle, "the readers disagree on {text:?}");
            if let Ok(request) = both {
                check(&request, role, &rules);
            }
        }
    }
    let _ = EventParser::new().parse(&mut text.into_bytes());
}

fn check(request: &Request<'_>, role: Role, rules: &MessageRules) {
    assert!((1..=rules.payload_bytes).contains(&request.payload.len()));
    assert!(
        request
            .payload
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
    );
    assert_eq!(request.recipient.is_some(), role == Role::Master);
    let sender = request.recipient.map(|id| id.as_str());
    let delivery = Delivery {
        action: request.action,
        payload: request.payload,
        sender,
    };
    let mut frame = Vec::new();
    delivery.write(&mut frame);
    assert_eq!(frame.len(), delivery.frame_bytes());
    let header_bytes = memchr::memmem::find(&frame, b"{\"messagePayload").unwrap_or_default();
    let mut parser = EventParser::new();
    let event = frame
        .get_mut(header_bytes..)
        .and_then(|text| parser.parse(text));
    let event = event.unwrap_or_default();
    assert_eq!(event.message_type, Some(request.action.as_str()));
    assert_eq!(
        (event.payload, event.sender),
        (Some(base64::text(request.payload)), sender)
    );
}
