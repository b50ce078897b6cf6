//! Explains TLS handshakes that failed because the client offered nothing acceptable. An explanation is one sentence
//! for operators that states what was offered and what would have been accepted. It is computed only after such a
//! failure.

use rustls::crypto::aws_lc_rs;
use rustls::server::{Accepted, Acceptor};
use rustls::{SignatureScheme, SupportedCipherSuite};
use std::fmt::Debug;

/// Describes the ClientHello at the start of `bytes`, as seen by a server with one or more certificates. Reports the
/// most basic mismatch first. Returns `None` if there is no ClientHello.
pub(crate) fn offer(bytes: &[u8]) -> Option<String> {
    let &[22, _, _, _, _, 1, _, _, _, 3, minor, ..] = bytes else {
        return None;
    };
    // This field is 1.2 if the client supports 1.2 or any later version.
    if minor < 3 {
        let version = minor.saturating_sub(1);
        return Some(format!(
            "it offered TLS 1.{version} at most; TLS 1.2 or 1.3 would have matched"
        ));
    }
    let Some(accepted) = accepted(bytes) else {
        return Some("its ClientHello lacks signature algorithms or another mandatory part".into());
    };
    let (hello, provider) = (accepted.client_hello(), aws_lc_rs::default_provider());
    let (offered, signed) = (hello.cipher_suites(), hello.signature_schemes());
    let groups = hello.named_groups().unwrap_or_default();
    let protocols: Option<Vec<_>> = hello
        .alpn()
        .map(|it| it.map(String::from_utf8_lossy).collect());
    let kx: Vec<_> = provider.kx_groups.iter().map(|it| it.name()).collect();
    let all = provider.cipher_suites.iter();
    let common: Vec<_> = all
        .clone()
        .filter(|it| offered.contains(&it.suite()))
        .collect();
    let going = signatures(&common);
    let fit: Vec<_> = signed.iter().filter(|it| going.contains(it)).collect();
    let lacks = |part: &str, offered: String, ours: String| {
        format!("it offered the {part} {offered}; one of {ours} would have matched")
    };
    Some(if common.is_empty() {
        let ours: Vec<_> = all.map(SupportedCipherSuite::suite).collect();
        lacks("cipher suites", list(offered), list(&ours))
    } else if fit.is_empty() {
        let part = format!("cipher suites {} with the signatures", names(&common));
        lacks(&part, list(signed), list(&going))
    } else if !groups.iter().any(|it| kx.contains(it)) {
        lacks("groups", list(groups), list(&kx))
    } else if let Some(names) = protocols.filter(|it| it.iter().all(|name| name != "http/1.1")) {
        lacks("protocols", list(&names), "http/1.1, or no protocol".into())
    } else {
        format!(
            "it offered the cipher suites {} with the signatures {}; a certificate whose key supports one of these \
             would have matched: [tls] cert accepts one ECDSA and one RSA certificate",
            names(&common),
            list(&fit)
        )
    })
}

fn names(suites: &[&SupportedCipherSuite]) -> String {
    list(&suites.iter().map(|it| it.suite()).collect::<Vec<_>>())
}

/// Returns the signature schemes that at least one of the suites can use. TLS 1.3 does not allow PKCS #1 in handshakes
/// (RFC 8446 section 4.2.3).
fn signatures(suites: &[&SupportedCipherSuite]) -> Vec<SignatureScheme> {
    let all = aws_lc_rs::default_provider().signature_verification_algorithms;
    let goes = |scheme: &SignatureScheme| {
        suites.iter().any(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.sign.contains(scheme),
            SupportedCipherSuite::Tls13(_) => !format!("{scheme:?}").contains("PKCS1"),
        })
    };
    all.supported_schemes().into_iter().filter(goes).collect()
}

fn accepted(bytes: &[u8]) -> Option<Accepted> {
    let (mut acceptor, mut rest) = (Acceptor::default(), bytes);
    while let Ok(1..) = acceptor.read_tls(&mut rest) {
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted);
        }
    }
    None
}

/// Lists names as the RFCs spell them. Names that rustls does not know, and names beyond [`NAMES_MAX`], are only
/// counted.
fn list(all: &[impl Debug]) -> String {
    let names = all.iter().map(|it| format!("{it:?}"));
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("Unknown")).collect();
    names.truncate(NAMES_MAX);
    match all.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Maximum number of names listed. Small clients offer fewer.
const NAMES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tls::{Read, Tls};
    use broker_core::address_shares::Origin;
    use broker_core::time::Now;
    use std::sync::Arc;

    const ECDHE_ECDSA: u16 = 0xc02b;
    const ECDHE_RSA: u16 = 0xc02f;
    const CBC: u16 = 0xc027;
    const ECDSA_P256: u16 = 0x0403;
    const RSA_PKCS1: u16 = 0x0401;
    const P256: u16 = 23;
    const P521: u16 = 25;

    /// Creates a ClientHello of TLS 1.2 or an earlier version. If `schemes` is empty, it contains no signature schemes.
    fn hello(version: u8, suites: &[u16], schemes: &[u16], group: u16) -> Vec<u8> {
        let list = |all: &[u16]| {
            all.iter()
                .flat_map(|it| it.to_be_bytes())
                .collect::<Vec<u8>>()
        };
        let sized = |bytes: Vec<u8>| {
            [
                &u16::try_from(bytes.len()).unwrap().to_be_bytes()[..],
                &bytes,
            ]
            .concat()
        };
        let extension = |kind: u8, content: Vec<u8>| [&[0, kind][..], &sized(content)].concat();
        let mut extensions = extension(10, sized(list(&[group])));
        extensions.extend(extension(11, vec![1, 0]));
        if !schemes.is_empty() {
            extensions.extend(extension(13, sized(list(schemes))));
        }
        let body = [
            &[3, version][..],
            &[7; 32],
            &[0],
            &sized(list(suites)),
            &[1, 0],
            &sized(extensions),
        ]
        .concat();
        let length = u16::try_from(body.len()).unwrap();
        let message = [&[1, 0][..], &length.to_be_bytes(), &body].concat();
        [&[22, 3, 1][..], &sized(message)].concat()
    }

    /// Nothing that would have matched is part of the offer.
    #[test]
    fn what_was_offered_and_what_would_have_matched_is_noted() {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let small = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        #[rustfmt::skip] // a table, a case per row
        let cases = [
        (
            hello(3, &[ECDHE_RSA], &[RSA_PKCS1], P256),
            format!(
                "it offered the cipher suites {small} with the signatures RSA_PKCS1_SHA256; a certificate whose key \
                 supports one of these would have matched: [tls] cert accepts one ECDSA and one RSA certificate"
            ),
            "AEAD",
        ),
        (hello(3, &[ECDHE_ECDSA], &[RSA_PKCS1], P256),
            "with the signatures RSA_PKCS1_SHA256; one of ECDSA_NISTP".into(), "RSA_PSS"),
        (hello(3, &[CBC], &[RSA_PKCS1, ECDSA_P256], P256),
            "it offered the cipher suites TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256; one of TLS13_AES".into(),
            "signatures"),
        (hello(3, &[ECDHE_ECDSA], &[ECDSA_P256], P521), "it offered the groups secp521r1; one of ".into(), "cipher"),
        (hello(3, &[ECDHE_ECDSA], &[], P256), "its ClientHello lacks signature algorithms".into(), "cipher"),
        (hello(2, &[CBC], &[], P256), "it offered TLS 1.1 at most; TLS 1.2 or 1.3 would have matched".into(), "cipher"),
    ];
        for (hello, said, unsaid) in cases {
            for cut in [hello.len(), 40] {
                let origin = Origin::of(std::net::Ipv4Addr::LOCALHOST.into());
                let mut tls = Tls::new(&config, origin).unwrap();
                let (mut first, mut rest) = (hello[..cut].to_vec(), hello[cut..].to_vec());
                let mut read = tls.read(&mut first, &mut Vec::new(), Now(0));
                if !rest.is_empty() {
                    read = tls.read(&mut rest, &mut Vec::new(), Now(0));
                }
                assert_eq!(read, Read::Failed, "{said}");
                let offer = tls.offer().unwrap();
                assert!(offer.contains(&said) && !offer.contains(unsaid), "{offer}");
            }
        }
    }
}
