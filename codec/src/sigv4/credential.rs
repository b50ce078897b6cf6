//! The credential of a signature: an access key id and the scope of the signing key.

use crate::sigv4::refusal::{Malformed, Refusal, Scope};
use crate::sigv4::{ACCESS_KEY_ID_BYTES_MAX, TERMINATOR};

/// A service that verifies signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Service {
    /// Kinesis Video Streams: control plane, signaling and WebSocket connections.
    KinesisVideo,
    /// The Security Token Service.
    Sts,
}

impl Service {
    /// Returns the name of the service in a credential scope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A credential as sent: `<key id>/<yyyymmdd>/<region>/<service>/aws4_request`.
#[derive(Clone, Copy)]
pub(crate) struct Credential<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    terminator: &'a str,
    pub(crate) scope: &'a str,
}

impl<'a> Credential<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| Malformed::Credential)?;
        let (access_key_id, scope) = text.split_once('/').ok_or(Malformed::Credential)?;
        let mut parts = scope.split('/');
        let mut next = || parts.next().ok_or(Malformed::Credential);
        let (date, region, service, terminator) = (next()?, next()?, next()?, next()?);
        let id_is_one = (1..=ACCESS_KEY_ID_BYTES_MAX).contains(&access_key_id.len())
            && access_key_id.bytes().all(|byte| byte.is_ascii_graphic());
        if parts.next().is_some() || !id_is_one {
            return Err(Malformed::Credential);
        }
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            terminator,
            scope,
        })
    }

    /// Checks that the scope matches this server's service and region, and the day of `moment`, a time in ISO 8601
    /// basic format. If `region` is `None`, any region is accepted.
    pub(crate) fn check(
        &self,
        service: Service,
        region: Option<&str>,
        moment: &[u8; 16],
    ) -> Result<(), Refusal> {
        if self.terminator != TERMINATOR {
            return Err(Refusal::Scope(Scope::Terminator));
        }
        if self.service != service.as_str() {
            return Err(Refusal::Scope(Scope::Service(service)));
        }
        if self.region.is_empty() || region.is_some_and(|region| region != self.region) {
            return Err(Refusal::Scope(Scope::Region));
        }
        let (signed, _) = moment
            .split_first_chunk::<8>()
            .unwrap_or((b"00000000", &[]));
        if self.date.as_bytes() == signed {
            return Ok(());
        }
        let scope = <[u8; 8]>::try_from(self.date.as_bytes()).ok();
        let scope = scope.filter(|day| day.iter().all(u8::is_ascii_digit));
        Err(Refusal::Scope(Scope::Date {
            scope,
            signed: *signed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_elements_make_a_credential() {
        let text = b"AKID/20260102/us-east-1/kinesisvideo/aws4_request";
        let credential = Credential::parse(text).ok().unwrap();
        assert_eq!(credential.access_key_id, "AKID");
        assert_eq!(
            credential.scope,
            "20260102/us-east-1/kinesisvideo/aws4_request"
        );
        #[rustfmt::skip] // a list
        let cases = [
            "", "AKID", "AKID/20260102/us-east-1/kinesisvideo", "/20260102/us-east-1/kinesisvideo/aws4_request",
            "A/KID/20260102/us-east-1/kinesisvideo/aws4_request", "AKID/20260102/us-east-1/kinesisvideo/aws4_request/",
            "AK ID/20260102/us-east-1/kinesisvideo/aws4_request", "ÄKID/20260102/us-east-1/kinesisvideo/aws4_request",
        ];
        for bad in cases {
            assert!(Credential::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = [&[b'A'; 129][..], &text[4..]].concat();
        assert!(Credential::parse(&long).is_err() && Credential::parse(&long[1..]).is_ok());
        assert!(Credential::parse(b"AKID/\xFF/us-east-1/kinesisvideo/aws4_request").is_err());
    }

    #[test]
    fn scopes_are_distinguished() {
        let moment = b"20260102T030405Z";
        let check = |scope: &str, region| {
            let text = format!("AKID/{scope}");
            let credential = Credential::parse(text.as_bytes()).ok().unwrap();
            credential.check(Service::KinesisVideo, region, moment)
        };
        let here = Some("us-east-1");
        let found = check("20260102/us-east-1/kinesisvideo/aws4_request", here);
        assert_eq!(found, Ok(()));
        let found = check("20260102/eu-west-1/kinesisvideo/aws4_request", None);
        assert_eq!(found, Ok(()));
        let signed = *b"20260102";
        #[rustfmt::skip] // a table, a case per row
        let rows = [
            ("20260102/us-east-1/kinesisvideo/aws5_request", Scope::Terminator),
            ("20260102/us-east-1/sts/aws4_request", Scope::Service(Service::KinesisVideo)),
            ("20260102/us-east-2/kinesisvideo/aws4_request", Scope::Region),
            ("20260102/US-EAST-1/kinesisvideo/aws4_request", Scope::Region),
            ("20260101/us-east-1/kinesisvideo/aws4_request", Scope::Date { scope: Some(*b"20260101"), signed }),
            ("2026010x/us-east-1/kinesisvideo/aws4_request", Scope::Date { scope: None, signed }),
            ("202601020/us-east-1/kinesisvideo/aws4_request", Scope::Date { scope: None, signed }),
        ];
        for (scope, why) in rows {
            assert_eq!(check(scope, here), Err(Refusal::Scope(why)), "{scope}");
        }
        let found = check("20260102//kinesisvideo/aws4_request", None);
        assert_eq!(found, Err(Refusal::Scope(Scope::Region)));
    }
}
