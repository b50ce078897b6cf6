//! Entry point of fuzzers and the seeded test, which check that no text causes a panic in parsing or deciding.

use crate::policy::{Action, Policy, Request};

/// Parses `data` as a document and evaluates a request against it.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(policy) = Policy::parse(&text) else {
        return;
    };
    for action in Action::ALL {
        for client_id in [None, Some("viewer-1")] {
            let resource = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
            let request = Request {
                action,
                resource,
                client_id,
                context: &(),
            };
            let _ = policy.decide(&request, &mut 0, &mut None);
        }
    }
}
