//! A fleet: an authority, certificates of devices, and a credentials file that knows them.

use crate::process::directory;
use crate::signed::service::{Service, credentials};
use crate::things::device::Device;
use data_encoding::{BASE64, HEXLOWER};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use testkit::{Directory, until_true};

/// The server name of these tests: the development certificate has it.
pub(crate) const HOST: &str = "credentials.localhost";

/// The alias that is burnt into firmware.
pub(crate) const ALIAS: &str = "KvsCameraIoTRoleAlias";

/// Policies as the guides print them, and one alias each for what is refused.
const FILE: &str = r#"
[policy.camera]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [
    "kinesisvideo:ConnectAsMaster", "kinesisvideo:GetSignalingChannelEndpoint",
    "kinesisvideo:CreateSignalingChannel", "kinesisvideo:GetIceServerConfig",
    "kinesisvideo:DescribeSignalingChannel"],
    "Resource": "arn:aws:kinesisvideo:*:*:channel/${credentials-iot:ThingName}/*"}]}'''
[policy.iot]
document = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["iot:Connect"], "Resource": "arn:aws:iot:us-west-2:123456789012:rolealias/KvsCameraIoTRoleAlias"},
    {"Effect": "Allow", "Action": ["iot:AssumeRoleWithCertificate"], "Resource": [
        "arn:aws:iot:us-west-2:123456789012:rolealias/KvsCameraIoTRoleAlias",
        "arn:aws:iot:us-west-2:123456789012:rolealias/none",
        "arn:aws:iot:us-west-2:123456789012:rolealias/untrusted",
        "arn:aws:iot:us-west-2:123456789012:rolealias/long"]},
    {"Effect": "Deny", "Action": "iot:AssumeRoleWithCertificate", "Resource": "arn:aws:iot:us-west-2:123456789012:rolealias/denied"}]}'''
[role.camera]
policies = ["camera"]
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"},
    "Action": "sts:AssumeRole", "Condition": {
    "ArnLike": {"aws:SourceArn": "arn:aws:iot:us-west-2:123456789012:rolealias/*"},
    "StringEquals": {"aws:SourceAccount": "123456789012"}}}]}'''
[role.untrusted]
policies = ["camera"]
trust = '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/admin"}, "Action": "sts:AssumeRole"}}'
[role_alias.KvsCameraIoTRoleAlias]
role = "camera"
duration = "15m"
[role_alias.forbidden]
role = "camera"
[role_alias.denied]
role = "camera"
[role_alias.untrusted]
role = "untrusted"
[role_alias.long]
role = "camera"
duration = "2h"
"#;

/// An authority and a broker.
pub(crate) struct Fleet {
    pub(crate) service: Service,
    pub(crate) authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) directory: Directory,
}

/// A certificate with its key.
pub(crate) struct Certified {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Certified {
    /// Writes both as PEM and returns the paths.
    pub(crate) fn write(&self, directory: &Path) -> [PathBuf; 2] {
        let write = |name: &str, label: &str, der: &[u8]| {
            let text = BASE64.encode(der);
            let lines: Vec<_> = text
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect();
            let lines = lines.join("\n");
            let path = directory.join(name);
            let pem = format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n");
            fs::write(&path, pem).expect("written");
            path
        };
        [
            write("device.pem", "CERTIFICATE", &self.certificate),
            write("device.key", "PRIVATE KEY", self.key.secret_der()),
        ]
    }

    pub(crate) fn id(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        HEXLOWER.encode(digest.as_ref())
    }
}

impl Fleet {
    pub(crate) fn start(shards: u16) -> Self {
        Self::at(HOST, shards)
    }

    /// One that asks for certificates at this name.
    pub(crate) fn at(host: &str, shards: u16) -> Self {
        let directory = directory();
        let authority = authority("devices");
        let text = file(&directory, &authority, host);
        let arguments = ["--dev", "--listen", "https://127.0.0.1:0"];
        let service = Service::with(&text, &arguments, shards);
        Self {
            service,
            authority,
            directory,
        }
    }

    /// A certificate of the authority for this thing.
    pub(crate) fn certify(&self, name: &str, serial: u64) -> Certified {
        certify(&self.authority, &params(name, serial))
    }

    /// A device with such a certificate.
    pub(crate) fn device(&self, name: &str) -> Device {
        let certified = self.certify(name, 1);
        Device::new(&self.service.broker, Some(certified))
    }

    /// Replaces the registry and waits until it is in force.
    pub(crate) fn register(&self, lines: &str) {
        let counted = format!("{lines}# lines={}\n", lines.lines().count());
        fs::write(self.directory.join("new"), counted).expect("written");
        self.reload(|directory| {
            fs::rename(directory.join("new"), directory.join("things.csv")).expect("renamed");
        });
    }

    /// Revokes certificates and waits until that is in force.
    pub(crate) fn revoke(&self, serials: &[u64]) {
        self.reload(|directory| write_list(directory, &self.authority, serials));
    }

    pub(crate) fn reload(&self, change: impl FnOnce(&Path)) {
        let reloaded = || {
            self.service
                .broker
                .log()
                .matches("credentials in force")
                .count()
        };
        let before = reloaded();
        change(&self.directory);
        until_true("the reload", || reloaded() > before);
    }

    pub(crate) fn end(self) {
        self.service.end();
    }
}

/// A credentials file, and in the directory what it names: an authority with an empty list, and an empty registry.
pub(crate) fn file(
    directory: &Path,
    authority: &CertifiedIssuer<'static, KeyPair>,
    host: &str,
) -> String {
    fs::write(directory.join("ca.pem"), authority.pem()).expect("written");
    fs::write(directory.join("things.csv"), "# none\n").expect("written");
    write_list(directory, authority, &[]);
    let path = |name: &str| directory.join(name).display().to_string();
    let things = format!(
        "[things]\nhosts = [\"{host}\"]\npolicies = [\"iot\"]\nregistry = {:?}\nca = {:?}\nname = \"subject.CN\"\n\
         crl = [{:?}]\n",
        path("things.csv"),
        path("ca.pem"),
        path("ca.crl")
    );
    credentials() + FILE + &things
}

pub(crate) fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// An authority that may have others below it.
pub(crate) fn authority_above(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(unconstrained(name, 1), key).expect("an authority")
}

/// An authority that another one signed, until this moment.
pub(crate) fn authority_until(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    ends: SystemTime,
) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = unconstrained(name, 3);
    params.not_after = ends.into();
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::signed_by(params, key, issuer).expect("an authority")
}

fn unconstrained(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// An authority that another one signed.
pub(crate) fn authority_below(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    serial: u64,
) -> CertifiedIssuer<'static, KeyPair> {
    let params = unconstrained(name, serial);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::signed_by(params, key, issuer).expect("an authority")
}

pub(crate) fn certify(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    params: &CertificateParams,
) -> Certified {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    Certified {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
    }
}

pub(crate) fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

/// Writes the revocation list of an authority.
pub(crate) fn write_list(
    directory: &Path,
    authority: &CertifiedIssuer<'static, KeyPair>,
    serials: &[u64],
) {
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: (now - day).into(),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: (now - day).into(),
        next_update: (now + day).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(authority).expect("a list");
    fs::write(directory.join("ca.crl.new"), list.pem().expect("PEM")).expect("written");
    fs::rename(directory.join("ca.crl.new"), directory.join("ca.crl")).expect("renamed");
}
