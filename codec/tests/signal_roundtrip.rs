//! Texts that one end writes and the other reads: requests, deliveries, status responses, whole frames through the
//! WebSocket codec.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use codec::signal::client::{EventParser, Outgoing};
use codec::signal::{Action, Delivery, GO_AWAY, MessageRules, Parser, RECONNECT_ICE_SERVER, Role};
use codec::ws::{Item, Receiver, Side};

/// The text of the one frame in `bytes`.
fn text_of(side: Side, bytes: &mut [u8]) -> String {
    let mut receiver = Receiver::new(side);
    let rules = codec::ws::FrameRules {
        message_bytes: 100_000,
        fragments: 1,
    };
    let whole = bytes.len();
    match receiver.next(&rules, bytes).unwrap() {
        (used, Some(Item::Message { payload, .. })) if used == whole => {
            String::from_utf8(payload.to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_client_writes_the_service_reads_and_back() {
    for bytes in [1, 60, 100, 5000, 30_000] {
        let payload = "B".repeat(bytes);
        let outgoing = Outgoing {
            action: Action::SdpAnswer,
            payload: &payload,
            recipient: Some("v1"),
            correlation_id: Some("c_1"),
        };
        let (mut frame, mut scratch) = (Vec::new(), Vec::new());
        outgoing.write(&mut frame, &mut scratch, [1, 2, 3, 4]);
        let mut text = text_of(Side::Server, &mut frame).into_bytes();
        let mut parser = Parser::new();
        let request = parser
            .parse(&mut text, Role::Master, &MessageRules::DEFAULT)
            .unwrap();
        assert_eq!(request.recipient.unwrap().as_str(), "v1");
        let mut frame = Vec::new();
        Delivery {
            action: request.action,
            payload: request.payload,
            sender: Some("s"),
        }
        .write(&mut frame);
        let mut text = text_of(Side::Client, &mut frame).into_bytes();
        let mut events = EventParser::new();
        let event = events.parse(&mut text).unwrap();
        let found = (event.message_type, event.payload, event.sender);
        assert_eq!(found, (Some("SDP_ANSWER"), Some(&*payload), Some("s")));
    }
    for (frame, name) in [
        (GO_AWAY, "GO_AWAY"),
        (RECONNECT_ICE_SERVER, "RECONNECT_ICE_SERVER"),
    ] {
        let text = text_of(Side::Client, &mut frame.to_vec());
        assert_eq!(text, format!(r#"{{"messageType":"{name}"}}"#));
    }
}

#[test]
fn a_client_reads_a_status_response() {
    let mut frame = Vec::new();
    let id = codec::identifiers::CorrelationId::parse("c1").unwrap();
    codec::signal::status_response(&mut frame, id, "InternalFailure", 500, "Internal failure.");
    let mut text = text_of(Side::Client, &mut frame).into_bytes();
    let mut parser = EventParser::new();
    let event = parser.parse(&mut text).unwrap();
    let status = event.status.unwrap();
    assert_eq!(event.message_type, Some("STATUS_RESPONSE"));
    let found = (status.correlation_id, status.error_type);
    assert_eq!(found, (Some("c1"), Some("InternalFailure")));
    let found = (status.status_code, status.description);
    assert_eq!(found, (Some("500"), Some("Internal failure.")));
    for text in ["", "not json", "[1]", "{\"messageType\":5}"] {
        let mut bytes = text.as_bytes().to_vec();
        let event = EventParser::new()
            .parse(&mut bytes)
            .map(|event| event.message_type.is_some());
        assert_eq!(event, text.starts_with('{').then_some(false));
    }
}
