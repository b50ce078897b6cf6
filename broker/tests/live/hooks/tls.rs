//! `heliograph hook-test`, and the way to a receiver over TLS: the command names what is wrong. Another broker stands
//! for the receiver: of what it answers, `status 404` says that TLS was right.

use super::receiver::{Receiver, ok};
use super::{BOTH, broker_of};
use crate::listeners::tls::Identity;
use crate::process::{Broker, run_to_end, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

#[test]
fn the_command_tells_what_the_receiver_did() {
    let plain = Receiver::start(ok);
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    // No broker starts with a certificate that has expired: this one does while it runs.
    let end = now + Duration::from_secs(10);
    let old = Identity::valid("localhost", now - 9 * day, end);
    let expired = old.serve(1, "");
    let (identity, ours) = (Identity::new("localhost"), Identity::new("ours"));
    let strict = identity.serve(1, &format!("client_ca = {:?}\n", ours.ca));
    let url = |broker: &Broker| format!("https://localhost:{}/", broker.tls.port());
    fs::set_permissions(&ours.key, fs::Permissions::from_mode(0o600)).expect("our file");
    let trusting = format!("{BOTH}\nca = {:?}", identity.ca);
    let with_own = format!(
        "{trusting}\nclient_cert = {:?}\nclient_key = {:?}",
        ours.cert, ours.key
    );
    let trusting_old = format!("{BOTH}\nca = {:?}", old.ca);
    let broker = broker_of(
        &[
            ("plain", &plain.url("/"), BOTH),
            ("shown", &url(&strict), &with_own),
            ("unshown", &url(&strict), &trusting),
            ("unknown", &url(&strict), BOTH),
            ("expired", &url(&expired), &trusting_old),
            ("absent", "http://127.0.0.1:1/", BOTH),
        ],
        1,
    );
    let admin = format!("http://{}", broker.admin);
    until("its end", || {
        (SystemTime::now() > end + Duration::from_secs(1)).then_some(())
    });
    for (hook, code, text) in [
        ("plain", 0, ""),
        ("shown", 1, "not delivered: status 404"),
        ("unshown", 1, "CertificateRequired"),
        ("unknown", 1, "UnknownIssuer"),
        ("expired", 1, "certificate expired"),
        ("absent", 1, "Connection refused"),
        ("other", 1, "404: no such hook: there are plain, shown"),
    ] {
        let (ended, told) = run_to_end(&["hook-test", hook, "--admin", &admin]);
        assert_eq!(ended, Some(code), "{hook}: {told}");
        assert!(told.contains(text), "{hook}: {told}");
    }
    plain.next("hook.test");
    let (ended, told) = run_to_end(&["hook-test", "plain", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(ended, Some(1), "{told}");
    assert!(told.contains("is it running?"), "{told}");
}
