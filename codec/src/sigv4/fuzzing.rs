//! Fuzz entry point for signatures. Checks that no request causes a panic and that no unsigned request is accepted.

use crate::http::{Head, HeadLimits};
use crate::sigv4::{AccessKey, RequestRules, Service, SigningKeys, Verifier};

/// Verifies `data`, a request head followed by its body, once with a key from the test vectors and once without a key.
///
/// # Panics
/// Panics if the key is ignored, or if an error response contains characters that need escaping.
pub fn fuzz(data: &[u8]) {
    let limits = HeadLimits::default();
    let end = data.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = data.split_at(end.map_or(data.len(), |end| end + 4));
    let Ok(head) = Head::parse(head, &limits) else {
        return;
    };
    let mut verifier = Verifier::new();
    let mut keys = SigningKeys::new(8);
    for now_s in [1_767_323_055, 1_795_151_075] {
        let rules = RequestRules {
            service: Service::KinesisVideo,
            region: None,
            now_s,
            clock_tolerance_s: 300,
            empty_token_is_none: true,
        };
        let key = AccessKey {
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: None,
            expires_s: None,
            clock_tolerance_s: Some(86_400),
        };
        for key in [Some(&key), None] {
            let verdict = verifier.read(&head, &rules).and_then(|claim| {
                assert!(!claim.access_key_id().is_empty() && !claim.region().is_empty());
                claim.verify(key, body, &mut keys)
            });
            match verdict {
                Ok(verified) => assert!(
                    key.is_some(),
                    "{} is let in without a key",
                    verified.access_key_id
                ),
                Err(refusal) => {
                    let text = refusal.to_string();
                    let plain = text
                        .bytes()
                        .all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\<>&".contains(&byte));
                    assert!(plain && matches!(refusal.status(), 400 | 403), "{text}");
                }
            }
        }
        assert!(keys.len() <= 8);
    }
}
