//! Tokens of OpenID providers: read and verified by each kind of key, and refused before and by the signature.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use benches::harness::{Timer, group, run};
use broker_core::auth::provider::{
    Algorithms, KeySet, KeySource, Provider, TokenFault, Unverified,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;

fn main() {
    run(|criterion| {
        let (es256, rs256) = (es256(), rs256());
        for (name, case) in [("es256", &es256), ("rs256", &rs256)] {
            assert!(case.outcome(&case.token).is_ok(), "{name}");
            time(criterion, "verify", name, case, &case.token);
        }
        let forged = format!("{}AAAA", &es256.token[..es256.token.len() - 4]);
        assert_eq!(es256.outcome(&forged), Err(TokenFault::Signature));
        time(criterion, "refuse", "forged", &es256, &forged);
        let expired = es256.with(&json!({"exp": NOW_S - 100}));
        assert_eq!(es256.outcome(&expired), Err(TokenFault::Expired));
        time(criterion, "refuse", "expired", &es256, &expired);
    });
}

fn time(criterion: &mut Timer, operation: &str, name: &str, case: &Case, token: &str) {
    let operation = format!("web-identity/{operation}");
    let mut group = group(criterion, &operation, name, 1, token.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| case.outcome(black_box(token)).is_ok());
    });
    group.finish();
}

/// A provider with one key, and a token that the key signed.
struct Case {
    provider: Provider,
    token: String,
}

impl Case {
    fn new(jwk: &Value, header: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let keys = json!({ "keys": [jwk] }).to_string();
        let keys = KeySet::parse(keys.as_bytes()).expect("a set of keys");
        let message = message(header, &json!({}));
        let signature = BASE64URL_NOPAD.encode(&sign(message.as_bytes()));
        Self {
            provider: Provider {
                account: "123456789012".into(),
                issuer: "id.example.com/realms/home".into(),
                client_ids: vec!["home-app".into()],
                algorithms: Algorithms::default(),
                keys: KeySource::File(Arc::new(keys)),
                claims: vec!["email".into()],
            },
            token: format!("{message}.{signature}"),
        }
    }

    fn outcome(&self, token: &str) -> Result<(), TokenFault> {
        let KeySource::File(keys) = &self.provider.keys else {
            return Err(TokenFault::NoKeys);
        };
        let token = Unverified::read(token)?;
        self.provider.verify(&token, Some(keys), NOW_S).map(|_| ())
    }

    /// The token with other claims, and the signature of before.
    fn with(&self, changes: &Value) -> String {
        let signature = self.token.rsplit('.').next().unwrap_or_default();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
        format!("{}.{signature}", message(&header, changes))
    }
}

fn message(header: &Value, changes: &Value) -> String {
    let mut claims = json!({
        "iss": "https://id.example.com/realms/home", "sub": "8c5ad2c4-2f7a-4a2f-9d32-1f1b1f6a7f11", "aud": "home-app",
        "iat": NOW_S - 10, "exp": NOW_S + 600, "email": "somebody@example.com", "email_verified": true,
        "name": "Some Body", "amr": ["pwd", "otp"], "jti": "1b6a7f11-8c5a-d2c4-2f7a-4a2f9d321f1b",
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let parts = [header, &claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    parts.join(".")
}

fn es256() -> Case {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| BASE64URL_NOPAD.encode(half));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y});
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
    Case::new(&jwk, &header, |message| {
        let signature = key.sign(&random, message).expect("a signature");
        signature.as_ref().to_vec()
    })
}

fn rs256() -> Case {
    let random = SystemRandom::new();
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
    let [n, e] = [public.n, public.e].map(|part| BASE64URL_NOPAD.encode(&part));
    let jwk = json!({"kty": "RSA", "kid": "1", "n": n, "e": e});
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "1"});
    Case::new(&jwk, &header, |message| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .expect("a signature");
        signature
    })
}

const NOW_S: u64 = 1_790_000_000;
