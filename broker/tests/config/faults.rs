//! Errors of a configuration file, with their whole lines.

use super::{check, without_flags};
use crate::cases::{Case, cases};

#[test]
fn every_fault_names_place_key_value_and_what_is_allowed() {
    let broken: Vec<Case> = cases(include_str!("../data/broken_values.txt")).collect();
    assert!(broken.len() >= 90);
    for (text, _, expected) in broken {
        let error = check(&text).expect_err(&text).to_string();
        assert_eq!(error, expected.join("\n"), "for {text}");
    }
}

#[test]
fn all_faults_are_listed_in_order() {
    let error =
        check("shards = 0|x = 1|[limits]|payload_bytes = 0|[timeouts]|idle = 'x'").unwrap_err();
    let keys: Vec<_> = error
        .faults()
        .iter()
        .map(|fault| fault.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["shards", "x", "limits.payload_bytes", "timeouts.idle"]
    );
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn no_text_makes_the_reader_panic() {
    let whole = include_str!("../../../deploy/broker.toml").replace("\n#", "\n");
    for end in (0..whole.len())
        .step_by(7)
        .filter(|end| whole.is_char_boundary(*end))
    {
        let _ = without_flags(&whole[..end]);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(b' '..127);
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = without_flags(&text);
        }
    }
}
