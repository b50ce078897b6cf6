//! A token of an OpenID provider that another key than the provider's has signed: all else about it is right, so that
//! only its signature is wrong.

use crate::Failure;
use crate::server::now_s;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The provider, as credentials files name it.
pub(crate) const ISSUER: &str = "id.example.com";

/// The key set of a provider, and a token that one of its keys is said to have signed.
pub(crate) fn forged() -> Result<(Value, String), Failure> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = key.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at_checked(32).ok_or("a point of 64 bytes")?;
    let [x, y] = [x, y].map(|half| BASE64URL_NOPAD.encode(half));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]});
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
    let claims = json!({
        "iss": format!("https://{ISSUER}"), "sub": "somebody", "aud": "app",
        "iat": now_s(), "exp": now_s() + 3600,
    });
    let parts = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let message = parts.join(".");
    let signature = other.sign(&SystemRandom::new(), message.as_bytes())?;
    let signature = BASE64URL_NOPAD.encode(signature.as_ref());
    Ok((keys, format!("{message}.{signature}")))
}
