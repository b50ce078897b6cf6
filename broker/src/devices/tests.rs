use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateRevocationListDer;
use std::time::Duration;
use time::OffsetDateTime;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The beginning of 2030, in seconds since 1970.
const NOW: u64 = 1_893_456_000;

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(NOW - 1000);
    params.not_after = at(NOW + 1000);
    params.serial_number = Some(SerialNumber::from(7));
    params
}

fn issuer(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    let mut params = issuer_params(name, 7);
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issuer_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn leaf(issuer: &Issuer, params: &CertificateParams) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, issuer).unwrap().der().clone()
}

fn list(
    issuer: &Issuer,
    serials: &[u64],
    next_update: u64,
) -> CertificateRevocationListDer<'static> {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: at(NOW - 10),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: at(NOW - 100),
        next_update: at(next_update),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().clone()
}

/// Returns the devices for a table with one CA.
fn devices(
    issuer: &Issuer,
    lists: &[CertificateRevocationListDer<'static>],
    name: NameSource,
) -> Devices {
    table(&[issuer.der()], &[], lists, name)
}

fn table(
    authorities: &[&CertificateDer<'static>],
    intermediates: &[&CertificateDer<'static>],
    lists: &[CertificateRevocationListDer<'static>],
    name: NameSource,
) -> Devices {
    let authorities: Vec<_> = authorities.iter().map(|it| (*it).clone()).collect();
    let intermediates: Vec<_> = intermediates.iter().map(|it| (*it).clone()).collect();
    let lists = RevocationLists::new(lists.to_vec(), &authorities, &intermediates).unwrap();
    let lists = Arc::new(lists);
    let of = |certificate| DeviceAuthority::new(certificate, &lists, name, 50).unwrap();
    Devices {
        hosts: Vec::new(),
        authorities: authorities.iter().map(of).collect(),
    }
}

fn shown(devices: &Devices, chain: &[CertificateDer<'_>], now: u64) -> Option<ShownCertificate> {
    devices.judge(chain, UnixTime::since_unix_epoch(Duration::from_secs(now)))
}

fn judged(devices: &Devices, chain: &[CertificateDer<'_>], now: u64) -> Result<String, String> {
    let shown = shown(devices, chain, now).unwrap();
    shown.vouched.map(|it| it.name.into()).map_err(Into::into)
}

#[test]
fn an_authority_vouches_for_what_it_signed_and_names_one_thing() {
    let (ca, other) = (issuer("devices", |_| {}), issuer("others", |_| {}));
    let devices = devices(&ca, &[], NameSource::CommonName);
    let good = leaf(&ca, &params("cam-1"));
    let told = |chain: &[CertificateDer<'_>]| judged(&devices, chain, NOW);
    assert_eq!(told(std::slice::from_ref(&good)), Ok("cam-1".into()));
    let certificate = shown(&devices, std::slice::from_ref(&good), NOW).unwrap();
    assert_eq!(certificate.not_before_s, NOW - 1000);
    assert_eq!(certificate.not_after_s, NOW + 1000);
    let vouched = certificate.vouched.unwrap();
    assert_eq!(vouched.authority, devices.authorities[0].key);
    let refused = told(&[leaf(&other, &params("cam-1"))]).unwrap_err();
    assert_eq!(refused, "no trusted authority issued it");
    let mut server = params("cam-1");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let refused = told(&[leaf(&ca, &server)]).unwrap_err();
    testkit::assert_begins(&refused, "it cannot be verified with its authority");
    for (name, why) in [
        ("a b", "its name is not one of a thing"),
        ("ä", "its name is not one of a thing"),
    ] {
        let refused = told(&[leaf(&ca, &params(name))]).unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
    let mut nameless = params("x");
    nameless.distinguished_name.remove(DnType::CommonName);
    let refused = told(&[leaf(&ca, &nameless)]).unwrap_err();
    assert!(refused.starts_with("it has no name"), "{refused}");
    let chain: Vec<_> = std::iter::repeat_n(good, 5).collect();
    assert_eq!(
        told(&chain),
        Err("its chain has more than 4 certificates".into())
    );
    let broken = CertificateDer::from(vec![0x30, 3, 1, 2, 3]);
    for chain in [&[][..], &[broken]] {
        assert!(shown(&devices, chain, NOW).is_none());
    }
}

#[test]
fn alternative_names_are_of_their_kind_and_sole() {
    let ca = issuer("devices", |_| {});
    let mut named = params("x");
    named.subject_alt_names = vec![
        SanType::DnsName("cam-1".try_into().unwrap()),
        SanType::URI("urn:cam:2".try_into().unwrap()),
    ];
    let certificate = [leaf(&ca, &named)];
    for (source, name) in [(NameSource::Dns, "cam-1"), (NameSource::Uri, "urn:cam:2")] {
        let devices = devices(&ca, &[], source);
        assert_eq!(judged(&devices, &certificate, NOW), Ok(name.into()));
    }
    named
        .subject_alt_names
        .push(SanType::DnsName("cam-2".try_into().unwrap()));
    let refused = judged(
        &devices(&ca, &[], NameSource::Dns),
        &[leaf(&ca, &named)],
        NOW,
    );
    assert_eq!(
        refused,
        Err("it has several names in the configured field".into())
    );
}

#[test]
fn an_authority_that_ended_vouches_for_nothing() {
    let ca = issuer("devices", |params| params.not_after = at(NOW - 1));
    let refused = judged(
        &devices(&ca, &[], NameSource::CommonName),
        &[leaf(&ca, &params("cam-1"))],
        NOW,
    );
    assert_eq!(
        refused,
        Err("the certificate of its authority is not valid now".into())
    );
}

#[test]
fn authorities_that_end_are_told_of_in_time() {
    let ending = |not_after| {
        let ca = issuer("devices", |params| params.not_after = at(not_after));
        devices(&ca, &[], NameSource::CommonName).endings(NOW)
    };
    let day = 24 * 60 * 60;
    assert_eq!(ending(NOW + 30 * day), Vec::<String>::new());
    assert_eq!(
        ending(NOW + 2 * day),
        ["the authority CN=devices, which expires in 2 days"]
    );
    assert_eq!(
        ending(NOW - 1),
        ["the authority CN=devices, which has expired: its certificates are refused"]
    );
    let ca = issuer("devices", |params| params.not_after = at(NOW + 90 * day));
    let overdue =
        |now_s| devices(&ca, &[list(&ca, &[], NOW)], NameSource::CommonName).endings(now_s);
    assert_eq!(overdue(NOW - 1), Vec::<String>::new());
    let told = overdue(NOW + 7200);
    let begin = "a revocation list of the authority CN=devices that is overdue by 2 hours";
    assert!(
        matches!(&told[..], [one] if one.starts_with(begin)),
        "{told:?}"
    );
}

#[test]
fn revoked_certificates_and_old_lists_are_refused() {
    let (ca, other) = (issuer("devices", |_| {}), issuer("others", |_| {}));
    let certificate = [leaf(&ca, &params("cam-1"))];
    let told = |lists: &[CertificateRevocationListDer<'static>], now| {
        judged(
            &devices(&ca, lists, NameSource::CommonName),
            &certificate,
            now,
        )
    };
    assert_eq!(told(&[list(&ca, &[6], NOW + 10)], NOW), Ok("cam-1".into()));
    let refused = told(&[list(&ca, &[6, 7], NOW + 10)], NOW).unwrap_err();
    assert!(refused.contains("has revoked it"), "{refused}");
    assert_eq!(told(&[list(&ca, &[], NOW - 50)], NOW), Ok("cam-1".into()));
    let refused = told(&[list(&ca, &[], NOW - 51)], NOW);
    assert_eq!(
        refused,
        Err("the revocation list that applies to it is too old".into())
    );
    // The list of a CA that is no longer configured neither admits nor refuses any device.
    let foreign = [list(&other, &[7], NOW - 60)];
    assert_eq!(told(&foreign, NOW), Ok("cam-1".into()));
    let left = devices(&ca, &foreign, NameSource::CommonName);
    assert_eq!(left.authorities[0].list_ends_s, None);
    let strangers: Vec<_> = left.authorities[0].lists.strangers().collect();
    assert_eq!(strangers, ["CN=others"]);
    let withdrawn = [leaf(&other, &params("cam-1"))];
    assert!(judged(&left, &withdrawn, NOW).is_err());
    assert_eq!(
        devices(&ca, &[], NameSource::CommonName).authorities[0].revoked,
        None
    );
    let lists = [list(&ca, &[9, 7], NOW)];
    assert_eq!(
        devices(&ca, &lists, NameSource::CommonName).authorities[0].revoked,
        Some(2)
    );
}

/// Root R signs CA I, and I signs the certificate of the device, which presents both certificates. In each layout, a
/// revocation refuses the device. Without one, the device is admitted. The numbers in the list also identify keys that
/// were issued before.
#[test]
fn a_revoked_device_is_refused_in_each_layout_of_authorities_and_lists() {
    let root = issuer("root", |_| {});
    let (key, between) = (KeyPair::generate().unwrap(), issuer_params("between", 7));
    let inner = CertifiedIssuer::signed_by(between.clone(), key, &root).unwrap();
    // The certificate of the same CA before it was renewed.
    let mut earlier = between;
    earlier.not_before = at(NOW - 2000);
    let earlier = earlier.self_signed(inner.key()).unwrap().der().clone();
    let (r, i) = (root.der(), inner.der());
    let chain = [leaf(&inner, &params("cam-1")), i.clone()];
    for revoked in [false, true] {
        let serials: &[u64] = if revoked { &[7] } else { &[6] };
        let of_inner = list(&inner, serials, NOW + 10);
        let of_root = list(&root, &[6], NOW + 10);
        let one = |authorities: &[_], intermediates: &[_], lists: &[_]| {
            table(authorities, intermediates, lists, NameSource::CommonName)
        };
        let two = |first: Devices, second: Devices| {
            let authorities = first.authorities.into_iter().chain(second.authorities);
            Devices {
                hosts: Vec::new(),
                authorities: authorities.collect(),
            }
        };
        let (own, both) = ([of_inner.clone()], [of_inner, of_root]);
        for (layout, devices) in [
            ("I; list of I", one(&[i], &[], &own)),
            ("I, R; list of I", one(&[i, r], &[], &own)),
            ("R, I; list of I", one(&[r, i], &[], &own)),
            ("R; list of I", one(&[r], &[i], &own)),
            ("R; lists of both", one(&[r], &[i], &both)),
            (
                "old without list, renewed with",
                two(one(&[&earlier], &[], &[]), one(&[i], &[], &own)),
            ),
        ] {
            let told = judged(&devices, &chain, NOW);
            if revoked {
                let refused = told.unwrap_err();
                assert!(refused.contains("has revoked it"), "{layout}: {refused}");
            } else {
                assert_eq!(told, Ok("cam-1".into()), "{layout}");
            }
            let numbers = shown(&devices, &chain, NOW).unwrap().numbers;
            let mut listed = devices.authorities.iter().flat_map(|it| it.lists.revoked());
            assert_eq!(listed.any(|it| numbers.contains(&it)), revoked, "{layout}");
        }
    }
}

/// A CA in `ca` is below another CA, whose list revokes it. Devices present only their own certificate.
#[test]
fn a_revoked_authority_is_among_the_numbers_of_its_devices() {
    let root = issuer("root", |_| {});
    let inner = CertifiedIssuer::signed_by(
        issuer_params("between", 9),
        KeyPair::generate().unwrap(),
        &root,
    );
    let inner = inner.unwrap();
    let lists = [list(&root, &[9], NOW + 10)];
    let devices = table(
        &[root.der(), inner.der()],
        &[],
        &lists,
        NameSource::CommonName,
    );
    let shown = shown(&devices, &[leaf(&inner, &params("cam-1"))], NOW).unwrap();
    let mut listed = devices.authorities.iter().flat_map(|it| it.lists.revoked());
    assert!(listed.any(|it| shown.numbers.contains(&it)));
}

#[test]
fn a_judgement_holds_for_its_devices_until_something_ends() {
    let ca = issuer("devices", |params| params.not_after = at(NOW + 500));
    let listed = [list(&ca, &[], NOW + 10)];
    let of = |lists| Arc::new(devices(&ca, lists, NameSource::CommonName));
    let (first, other) = (of(&listed[..]), of(&listed[..]));
    let chain = [leaf(&ca, &params("cam-1"))];
    let pass = |devices, now_s| CertificateJudgement::pass(devices, "Devices", Some(&chain), now_s);
    let (judgement, shown) = pass(&first, NOW);
    assert_eq!(&*shown.server_name, "devices");
    assert!(shown.certificate.unwrap().vouched.is_ok());
    assert!(judgement.holds(&first, NOW) && !judgement.holds(&other, NOW));
    assert!(judgement.holds(&first, NOW + 60) && !judgement.holds(&first, NOW + 61));
    let (judgement, shown) = pass(&first, NOW + 61);
    assert!(
        shown.certificate.unwrap().vouched.is_err(),
        "the list is too old"
    );
    assert!(judgement.holds(&first, NOW + 500) && !judgement.holds(&first, NOW + 501));
    let (judgement, _) = pass(&of(&[]), NOW + 1001);
    assert_eq!(judgement.until_s, u64::MAX);
}

#[test]
fn a_stale_list_of_any_authority_refuses_whoever_may_be_in_it() {
    let root = issuer("root", |_| {});
    let between = issuer_params("between", 7);
    let inner = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &root).unwrap();
    let (r, i) = (root.der(), inner.der());
    let chain = [leaf(&inner, &params("cam-1")), i.clone()];
    let stale = [list(&inner, &[], NOW - 51)];
    let of_root = [leaf(&root, &params("cam-2"))];
    for authorities in [[r, i], [i, r]] {
        let devices = table(&authorities, &[], &stale, NameSource::CommonName);
        let refused = judged(&devices, &chain, NOW).unwrap_err();
        assert_eq!(refused, "the revocation list that applies to it is too old");
        assert_eq!(judged(&devices, &of_root, NOW), Ok("cam-2".into()));
    }
}

/// Mutates a certificate: changes bytes, removes bytes, repeats bytes, or inserts bytes from another certificate.
fn mutated(der: &[u8], other: &[u8], draw: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = der.to_vec();
    for _ in 0..=draw(3) {
        let at = draw(bytes.len().max(1)).min(bytes.len());
        let length = draw(8).min(bytes.len() - at);
        match draw(5) {
            0 => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1 << draw(8)),
            1 => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte = u8::try_from(draw(256)).unwrap()),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let twice = bytes[at..at + length].to_vec();
                drop(bytes.splice(at..at, twice));
            }
            _ => {
                let from = draw(other.len());
                let to = (from + draw(80)).min(other.len());
                let end = (at + to - from).min(bytes.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    bytes
}

/// No mutated certificate is vouched for, and only the original certificate has its fingerprint.
#[test]
fn no_mutated_certificate_is_that_of_a_thing() {
    let ca = issuer("devices", |_| {});
    let devices = devices(&ca, &[list(&ca, &[9], NOW + 10)], NameSource::CommonName);
    let good = leaf(&ca, &params("cam-1"));
    let mut revoked = params("cam-2");
    revoked.serial_number = Some(SerialNumber::from(9));
    let others = [
        leaf(&ca, &revoked),
        leaf(&issuer("others", |_| {}), &params("cam-3")),
    ];
    let id = fingerprint(&good);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let (mut read, mut tried) = (0, 0);
    while tried < 100_000 {
        let other = &others[draw(2)];
        // Parts of an accepted certificate must not make a refused one acceptable.
        let (from, into) = if draw(4) == 0 {
            (&good, other)
        } else {
            (other, &good)
        };
        let bytes = mutated(into, from, &mut draw);
        if bytes == *good {
            continue;
        }
        tried += 1;
        let Some(shown) = devices.judge(&[bytes.into()], now) else {
            continue;
        };
        read += 1;
        assert_ne!(shown.fingerprint, id);
        if let Ok(vouched) = shown.vouched {
            panic!("{} is vouched for by a mutated certificate", vouched.name);
        }
    }
    assert!(read > 10_000, "{read} of them could be read at all");
}
