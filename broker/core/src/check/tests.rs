use super::*;
use std::collections::BTreeSet;

#[test]
fn every_check_has_its_number_id_sentence_and_remedy() {
    let mut texts = BTreeSet::new();
    for (number, &check) in Check::ALL.iter().enumerate() {
        assert_eq!(check.index(), number, "{check:?}");
        assert_eq!(Check::of_index(u8::try_from(number).unwrap()), Some(check));
        assert_eq!(check.id().parse(), Ok(check));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(check.id().bytes().all(plain), "{}", check.id());
        for text in [check.says(), check.remedy()] {
            assert!(text.ends_with('.') && text.len() < 260, "{check:?}: {text}");
            let fine = !text.contains('\n') && !text.contains("  ");
            assert!(fine, "{check:?}: {text}");
        }
        assert!(texts.insert(check.says()) && texts.insert(check.id()));
    }
    assert_eq!(Check::of_index(u8::try_from(CHECKS).unwrap()), None);
}

#[test]
fn ids_are_those_that_were_sent_before() {
    for (number, id) in [
        (0, "http_malformed"),
        (18, "signature_missing"),
        (32, "signature_mismatch"),
        (36, "channel_absent"),
        (59, "internal_failure"),
        (60, "fault_injected"),
        (61, "connections_full"),
        (62, "handshakes_full"),
        (63, "tls_expected"),
        (64, "owner_unreachable"),
        (67, "list_incomplete"),
        (69, "absence_unknown"),
        (70, "tls_distrusted"),
        (73, "tls_left"),
        (80, "web_token_invalid"),
        (81, "rate_address"),
        (82, "thing_certificate"),
        (85, "thing_host"),
        (86, "thing_clock"),
        (87, "proxy_unexpected"),
        (89, "proxy_malformed"),
        (90, "endpoint_unadvertised"),
        (91, "whep_token_elsewhere"),
        (98, "whep_full"),
    ] {
        assert_eq!(Check::of_index(number).map(Check::id), Some(id));
    }
}

#[test]
fn counts_are_kept_apart_and_added() {
    let mut one = ByCheck::default();
    one.count(Check::Draining);
    one.count(Check::Draining);
    one.count(Check::InternalFailure);
    let mut sum = one.clone();
    sum.add(&one);
    let counted: Vec<_> = sum.each().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(Check::Draining, 4), (Check::InternalFailure, 2)]);
}
