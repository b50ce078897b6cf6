//! Upgrades whose path was signed otherwise than it is asked for, and what operators learn of refused requests.

use super::support::{Call, EMPTY, SECRET, Shard, Signer, signature};
use codec::http::{Head, HeadLimits};
use codec::sigv4::{AccessKey, Refusal, SignedAs};

const HOST: &str = "m-0a1b2c3d.example.test:8443";
const NAME: &str = "m-0a1b2c3d.example.test";

/// A presigned URL, signed with this path and host, as its request asks for another path at [`HOST`].
fn sent(signer: &Signer, (path, host): (&str, &str), asked: &str) -> String {
    let call = Call::new("GET", path, "").pair("X-Amz-ChannelARN", "arn:aws:x/y");
    let call = call.pair("X-Amz-ClientId", "v1").header("host", host);
    let mut call = signer.presign(call, 60);
    call.headers.clear();
    call.path = asked.to_owned();
    call.head()
}

/// The same request, its channel's ARN unescaped also in what is signed.
fn unescaped(head: &str, path: &str, host: &str) -> String {
    let head = head.replace("arn%3Aaws%3Ax%2Fy", "arn:aws:x/y");
    let (query, _) = head.split_once('?').unwrap().1.split_once(' ').unwrap();
    let (signatures, mut pairs): (Vec<_>, Vec<_>) =
        (query.split('&')).partition(|pair| pair.starts_with("X-Amz-Signature="));
    pairs.sort_unstable();
    let query = pairs.join("&");
    let signature = signature(&format!(
        "GET\n{path}\n{query}\nhost:{host}\n\nhost\n{EMPTY}"
    ));
    head.replace(signatures[0], &format!("X-Amz-Signature={signature}"))
}

/// The path that an upgrade is found to be signed with.
fn verify(shard: &mut Shard, head: &str, key: Option<&AccessKey<'_>>) -> Result<String, Refusal> {
    let head = Head::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
    let rules = Signer::default().rules();
    let claim = shard.verifier.read(&head, &rules)?.of_upgrade();
    let verified = claim.verify(key, b"", &mut shard.keys)?;
    Ok(verified.path.to_owned())
}

#[test]
fn an_upgrade_may_be_signed_with_the_path_of_its_endpoint_or_without_it() {
    let lasting = Signer::default();
    let brief = Signer {
        token: Some("token+/=".repeat(200)),
        ..Signer::default()
    };
    let mut shard = Shard::new();
    let with_path = |path: &str| [HOST, path].concat();
    for signer in [&lasting, &brief] {
        for (path, host, asked, role) in [
            ("/viewer", HOST, "/viewer", Some("/viewer")),
            ("/", HOST, "/", Some("/")),
            ("/viewer", HOST, "/viewer/", Some("/viewer")),
            ("/", HOST, "/viewer/", Some("/")),
            ("/", HOST, "/viewer", Some("/")),
            ("/viewer/", HOST, "/", Some("/viewer/")),
            ("/viewer", HOST, "/", Some("/viewer")),
            ("/master", HOST, "/", Some("/master")),
            ("/master/", HOST, "/", Some("/master/")),
            ("/", &with_path("/viewer"), "/viewer", Some("/viewer")),
            ("/", &with_path("/viewer"), "/viewer/", Some("/viewer")),
            ("/", &with_path("/master"), "/master", Some("/master")),
            ("/master", HOST, "/master/", Some("/master")),
            ("/master/", HOST, "/master", Some("/master/")),
            ("/master", NAME, "/master/", Some("/master")),
            ("/viewer", NAME, "/viewer", Some("/viewer")),
            // What was only asked for says nothing.
            ("/", HOST, "/master", Some("/")),
            ("/", HOST, "/master/", Some("/")),
            ("/viewer", HOST, "/master", None),
            ("/viewer", HOST, "/master/", None),
            ("/viewer/", HOST, "/master/", None),
            ("/master", HOST, "/viewer", None),
            ("/", &with_path("/viewer"), "/master", None),
            ("/", &with_path("/viewer"), "/master/", None),
            ("/", &with_path("/viewer"), "/", None),
            ("/", &with_path("/other"), "/other", None),
            ("/", HOST, "/other", None),
            ("/viewer", HOST, "/viewer//", None),
            ("/viewer", "other.example.test:8443", "/viewer/", None),
        ] {
            let head = sent(signer, (path, host), asked);
            let found = verify(&mut shard, &head, Some(&signer.key()));
            let expected = role.map(str::to_owned).ok_or(Refusal::Mismatch);
            assert_eq!(found, expected, "{path} at {host} for {asked}");
            // One that nobody knows is none, however it is signed.
            let unknown = verify(&mut shard, &head, None);
            assert_eq!(unknown, Err(Refusal::UnknownKey), "{path} for {asked}");
            // It does not matter whether a library has undone the escapes, or whether any were signed.
            for head in [
                head.replace("%3A", ":").replace("%2F", "/"),
                unescaped(&head, path, host),
            ] {
                let got = verify(&mut shard, &head, Some(&signer.key()));
                assert_eq!(got, expected, "{head}");
            }
        }
    }
    // No other request than an upgrade.
    let call = sent(&lasting, ("/", HOST), "/viewer/");
    let found = shard.verify(&call, b"", &lasting.rules(), Some(&lasting.key()));
    assert_eq!(found, Err(Refusal::Mismatch));
}

/// Known or not, a key costs the same attempts: four more at the paths of endpoints, in URLs as long as those of SDKs.
#[test]
fn no_more_than_four_further_forms_are_tried() {
    let signer = Signer::default();
    let wrong = AccessKey {
        secret_access_key: "wrong",
        ..signer.key()
    };
    let mut shard = Shard::new();
    for (asked, more, forms, unescaped) in [
        ("/", 0, 6, 12),
        ("/viewer", 0, 6, 12),
        ("/master/", 0, 6, 12),
        ("/other", 0, 2, 3),
        ("/", 9_000, 1, 1),
    ] {
        let head = sent(&signer, ("/x", HOST), asked);
        let head = head.replacen('?', &format!("?x={}&", "x".repeat(more)), 1);
        let before = shard.verifier.hashed_bytes();
        let loose = verify(&mut shard, &head.replace("%3A", ":"), None);
        assert_eq!(loose, Err(Refusal::UnknownKey));
        let canonical = shard.verifier.canonical_request().len() as u64;
        let hashed = shard.verifier.hashed_bytes() - before;
        assert_eq!(hashed / canonical, unescaped, "{asked} {more}");
        for (key, refusal) in [
            (Some(&wrong), Refusal::Mismatch),
            (None, Refusal::UnknownKey),
        ] {
            let before = shard.verifier.hashed_bytes();
            assert_eq!(verify(&mut shard, &head, key), Err(refusal));
            let hashed = shard.verifier.hashed_bytes() - before;
            let canonical = shard.verifier.canonical_request();
            assert_eq!(hashed, forms * canonical.len() as u64, "{asked} {more}");
            let shown = std::str::from_utf8(canonical).unwrap();
            let start = format!("GET\n{asked}\n");
            assert!(shown.starts_with(&start) && shown.contains(&format!("\nhost:{HOST}\n")));
        }
    }
}

#[test]
fn operators_learn_what_was_signed() {
    let signer = Signer::default();
    let mut shard = Shard::new();
    let path = |path: &str| Some(SignedAs::Path(path.to_owned()));
    let host = |host: &str| Some(SignedAs::Host(host.to_owned()));
    let own = "signaling.example.test";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (("/viewer", HOST), "/master", path("/viewer")),
        (("/", HOST), "/other", path("/")),
        (("/other/", HOST), "/other", path("/other/")),
        (("/other", HOST), "/other/", path("/other")),
        (("/", &format!("{NAME}:443")), "/", host(&format!("{NAME}:443"))),
        (("/", own), "/", host(own)),
        (("/", "elsewhere.example.test"), "/", None),
        (("/x", HOST), "/y", None),
    ];
    for ((signed, at), asked, expected) in cases {
        let head = sent(&signer, (signed, at), asked);
        let refused = verify(&mut shard, &head, Some(&signer.key()));
        assert_eq!(refused, Err(Refusal::Mismatch));
        let found = shard.verifier.signed_as(&[own]);
        assert_eq!(found, expected, "{signed} at {at} for {asked}");
    }
    // A query that is encoded twice in part: what names the key is read before.
    let once = sent(&signer, ("/", HOST), "/");
    for (from, to, expected) in [
        ("arn%3Aaws", "arn%253Aaws", Some(SignedAs::EncodedOnce)),
        ("arn%3Aaws", "arn%3Bbws", None),
    ] {
        let head = once.replace(from, to);
        assert!(verify(&mut shard, &head, Some(&signer.key())).is_err());
        assert_eq!(shard.verifier.signed_as(&[]), expected, "{to}");
    }
    // Nothing is kept of a request that is let in, or that is refused for something else.
    for (head, key) in [
        (&*once, Some(&signer.key())),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", None),
    ] {
        let _ = verify(&mut shard, head, key);
        assert_eq!(shard.verifier.signed_as(&[own]), None);
    }
    assert_eq!(signer.key().secret_access_key, SECRET);
}
