//! The secrets of a hook, and the signatures of its requests.
//!
//! Source: Standard Webhooks specification 1.0.0, "Signature scheme": HMAC-SHA256 over `id.timestamp.body`, in base64
//! behind `v1,`; secrets are written as `whsec_` and 24 to 64 bytes in base64. With two secrets, each signs: a receiver
//! takes a request that any of its own verifies.

use crate::files;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64_simd::STANDARD;
use std::path::Path;
use zeroize::Zeroizing;

/// The keys of a hook: one, or two during a rotation.
pub(crate) struct Secrets(Vec<Key>);

impl Secrets {
    /// The value of `webhook-signature`.
    pub(crate) fn signature(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp_s}.").into_bytes();
        signed.extend_from_slice(body);
        let one = |key| format!("v1,{}", STANDARD.encode_to_string(sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// The secrets of a file, one a line.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn read(path: &Path) -> Result<Secrets, String> {
    let read = files::read_regular_text(path, FILE_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        return Err("must be a file that only its owner and group may read: chmod 600".into());
    }
    let lines = read.content.lines().map(str::trim);
    let secrets: Option<Vec<_>> = lines.filter(|line| !line.is_empty()).map(key).collect();
    match secrets {
        Some(keys) if (1..=SECRETS_MAX).contains(&keys.len()) => Ok(Secrets(keys)),
        Some(_) | None => Err(format!(
            "must be a file with one secret a line, at most {SECRETS_MAX}: whsec_ and {} to {} bytes in base64 (echo \
             whsec_$(openssl rand -base64 32))",
            SECRET_BYTES.start(),
            SECRET_BYTES.end()
        )),
    }
}

fn key(line: &str) -> Option<Key> {
    let text = line.strip_prefix("whsec_")?;
    let bytes = Zeroizing::new(STANDARD.decode_to_vec(text).ok()?);
    SECRET_BYTES
        .contains(&bytes.len())
        .then(|| Key::new(HMAC_SHA256, &bytes))
}

const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret in force and the one before or after it.
const SECRETS_MAX: usize = 2;

/// Two secrets with their line ends, and room for blanks.
const FILE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {

    use super::*;

    /// Source: the test vector of the specification's reference libraries.
    #[test]
    fn the_vector_of_the_specification() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature =
            Secrets(vec![key]).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_secrets_of_the_right_form_and_length() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode_to_string(vec![7; bytes]));
        for (line, right) in [
            (of(24), true),
            (of(64), true),
            (of(23), false),
            (of(65), false),
            (of(32).replace("whsec_", ""), false),
            ("whsec_not base64".into(), false),
        ] {
            assert_eq!(key(&line).is_some(), right, "{line}");
        }
    }
}
