//! The credentials used to sign requests.

use codec::sigv4::signer::Keys;
use std::fmt;
use thiserror::Error;

/// Long-term or temporary credentials. Their debug output hides the secrets.
#[derive(Clone)]
pub struct LoadCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// `--presign` was given, but there are no credentials. The program exits with code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "--presign: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary keys), or send no \
     signatures with --no-auth"
)]
pub struct MissingKeys;

impl LoadCredentials {
    /// Reads the credentials from the standard AWS environment variables. `of` looks up a variable's value.
    ///
    /// # Errors
    /// Returns an error if the key id or the secret is missing.
    pub fn from_environment(of: impl Fn(&str) -> Option<String>) -> Result<Self, MissingKeys> {
        let set = |name: &str| of(name).filter(|value| !value.is_empty());
        Ok(Self {
            access_key_id: set("AWS_ACCESS_KEY_ID").ok_or(MissingKeys)?,
            secret_access_key: set("AWS_SECRET_ACCESS_KEY").ok_or(MissingKeys)?,
            session_token: set("AWS_SESSION_TOKEN"),
        })
    }

    /// Returns the credentials in the form that a signer expects.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            session_token: self.session_token.as_deref(),
        }
    }
}

impl fmt::Debug for LoadCredentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::sigv4::signer::Signer;

    #[test]
    fn keys_come_from_the_environment_and_are_not_shown() {
        let credentials =
            LoadCredentials::from_environment(|name| Some(format!("value of {name}"))).unwrap();
        let keys = credentials.keys();
        assert_eq!(keys.session_token, Some("value of AWS_SESSION_TOKEN"));
        let shown = format!("{credentials:?} {:?}", Signer::new(keys, "us-west-2"));
        assert!(!shown.contains("value"), "{shown}");
        for missing in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            let variable = |name: &str| Some(if name == missing { "" } else { "x" }.to_owned());
            assert!(LoadCredentials::from_environment(variable).is_err());
        }
    }
}
