//! The fuzz entry of this module. A fuzz target calls it, and so does a test with seeded inputs.

use super::operation::{Call, Operation, parse};
use super::{Rules, Selector, TAGS_MAX, error_body};

/// Parses `data` (its first byte picks operation and rules, the rest is the body) and checks what must hold of any result.
///
/// # Panics
/// When a call breaks its documented bounds, or an error cannot be shown to its caller.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let rules = Rules {
        strict: choice & 0x80 != 0,
    };
    let Some(&operation) = Operation::ALL.get(usize::from(choice & 0x7f) % Operation::ALL.len())
    else {
        return;
    };
    match parse(operation, &mut body.to_vec(), &rules) {
        Ok(call) => check(operation, &call, rules),
        Err(error) => {
            assert!((400..500).contains(&error.kind.status(operation.family())));
            assert!(error.message.ends_with('.') && error.message.is_ascii());
            error_body(&mut Vec::new(), Some(operation), &error.message);
        }
    }
}

fn check(operation: Operation, call: &Call, rules: Rules) {
    assert_eq!(call.operation(), operation);
    if let Some(arn) = call.arn() {
        assert!(
            arn.as_str()
                .starts_with(if rules.strict { "arn:aws:" } else { "arn:" })
        );
        assert!(arn.as_str().len() <= 1024 && arn.as_str().is_ascii());
    }
    assert!(call.channel_name().is_none_or(|name| !name.is_empty()));
    match call {
        Call::Create(create) => {
            assert!((5..=120).contains(&create.ttl_seconds) && create.tags.len() <= TAGS_MAX);
        }
        Call::Describe(describe) => match &describe.channel {
            Selector::ByName(name) => assert!(name.as_str().len() <= 256),
            Selector::ByArn(_) => {}
        },
        Call::List(list) => assert!((1..=super::LIST_ENTRIES_MAX).contains(&list.entries_max)),
        Call::Delete(delete) => {
            assert!(
                delete
                    .version
                    .as_ref()
                    .is_none_or(|version| (1..=64).contains(&version.len()))
            );
        }
        Call::Endpoint(endpoint) => assert!((1..=2).contains(&endpoint.protocols.len())),
        Call::Ice(ice) => assert!((1..=256).contains(&ice.credential_name().len())),
        Call::Alexa(alexa) => assert!((1..=10_000).contains(&alexa.payload.len())),
    }
}
