//! Refusals of the credentials provider.

use super::{Seen, assert_seen};
use crate::things::device::Device;
use crate::things::fleet::{ALIAS, Certified, Fleet, authority, certify, params};
use rcgen::date_time_ymd;
use serde_json::json;

/// A device that is refused.
struct Case {
    device: Device,
    /// The id of its certificate, if the broker asks for one.
    certificate: Option<String>,
    status: u16,
    check: &'static str,
    /// The thing that the record names.
    thing: Option<&'static str>,
    /// The role that the record names.
    role: Option<&'static str>,
    /// The one who is known.
    principal: Option<&'static str>,
    reason: &'static str,
}

impl Case {
    /// Of a device that names a thing and asks for an alias.
    fn new(fleet: &Fleet, certified: Certified, alias: &str) -> Self {
        let certificate = Some(certified.id());
        let device = Device::new(&fleet.service.broker, Some(certified));
        Self {
            device: device.named("cam-1").alias(alias),
            certificate,
            status: 403,
            check: "thing_certificate",
            thing: Some("cam-1"),
            role: (alias == ALIAS).then_some("camera"),
            principal: None,
            reason: "",
        }
    }

    /// Its certificate is let in, and this refuses it.
    fn known(self, status: u16, check: &'static str, role: Option<&'static str>) -> Self {
        Self {
            status,
            check,
            role,
            principal: Some("thing/cam-1"),
            ..self
        }
    }

    fn reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// Asked at a name and with a header Host of its own.
    fn at(mut self, server_name: &str, host: &str) -> Self {
        (self.device.server_name, self.device.host) = (server_name.into(), host.into());
        self
    }
}

/// Certificates that are not let in.
fn strangers(fleet: &Fleet) -> Vec<Case> {
    let stranger = certify(&authority("strangers"), &params("cam-1", 1));
    let mut ended = params("cam-1", 3);
    ended.not_before = date_time_ymd(2020, 1, 1);
    ended.not_after = date_time_ymd(2021, 2, 3);
    let mut early = params("cam-1", 4);
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2091, 1, 1);
    let case = |certified| Case::new(fleet, certified, ALIAS);
    let unasked = || Case {
        certificate: None,
        role: None,
        ..case(fleet.certify("cam-1", 1))
    };
    let none = Case {
        device: Device::new(&fleet.service.broker, None).named("cam-1"),
        role: Some("camera"),
        ..unasked()
    };
    vec![
        none.reason("the client showed no certificate, or none that can be read"),
        case(stranger).reason("not in the registry, and no trusted authority issued it"),
        case(certify(&fleet.authority, &ended)).reason("it was valid until 2021-02-03T00:00:00"),
        case(certify(&fleet.authority, &early)).reason("not valid before 2090-01-01T00:00:00"),
        case(fleet.certify("cam-1", REVOKED)).reason("its authority has revoked it"),
        // An address is no server name: none is sent.
        unasked().at("127.0.0.1", "127.0.0.1").reason(UNASKED),
        unasked().at("localhost", "localhost").reason(UNASKED),
        unasked()
            .at("localhost", "credentials.localhost")
            .reason(UNASKED),
        Case {
            status: 421,
            check: "thing_host",
            ..case(fleet.certify("cam-1", 1))
        }
        .at("credentials.localhost", "other.localhost:443")
        .reason("the server name (SNI) is credentials.localhost, but the header Host names other.localhost:"),
        // The name is checked before the alias.
        Case {
            check: "thing_name",
            ..Case::new(fleet, fleet.certify("cam-2", 1), "nothing")
        }
        .reason("does not belong to the thing that was named, but to cam-2"),
    ]
}

/// Devices that are known, and do not get what they ask for.
fn denied(fleet: &Fleet) -> Vec<Case> {
    let case = |alias| Case::new(fleet, fleet.certify("cam-1", 1), alias);
    vec![
        case("denied")
            .known(403, "policy_explicit_deny", Some("camera"))
            .reason("role alias denied, thing cam-1: iot, statement 3, denies it"),
        case("forbidden")
            .known(403, "policy_no_allow", Some("camera"))
            .reason("iot: no statement for iot:AssumeRoleWithCertificate on arn:aws:iot:us-west-2:"),
        case("nothing")
            .known(403, "policy_no_allow", None)
            .reason("rolealias/nothing; and there is no [role_alias.nothing]"),
        case("none")
            .known(404, "alias_absent", None)
            .reason("there is no [role_alias.none]"),
        case("untrusted")
            .known(400, "trust_no_allow", Some("untrusted"))
            .reason("no statement for sts:AssumeRole by \"Service\": \"credentials.iot.amazonaws.com\""),
        case("long")
            .known(400, "argument_invalid", Some("camera"))
            .reason("sessions of role camera last at most 3600 s (`max_session`); lower the alias's `duration`"),
    ]
}

/// The text that a device reads.
fn message(check: &str) -> &'static str {
    match check {
        "thing_certificate" => "Certificate is invalid on this endpoint",
        "thing_host" => "The Host header does not match the server name",
        "thing_name" => "Invalid thing name passed",
        "policy_explicit_deny" | "policy_no_allow" => "Access Denied",
        "alias_absent" => "Role alias does not exist",
        "trust_no_allow" => "Unable to assume the role, or the role to assume does not exist",
        _ => {
            "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role"
        }
    }
}

#[test]
fn each_refused_device_is_named_with_its_certificate_and_what_decided() {
    let fleet = Fleet::start(1);
    fleet.revoke(&[REVOKED]);
    for case in strangers(&fleet).into_iter().chain(denied(&fleet)) {
        let told = case.device.ask().expect("an answer");
        assert_eq!(told.status, case.status, "{}: {told:?}", case.reason);
        assert_eq!(told.body, json!({"message": message(case.check)}));
        assert!(told.head.contains("\r\nx-amzn-ErrorType: "), "{told:?}");
        let mut lines = told.head.lines();
        let id = lines.find_map(|line| line.strip_prefix("x-amzn-RequestId: "));
        let role = case
            .role
            .map(|role| format!("arn:aws:iam::123456789012:role/{role}"));
        let session = case.role.zip(case.certificate.as_ref());
        let session = session.map(|(role, id)| format!("{role}/{id}"));
        let named = [
            ("certificate", case.certificate.as_deref()),
            ("thing", case.thing),
            ("role", role.as_deref()),
            ("session", session.as_deref()),
            ("principal", case.principal),
        ];
        let seen = Seen {
            check: case.check,
            named: &named,
            reason: case.reason,
        };
        assert_seen(&fleet.service, id.expect("an id"), &seen, "");
    }
    fleet.end();
}

/// The reason where no certificate is asked for.
const UNASKED: &str = "without server name (SNI), or with one that is not of [things] hosts";

/// The serial number of a certificate that the authority has revoked.
const REVOKED: u64 = 7;
