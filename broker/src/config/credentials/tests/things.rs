use super::*;
use crate::config::last_line;
use broker_core::auth::ThingIdentity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use std::io::Write;
use std::time::Instant;

const ROLE: &str = "[role.camera]|trust = '{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \
                    \"Principal\": {\"Service\": \"credentials.iot.amazonaws.com\"}}}'|";

const IOT: &str = "[policy.iot]|document = '{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \
                   \"iot:AssumeRoleWithCertificate\", \"Resource\": \"*\"}}'|";

fn authority(folder: &Folder) {
    folder.write("ca.pem", &issuer("devices").pem());
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns a certificate that is listed in the registry and signed in under this name.
fn listed(fingerprint: u8, name: &str) -> ThingIdentity {
    ThingIdentity {
        certificate: [fingerprint; 32],
        numbers: Vec::new(),
        name: Some(name.into()),
        thing_type: None,
        alias: "camera".into(),
        grounds: 0,
        authority: None,
    }
}

#[test]
fn things_and_aliases_are_loaded_with_their_files() {
    let folder = Folder::new();
    authority(&folder);
    let one = "ab".repeat(32);
    folder.write(
        "things.csv",
        &format!(
            "# comment\n\n{one}, cam-1, camera\n{},cam-2,,inactive,iot\n,cam-3,,inactive\n",
            "CD".repeat(32)
        ),
    );
    let text = format!(
        "{ONE}|{IOT}{ROLE}[role_alias.'Kvs=Alias,1']|role = 'camera'|duration = '30m'|\
         [things]|hosts = ['Credentials.Example.com']|policies = ['iot']|registry = 'things.csv'|ca = 'ca.pem'|\
         name = 'san.dns'|names = 'plant-*'|[[things.authority]]|ca = 'ca.pem'|name = 'subject.CN'"
    );
    let loaded = folder.load(&text).unwrap();
    let files = folder.files(&loaded);
    assert_eq!(files, ["c.toml", "things.csv", "ca.pem"]);
    let devices = loaded.devices.as_ref().unwrap();
    assert_eq!(devices.hosts, [Box::<str>::from("credentials.example.com")]);
    assert_eq!(devices.authorities.len(), 2);
    let alias = loaded.credentials.alias("Kvs=Alias,1").unwrap();
    assert_eq!(&*alias.role, "camera");
    assert_eq!(&*alias.account, "123456789012");
    assert_eq!(alias.duration_s, 1800);
    let things = loaded.credentials.things().unwrap();
    assert_eq!(things.registry.len(), 2);
    let known: Vec<&str> = things.registry.things_of(&[0xab; 32]).collect();
    assert_eq!(known, ["cam-1"]);
    assert!(things.knows(&listed(0xab, "cam-1")));
    assert!(!things.knows(&listed(0xcd, "cam-2")));
    assert!(things.registry.is_inactive("cam-3"));
    let authority = "names plant-*, until 40960101T000000Z: may AssumeRoleWithCertificate";
    for line in [
        "role alias  Kvs=Alias,1, account 123456789012: role camera for 30m",
        "things      at credentials.example.com, 2 certificates by the registry, 1 names switched off, 2 authorities: \
         may AssumeRoleWithCertificate",
        &format!("authority   CN=devices, {authority}"),
    ] {
        let summary = crate::config::credentials_summary(&loaded);
        assert!(summary.contains(line), "{line}\n{summary}");
    }
    let term = crate::memory::things(&loaded.credentials).unwrap();
    assert_eq!(term.total(), 2 * 1_000_000 * 100);
    let warnings = folder.warnings(&loaded);
    let without_list =
        |text: &&String| text.contains("have no revocation list of the authority CN=devices");
    assert_eq!(
        warnings.iter().filter(without_list).count(),
        2,
        "{warnings:?}"
    );
}

#[test]
fn every_fault_of_things_has_its_place() {
    let folder = Folder::new();
    authority(&folder);
    folder.write(
        "bad.csv",
        &format!(
            "x,cam\n{},c m\n{0},cam,,off\n{0},cam,,,none\n,cam\n",
            "0".repeat(64)
        ),
    );
    folder.write("two.csv", &format!("{0},a\n{0},b\n", "0".repeat(64)));
    let form = "expected SHA-256 in 64 hexadecimal digits, thing name[, thing type][, inactive][, policy]; without the \
                digits a thing that is inactive";
    for (text, wanted) in [
        ("[role_alias.a]|role = 'none'", "c.toml:2:8: role_alias.a.role = 'none': there is no [role.none]".to_owned()),
        (
            "[role_alias.'a/b']",
            "c.toml:1:1: role_alias.a/b = { … }: the name: expected 1 to 128 of the characters A-Z a-z 0-9 _ = , @ -|\
             c.toml:1:1: role_alias.a/b = { … }: role needed".to_owned(),
        ),
        ("[things]|hosts = ['c.example']|registry = 'two.csv'|max = 1",
         "c.toml:3:12: things.registry = 'two.csv': two.csv:2: expected at most 1 certificates and inactive things: \
          [things] max allows more".to_owned()),
        ("[things]|hosts = ['c.example']|registry = 'bad.csv'", [
            format!("c.toml:3:12: things.registry = 'bad.csv': bad.csv:1: {form}"),
            format!("c.toml:3:12: things.registry = 'bad.csv': bad.csv:2: {form}"),
            format!("c.toml:3:12: things.registry = 'bad.csv': bad.csv:3: {form}"),
            "c.toml:3:12: things.registry = 'bad.csv': bad.csv:4: there is no [policy.none]".to_owned(),
            format!("c.toml:3:12: things.registry = 'bad.csv': bad.csv:5: {form}"),
        ].join("|")),
        ("[things]|name = 'x'",
         "c.toml:1:1: things = { … }: expected name together with ca|\
          c.toml:1:1: things = { … }: hosts needed".to_owned()),
        ("[things]|hosts = ['127.0.0.1']",
         "c.toml:2:9: things.hosts = ['127.0.0.1']: expected host names of up to 127 letters, which devices send \
          as server name: not an address".to_owned()),
        ("[things]|hosts = ['c.example']|ca = 'c.toml'|name = 'CN'",
         "c.toml:3:6: things.ca = 'c.toml': c.toml: expected a PEM file with 1 to 64 certificates|\
          c.toml:4:8: things.name = 'CN': expected \"subject.CN\", \"san.dns\" or \"san.uri\"".to_owned()),
        ("[things]|hosts = ['c.example']|[[things.authority]]|name = 'san.uri'",
         "c.toml:4:1: things.authority[0] = { … }: ca needed".to_owned()),
    ] {
        let error = folder.load(text).unwrap_err().to_string();
        assert_eq!(folder.bare(&error), wanted.replace('|', "\n"), "{text}");
    }
}

#[test]
fn the_last_line_of_a_registry_counts_those_before_it() {
    let folder = Folder::new();
    let lines = format!("# things\n{0},cam-1\n\n", "ab".repeat(32));
    let load = |text: &str| {
        folder.write("things.csv", text);
        folder.load("[things]|hosts = ['c.example']|registry = 'things.csv'")
    };
    let is_counted = |text: &str| {
        let loaded = load(text).unwrap();
        loaded.credentials.things().unwrap().registry.is_counted()
    };
    let last = last_line(&lines);
    assert!(last.starts_with("# lines=3 sha256="));
    assert!(!is_counted(&lines));
    for last in [&*last, "# lines=3", "# lines=3\r\n"] {
        assert!(is_counted(&(lines.clone() + last)), "{last}");
    }
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (lines.clone() + "# lines=2", "things.csv:4: this line does not match the 3 lines before it"),
        (lines.replace("cam-1", "cam-2") + &last, "things.csv:4: this line does not match the 3 lines"),
        (lines.clone() + "# lines=x", "after a manual edit, # lines=3 is enough"),
        (lines.clone() + "# lines=3\n# more", "things.csv:5: expected nothing behind # lines=N"),
    ];
    for (text, rule) in cases {
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
    }
}

/// Run with `--release` to measure the time.
#[test]
#[ignore = "a million lines take seconds without optimization"]
fn a_million_things_are_loaded_in_two_seconds_and_a_hundred_megabytes() {
    let folder = Folder::new();
    let path = folder.write("things.csv", "");
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    for nth in 0..1_000_000_u64 {
        // Digests are not sorted, so neither are these lines.
        let begin = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            file,
            "{begin:016x}{}{nth:016x},camera-of-house-{nth},camera",
            "5".repeat(32)
        )
        .unwrap();
    }
    drop(file);
    let begun = Instant::now();
    let loaded = folder
        .load("[things]|hosts = ['c.example']|registry = 'things.csv'")
        .unwrap();
    let took = begun.elapsed();
    let registry = &loaded.credentials.things().unwrap().registry;
    eprintln!(
        "{took:?}, {} bytes a thing",
        registry.bytes() / registry.len()
    );
    assert_eq!(registry.len(), 1_000_000);
    assert!(registry.bytes() <= 100_000_000);
    assert!(took.as_secs_f64() <= 2.0, "{took:?}");
}

/// An operator withdraws an authority but leaves its revocation list in place. The file still loads, so the authority
/// is no longer in force.
#[test]
fn the_list_of_a_withdrawn_authority_is_a_warning() {
    let folder = Folder::new();
    authority(&folder);
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2020, 2, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer("withdrawn")).unwrap();
    folder.write("crl.pem", &list.pem().unwrap());
    let loaded = folder.load(&format!(
        "{ONE}|{IOT}[things]|hosts = ['c.example']|policies = ['iot']|ca = 'ca.pem'|name = 'subject.CN'|\
         crl = ['crl.pem']"
    ));
    let loaded = loaded.unwrap();
    let remarks = |text: &&String| text.contains("revocation list");
    let remarks: Vec<_> = loaded.warnings.iter().filter(remarks).collect();
    let left =
        "have a revocation list of CN=withdrawn, which is neither in ca nor in intermediates";
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].contains(left), "{remarks:?}");
    assert!(remarks[1].contains("have no revocation list of the authority CN=devices"));
}

/// The name of an authority can be anything that somebody wrote into a certificate.
#[test]
fn a_line_end_in_the_name_of_an_authority_makes_no_line() {
    let folder = Folder::new();
    let name = "a\nwarning     forged\r\u{1b}[2K";
    folder.write("ca.pem", &issuer(name).pem());
    let loaded = folder.load(&format!(
        "{ONE}|{IOT}[things]|hosts = ['c.example']|policies = ['iot']|ca = 'ca.pem'|name = 'subject.CN'"
    ));
    let loaded = loaded.unwrap();
    let summary = crate::config::credentials_summary(&loaded);
    assert!(summary.contains("authority   CN=a\\nwarning"), "{summary}");
    let forged =
        |text: &str| text.contains("\nwarning     forged") || text.contains(['\r', '\u{1b}']);
    assert!(
        !forged(&summary) && !loaded.warnings.iter().any(|it| forged(it)),
        "{summary}"
    );
}
