//! Provider keys that exist only in tests, and the tokens that they sign.

use crate::auth::provider::{Algorithms, KeySet, KeySource, Provider, TokenFault, Unverified};
use crate::auth::sign_in::WebIdentity;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The current time in the tests, in seconds since 1970 UTC.
pub(crate) const NOW_S: u64 = 1_790_000_000;

/// A private key that signs tokens.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn es256() -> Self {
        let key = EncodingKey::from_ec_der(&der(EC_KEY));
        let algorithm = Algorithm::ES256;
        Self { algorithm, key }
    }

    pub(crate) fn rs256() -> Self {
        let key = EncodingKey::from_rsa_der(&der(RSA_KEY));
        let algorithm = Algorithm::RS256;
        Self { algorithm, key }
    }

    /// Returns the public key as it is published under an id, with changes.
    pub(crate) fn jwk(&self, id: &str, changes: Value) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let jwk = serde_json::to_value(jwk).unwrap();
        changed(changed(jwk, json!({"kid": id})), changes)
    }

    /// Signs a token with these claims and changes to its usual header.
    pub(crate) fn token(&self, claims: &Value, header: Value) -> String {
        let usual = serde_json::to_value(Header::new(self.algorithm)).unwrap();
        self.signed(&changed(usual, header).to_string(), &claims.to_string())
    }

    /// Signs a token with this text as its header and this text as its claims. Neither has to be valid.
    pub(crate) fn signed(&self, header: &str, claims: &str) -> String {
        let message = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        let message = message.join(".");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.unwrap())
    }

    /// Signs a token in the form that the library writes.
    pub(crate) fn usual(&self, id: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        encode(&header, &claims(json!({})), &self.key).unwrap()
    }
}

/// Returns the usual claims with changes. A change to null removes the claim.
pub(crate) fn claims(changes: Value) -> Value {
    let usual = json!({
        "iss": "https://id.example.com/realms/home", "sub": "alice", "aud": "home-app", "iat": NOW_S - 10,
        "exp": NOW_S + 600,
    });
    changed(usual, changes)
}

fn changed(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("no object");
    };
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

pub(crate) fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Returns the provider that matches the usual claims, with both keys.
pub(crate) fn provider() -> Provider {
    let keys = set(&[
        Signer::es256().jwk("e", json!({})),
        Signer::rs256().jwk("r", json!({"alg": "RS256", "use": "sig"})),
    ]);
    Provider {
        account: "123456789012".into(),
        issuer: "id.example.com/realms/home".into(),
        client_ids: vec!["home-app".into(), "tv-app".into()],
        algorithms: Algorithms::default(),
        keys: KeySource::File(Arc::new(keys)),
        claims: ["oaud", "email", "amr", "email_verified"]
            .map(Into::into)
            .into(),
    }
}

/// Verifies a token with the keys in the provider's file.
pub(crate) fn verified(provider: &Provider, token: &str) -> Result<WebIdentity, TokenFault> {
    let KeySource::File(keys) = &provider.keys else {
        panic!("keys of a file");
    };
    provider.verify(&Unverified::read(token)?, Some(keys), NOW_S)
}

fn der(text: &str) -> Vec<u8> {
    BASE64.decode(text.replace(' ', "").as_bytes()).unwrap()
}

/// P-256, PKCS #8.
const EC_KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNVapBwS6JyM/vK1X+TfKL/m3ah6OypqBd2DKL62/f2mhRANCAARS\
    0f4HrUkM2ohNCtaUu6hxHliDij6jd3w2eJssNeaeCG407p33GqUFsfprgUHpX/tOo6Bz1PBuPEhgJHzoNl9Q";

/// 2,048 bits, PKCS #1.
const RSA_KEY: &str = "\
    MIIEowIBAAKCAQEAvgR7upSuIWmyDXdJsrKlIczNRNUq0WqXqYPYdGyAL47zlktcy+Vtz/ZtxiH0i9nObv5kZS9PAdWylw/bmpZD\
    Og+MD7wBbBGHR9nflyRgM67WfQB6O2JHNXFcfOv6yr5pf4qj9oBFtXH/J7mYsVgCR62mAniPHSgTwmL7aA6btklv6brlmXdYAZ7P\
    q7NSfDzAfbhDMbhW/M5DYtFX0R3EYhAh1lZnCFP0d8ELuby3eOeCNja3h0CUAm5ygN0CI9uHo5gFSw9brqPKVp/SPe8x3B6V5pFr\
    RolmAaRPl6I178JYQTB5ohtSFBfIeBbhvFG9ChQwTRflUOSuQtPfb4cNbwIDAQABAoIBAAK6PXYi3+2RbK9Jp8UEdN80nhY/kH+i\
    dw6OkYCwB7sCdZM2kEpKGltHH0P5hRXR9mcKUcQHMoeOWv8wZBVLQgN+Dex7Us3nBoI6hRj1A20RWUKJy1vwSQ7PwVMbb3e2Z7PW\
    QXpAwoiKExMbVHgxfsgGnMnYk71RizzHfzt6/+oMDAqc+dYvObFMN9jRW0lF7b2pam/CPSyBjSaY9K4GJnLrCILaTPJ2qddrcdvf\
    q2vHLUaqDmpM1+fT853MKUmMCGKHEY10ou4EXs6L6le3zVTI3lOgyHJuY/OHWRU8k+oqS4irJHUCZ9yT67xcRSY1v/OiAXfeZEl2\
    y+PUNvinEBkCgYEA6APTKOlVdY7dx9QyC77JWOVXYlKjt/Vl2286IcZ6cwMjUSxO9KpzowVanuoRwgPL32I0C5ti4+tB9JHD9xgW\
    rw1K9WRtCJdEMcwPw8QW6dPncYxM8/I70/ZkHivVo+JqcD+0t4zSWnhh+dL9XxSPhx36Jb3xmuK1aDuY9tjwrfMCgYEA0ak29gaT\
    g65gJotUdmzhL/VJ9BtFgckgCL3zi2Fg09Ijvz1h43GxRczdbVi33P/FtHGGNQTBDs4COqsp7mVUlwt3nBn6Hm44EVoy0pb2b5qb\
    m1WSjE2VMWttR04I04z+poxSIFsHB4Na6DAUoPb6HAsPDPb8uoLOJGK3Xen3tZUCgYBD8ZrMyEf2fTgFZOai+eQM3FyStpCrNnn1\
    oMTtTypcs/aLtuYIUEI84zx+fR1mK6ZwbFnBbGexRxuxe15f5fX+nW3uHtKvSVz3GEMlmS78msmUPvnqFm3ezLDVBREzRQLWjFFn\
    zx1q0QYgGuGIDoVZlDXFB7LRIMLvG0TYRP92cQKBgGyryaoR1IoPaxTvaPMNEldaS1+0dv2DcxA07LRU3+xK4m5wcXmDZ4AnZKoV\
    rw9kn2Qc55Q5h5uV2f/w0gYYDZVQw0ltCYCWXodX+jm/N7K3L2p/GzuPxwHbjcPExbxpO2C2IKdWpzkUs5zftwGLoi3A6actqec+\
    f3zKkgKij9tVAoGBAMDSBwyxybbcRoPJGfdBaPIHPRpXRs96Fu+atY58mHU4w7JEvgMPKO1butMY/JZM2BWV7QgMrenxZ+xOVhau\
    sya8PzEzUBn9KHHYSQ//8yy8LTJfI6RHkwQJcSkW8PeIm7PgQd3T1Kdy4dGGshIZGY4dhrj4rjhRDbwCVNxJ8BgS";
