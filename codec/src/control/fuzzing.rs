//! Fuzz entry point for the API's body parser. Used by a fuzz target and by a test with seeded inputs.

use crate::control::call::{Call, parse};
use crate::control::{BodyRules, Operation, Selector, StreamSelector, TAGS_MAX, error_body};

/// Parses `data` and checks the invariants of the result. The first byte selects the operation and the rules.
///
/// # Panics
/// Panics if a parsed call exceeds its documented limits, or if an error has an unexpected status or text.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let rules = BodyRules {
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

fn check(operation: Operation, call: &Call, rules: BodyRules) {
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
        Call::Describe(channel) | Call::MediaStorage(channel) => match channel {
            Selector::ByName(name) => assert!(name.as_str().len() <= 256),
            Selector::ByArn(_) => {}
        },
        Call::List(list) => {
            assert!((1..=crate::control::LIST_ENTRIES_MAX).contains(&list.entries_max))
        }
        Call::Update(update) => {
            assert!((1..=64).contains(&update.version.len()));
            assert!((5..=120).contains(&update.ttl_seconds));
        }
        Call::Tag(tag) => assert!((1..=TAGS_MAX).contains(&tag.tags.len())),
        Call::Untag(untag) => {
            assert!((1..=TAGS_MAX).contains(&untag.keys.len()));
            let fits = |key: &str| (1..=128).contains(&key.chars().count());
            assert!(untag.keys.iter().all(|key| fits(key)));
        }
        Call::MappedResource(mapped) => match &mapped.stream {
            StreamSelector::ByName(name) => assert!((1..=256).contains(&name.as_str().len())),
            StreamSelector::ByArn(arn) => assert!(arn.contains(":stream/") && arn.len() <= 1024),
        },
        Call::JoinAsViewer(join) => assert!((1..=256).contains(&join.client_id.as_str().len())),
        Call::ListTags(_) | Call::UpdateMediaStorage(_) | Call::Join(_) => {}
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
