//! The name of a thing within its certificate.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// The place of a thing's name in certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// The common name of the subject.
    CommonName,
    /// The alternative name that is a DNS name.
    Dns,
    /// The alternative name that is a URI.
    Uri,
}

impl NameSource {
    /// The place as the configuration has it.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "subject.CN" => Some(Self::CommonName),
            "san.dns" => Some(Self::Dns),
            "san.uri" => Some(Self::Uri),
            _ => None,
        }
    }

    /// The name in a certificate: exactly one, of the form that names of things have.
    pub(crate) fn of(self, certificate: &X509Certificate<'_>) -> Result<Box<str>, &'static str> {
        let names = match self {
            Self::CommonName => {
                let names = certificate.subject().iter_common_name();
                names.map(|name| name.as_str().ok()).collect()
            }
            Self::Dns => alternatives(certificate, |name| {
                let GeneralName::DNSName(name) = name else {
                    return None;
                };
                Some(*name)
            }),
            Self::Uri => alternatives(certificate, |name| {
                let GeneralName::URI(name) = name else {
                    return None;
                };
                Some(*name)
            }),
        };
        let names: Vec<&str> = names.ok_or("its thing's name cannot be read")?;
        match names[..] {
            [] => Err("it has no name of a thing where the configuration says"),
            [name] if is_thing_name(name) => Ok(name.into()),
            [_] => Err(
                "its name is none of a thing: allowed 1 to 128 of the characters a-z A-Z 0-9 : _ -",
            ),
            _ => Err("it has several names where the configuration says"),
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "as the common name, which may be no text"
)]
fn alternatives<'a>(
    certificate: &'a X509Certificate<'a>,
    of_kind: impl Fn(&'a GeneralName<'a>) -> Option<&'a str>,
) -> Option<Vec<&'a str>> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Some(Vec::new());
    };
    Some(
        names
            .value
            .general_names
            .iter()
            .filter_map(of_kind)
            .collect(),
    )
}

/// Whether a text may be the name of a thing. Source: AWS IoT API Reference, `ThingName`.
#[must_use]
pub(crate) fn is_thing_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    (1..=THING_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Longest name of a thing. Source: AWS IoT API Reference, `ThingName`.
const THING_NAME_BYTES_MAX: usize = 128;
