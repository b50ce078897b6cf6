//! Fuzz entry point for policies. Checks that parsing and evaluating a policy never panics, whatever the input.

use crate::policy::{Action, Policy, Request};

/// Parses `data` as a policy document and evaluates a request against it.
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
