//! Checks signatures on a `--dev` server that does not verify them. This finds signatures that a production server
//! would refuse, as far as is possible without knowing the principals' secrets.
//!
//! A signature's format, scope and time can be checked without a secret. Signatures made for a different path or host,
//! or with different escaping, are detected by trying two likely secrets: the one in the quick start guide, and the key
//! id itself, which tests often use as the secret.

use crate::limits::DEV_SIGNATURES_PER_SECOND_MAX;
use crate::settings::{Auth, Settings};
use crate::shard::dev::state::AccountUse;
use crate::{check::Check, time::Moment};
use codec::http::Head;
use codec::sigv4::{AccessKey, Refusal, RequestRules, Service, SignedAs, SigningKeys, Verifier};
use std::sync::Arc;

/// Checks the signatures of requests to a `--dev` shard.
pub(crate) struct Signatures {
    region: Box<str>,
    clock_tolerance_s: u64,
    empty_token_is_none: bool,
    verifier: Verifier,
    keys: SigningKeys,
    /// The current second, and the number of signatures checked in it.
    looks: (u64, u32),
    /// Signatures that have already been reported, shared by all shards.
    pub(crate) noted: Option<Arc<AccountUse>>,
}

/// A signature that a production server would refuse.
pub(crate) struct WouldRefuse {
    pub(crate) check: Check,
    /// How the signed request differs from the one that was received, if known.
    pub(crate) reason: Option<SignedAs>,
}

impl From<Refusal> for WouldRefuse {
    fn from(refusal: Refusal) -> Self {
        let check = crate::refusal::Refusal::from(refusal).check;
        let reason = None;
        Self { check, reason }
    }
}

impl Signatures {
    /// Creates the signature checks, or returns `None` if the server already verifies signatures itself.
    pub(crate) fn of(settings: &Settings, noted: Option<&Arc<AccountUse>>) -> Option<Self> {
        let rules = settings.signature_rules();
        (settings.auth == Auth::None).then(|| Self {
            region: settings.region.as_str().into(),
            clock_tolerance_s: rules.clock_tolerance_s,
            empty_token_is_none: !rules.strict,
            verifier: Verifier::new(),
            keys: SigningKeys::new(1),
            looks: (0, 0),
            noted: noted.map(Arc::clone),
        })
    }

    /// Checks the signature of an upgrade, or of a call with this body. Returns the refusal that a production server
    /// would send, if any. The number of signatures checked per second is limited.
    pub(crate) fn look(
        &mut self,
        head: &Head<'_>,
        body: Option<&[u8]>,
        at: Moment,
    ) -> Option<WouldRefuse> {
        let second = at.now.0 / 1000;
        if self.looks.0 != second {
            self.looks = (second, 0);
        }
        self.looks.1 += 1;
        let is_looked_at = self.looks.1 <= DEV_SIGNATURES_PER_SECOND_MAX;
        is_looked_at.then(|| self.refusal(head, body, at.wall.0 / 1000))?
    }

    fn refusal(&mut self, head: &Head<'_>, body: Option<&[u8]>, now_s: u64) -> Option<WouldRefuse> {
        let rules = RequestRules {
            service: Service::KinesisVideo,
            region: Some(&self.region),
            now_s,
            clock_tolerance_s: self.clock_tolerance_s,
            empty_token_is_none: self.empty_token_is_none,
        };
        for own in [false, true] {
            let claim = match self.verifier.read(head, &rules) {
                Ok(claim) if body.is_none() => claim.of_upgrade(),
                Ok(claim) => claim,
                // A client that does not sign its requests at all does so deliberately.
                Err(Refusal::Missing) => return None,
                Err(refusal) => return Some(refusal.into()),
            };
            let token = claim.session_token().and_then(|it| str::from_utf8(it).ok());
            let key = AccessKey {
                secret_access_key: if own {
                    claim.access_key_id()
                } else {
                    DEV_SECRET
                },
                session_token: token,
                expires_s: None,
                clock_tolerance_s: None,
            };
            match claim.verify(Some(&key), body.unwrap_or_default(), &mut self.keys) {
                Ok(_) => return None,
                // The client's clock is wrong, regardless of its secret.
                Err(refusal @ (Refusal::Expired { .. } | Refusal::Early { .. })) => {
                    return Some(refusal.into());
                }
                Err(_) => {}
            }
            if let Some(signed) = self.verifier.signed_as(&[]) {
                return Some(WouldRefuse {
                    check: Check::SignatureMismatch,
                    reason: Some(signed),
                });
            }
        }
        None
    }
}

/// The secret that appears in the quick start guide and in the line that the server prints when it is ready.
const DEV_SECRET: &str = "test";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Profile;
    use codec::http::HeadLimits;
    use codec::sigv4::signer::{Keys, Signer, Upgrade};

    /// Returns the refusal of a presigned URL whose path was replaced after signing. The request arrives `late_s`
    /// seconds after it was signed.
    fn refused(secret: &str, region: &str, path: &str, late_s: u64) -> Option<(Check, String)> {
        let keys = Keys {
            access_key_id: "AKID",
            secret_access_key: secret,
            session_token: None,
        };
        let upgrade = Upgrade {
            host: "localhost:8443",
            channel_arn: "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1",
            client_id: Some("v1"),
            expires_s: 300,
            now_s: 1_767_323_045,
        };
        let target = Signer::new(keys, region).presign(&upgrade);
        let target = target.replacen('/', path, 1);
        let text = format!("GET {target} HTTP/1.1\r\nHost: localhost:8443\r\n\r\n");
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let settings = Settings::new(Profile::Default, true);
        let mut signatures = Signatures::of(&settings, None).unwrap();
        let refused = signatures.refusal(&head, None, upgrade.now_s + late_s)?;
        let reason = refused.reason.map(|signed| signed.to_string());
        Some((refused.check, reason.unwrap_or_default()))
    }

    #[test]
    fn what_can_be_told_without_the_secret_is() {
        let own = Settings::new(Profile::Default, true).region;
        let mismatch = |secret| refused(secret, &own, "/other", 0);
        for secret in ["test", "AKID"] {
            assert_eq!(refused(secret, &own, "/", 0), None);
            assert_eq!(
                refused(secret, &own, "/master/", 0),
                None,
                "taken elsewhere too"
            );
            let (check, reason) = mismatch(secret).unwrap();
            assert_eq!(check, Check::SignatureMismatch);
            assert!(reason.contains("the path / was signed"), "{reason}");
        }
        // If the client used another secret, what it signed cannot be determined.
        assert_eq!(mismatch("another"), None);
        let check = |region: &str, late_s| refused("another", region, "/", late_s).unwrap().0;
        assert_eq!(check(&own, 301), Check::UrlExpired);
        assert_eq!(check("mars-1", 0), Check::ScopeRegion);
    }

    #[test]
    fn a_request_without_a_signature_is_none_of_these() {
        let text = "GET /?X-Amz-ChannelARN=x HTTP/1.1\r\nHost: h\r\n\r\n";
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let mut settings = Settings::new(Profile::Default, true);
        let mut signatures = Signatures::of(&settings, None).unwrap();
        assert!(signatures.refusal(&head, None, 0).is_none());
        settings.auth = Auth::Sigv4;
        assert!(Signatures::of(&settings, None).is_none());
    }
}
