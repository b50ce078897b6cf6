//! After warm-up a verification allocates nothing.

use super::support::{Call, Shard, Signer};
use codec::http::{Head, HeadLimits};

#[test]
fn verifying_allocates_nothing_after_warm_up() {
    let signer = Signer {
        token: Some("t+/=".repeat(200)),
        ..Signer::default()
    };
    let upgrade = || {
        Call::new("GET", "/", "")
            .pair("X-Amz-ChannelARN", "arn:aws:kinesisvideo:x/y")
            .pair("X-Amz-ClientId", "v")
    };
    let presigned = signer.presign(upgrade(), 299).head();
    let sloppy = presigned.replace("%3A", ":");
    let signed = signer
        .sign(Call::new("POST", "/describeSignalingChannel", "{}"))
        .head();
    let forged = signed
        .replace("Signature=", "Signature=00")
        .replace("00\r", "\r");
    assert!(presigned != sloppy && signed != forged);
    let mut shard = Shard::new();
    let late = signer.rules_at(signer.time + 86_400);
    for round in 0..3 {
        for (head, body, rules) in [
            (&presigned, "", signer.rules()),
            (&sloppy, "", signer.rules()),
            (&signed, "{}", signer.rules()),
            (&signed, "{ }", signer.rules()),
            (&forged, "{}", signer.rules()),
            (&signed, "{}", late),
        ] {
            let head = Head::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
            for key in [Some(signer.key()), None] {
                let counted = allocation_counter::measure(|| {
                    let claim = shard.verifier.read(&head, &rules);
                    let _ = claim.and_then(|claim| {
                        claim
                            .verify(key.as_ref(), body.as_bytes(), &mut shard.keys)
                            .map(drop)
                    });
                });
                assert!(round == 0 || counted.count_total == 0, "{counted:?}");
            }
        }
    }
    // The counter counts: a table that has to derive allocates.
    let head = Head::parse(presigned.as_bytes(), &HeadLimits::default()).unwrap();
    shard.keys.clear();
    let counted = allocation_counter::measure(|| {
        let claim = shard.verifier.read(&head, &signer.rules()).unwrap();
        let _ = claim.verify(Some(&signer.key()), b"", &mut shard.keys);
    });
    assert!(counted.count_total > 0);
}
