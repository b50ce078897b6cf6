use super::*;
use broker_core::auth::provider::KeySource;

const PROVIDER: &str =
    "[oidc_provider.\"id.example.com/realms/home\"]|client_ids = [\"home-app\", \"tv-app\"]|";

/// Returns a role that trusts the provider under `condition`.
fn role(condition: &str) -> String {
    format!(
        "[role.viewer]|trust = '''{{\"Statement\": [{{\"Effect\": \"Allow\", \"Action\": \
         \"sts:AssumeRoleWithWebIdentity\", \"Principal\": {{\"Federated\": \
         \"arn:aws:iam::123456789012:oidc-provider/id.example.com/realms/home\"}}{condition}}}]}}'''|"
    )
}

const BY_SUB: &str =
    ", \"Condition\": {\"StringEquals\": {\"id.example.com/realms/home:sub\": \"a\"}}";

const JWKS: &str = r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-256", "kid": "1",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

#[test]
fn providers_are_read_with_the_claims_that_the_file_asks_for() {
    let folder = Folder::new();
    folder.write("home.jwks", JWKS);
    let policy = "[policy.p]|document = '''{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \
                  \"Action\": \"kinesisvideo:*\", \"Resource\": \
                  \"arn:aws:kinesisvideo:*:*:channel/${ID.example.com/realms/home:Email}/*\"}]}'''|";
    let text = format!(
        "{PROVIDER}jwks_file = \"home.jwks\"|{policy}{}policies = [\"p\"]|",
        role(BY_SUB)
    );
    let loaded = folder.load(&text).unwrap();
    let provider = loaded
        .credentials
        .provider("id.example.com/realms/home")
        .unwrap();
    assert_eq!(*provider.claims, [Box::from("email")]);
    assert_eq!(provider.client_ids.len(), 2);
    assert!(matches!(&provider.keys, KeySource::File(keys) if keys.len() == 1));
    assert_eq!(
        folder.warnings(&loaded),
        [
            "home.jwks: 1 of its keys are ignored: they are not for signatures, or too weak",
            "c.toml:4:1: policy p: ID.example.com/realms/home:Email may be an unverified address: also compare \
             ID.example.com/realms/home:Email_verified with true",
        ]
    );
    let both = text.replace(
        ":Email}/*",
        ":Email}/${ID.example.com/realms/home:EMAIL_verified}/*",
    );
    assert_eq!(folder.load(&both).unwrap().warnings.len(), 1);
    let summary = crate::config::credentials_summary(&loaded);
    let line = "provider    id.example.com/realms/home, account 123456789012, 2 client ids, 1 keys of a file\n";
    assert!(summary.contains(line), "{summary}");
    assert_eq!(folder.files(&loaded), ["c.toml", "home.jwks"]);
    let discovered =
        "private = true|jwks_hosts = [\"keys.example.com:8443\"]|algorithms = [\"ES384\"]|";
    let loaded = folder.load(&format!("{PROVIDER}{discovered}")).unwrap();
    let provider = loaded.credentials.providers().next().unwrap();
    let KeySource::Discovery(discovery) = &provider.keys else {
        panic!("{provider:?}");
    };
    assert!(discovery.private && *discovery.hosts == [Box::from("keys.example.com:8443")]);
}

/// Returns a provider with these client ids, and a role that trusts it unconditionally.
fn wide(ids: &str) -> String {
    let role = role("");
    format!("[oidc_provider.\"id.example.com/realms/home\"]|client_ids = {ids}|{role}")
}

/// Each row has a text and the beginning of the fault that it causes.
#[test]
fn faults_of_providers_have_their_places() {
    let folder = Folder::new();
    folder.write("bad.jwks", "{}");
    folder.write(
        "weak.jwks",
        r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#,
    );
    folder.write("none.pem", "no certificate");
    let table = |more: &str| format!("[oidc_provider.\"id.example.com\"]|{more}");
    let named = |issuer: &str| format!("[oidc_provider.\"{issuer}\"]|client_ids = [\"a\"]|");
    let both = "client_ids = [\"a\"]|jwks_file = \"bad.jwks\"|private = true|";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (named("https://id.example.com"), "expected an issuer without https://"),
        (named("home"), "expected an issuer without https://"),
        (table(""), "client_ids needed"),
        (table("client_ids = []|"), "c.toml:2:14: oidc_provider.id.example.com.client_ids = []: expected 1 to"),
        (table("client_ids = [\"a b\"]|"), "expected 1 to 100 texts"),
        (table("client_ids = [\"a\"]|algorithms = [\"HS256\"]|"), "expected some of RS256, RS384"),
        (table("client_ids = [\"a\"]|algorithms = [\"none\"]|"), "expected some of RS256, RS384"),
        (table("client_ids = [\"a\"]|jwks_hosts = [\"https://x\"]|"), "expected a host name"),
        (table("client_ids = [\"a\"]|ca = \"none.pem\"|"), "none.pem: expected a PEM file"),
        (table("client_ids = [\"a\"]|jwks_file = \"bad.jwks\"|"), "bad.jwks: expected a JSON object"),
        (table("client_ids = [\"a\"]|jwks_file = \"weak.jwks\"|"), "weak.jwks: it has no key for signatures"),
        (table(both), "expected without private: nothing is fetched"),
        (table("client_ids = [\"a\"]|secret = \"x\"|"), "unknown key"),
        (wide("[\"a\", \"b\"]"), "a statement of its trust lets in all users of all clients"),
        (named("id.example.com") + &named("ID.example.com"), "expected once"),
    ];
    for (text, wanted) in cases {
        let told = folder.bare(&folder.load(&text).unwrap_err().to_string());
        assert!(told.contains(wanted), "{text}\n told {told}");
    }
}

#[test]
fn a_trust_without_a_claim_is_warned_of_where_there_is_one_client() {
    let folder = Folder::new();
    let loaded = folder.load(&wide("[\"a\"]")).unwrap();
    let careless = loaded
        .warnings
        .iter()
        .any(|text| text.contains("accepts every user of"));
    assert!(careless, "{:?}", loaded.warnings);
}

#[test]
fn providers_that_nobody_trusts_and_claims_of_none_are_warned_of() {
    let folder = Folder::new();
    let policy = "[policy.p]|document = '''{\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"kinesisvideo:*\", \
                  \"Resource\": \"*\", \"Condition\": {\"StringEquals\": {\"other.example.com:sub\": \"x\"}}}]}'''|";
    let told = |text: &str| folder.load(text).unwrap().warnings.join("\n");
    let text = told(&format!("{PROVIDER}{policy}"));
    testkit::assert_has(
        &text,
        &["no role trusts arn:aws:iam::123456789012:oidc-provider/id.example.com"],
    );
    for (console, count) in [("other.example.com", 1), ("id.example.com/realms/home", 0)] {
        let warnings = folder.load_for(Some(console), PROVIDER).unwrap().warnings;
        assert_eq!(warnings.len(), count, "{warnings:?}");
    }
    testkit::assert_has(
        &text,
        &["policy p: other.example.com:sub is not a claim of a provider"],
    );
    let text = told(&role(BY_SUB));
    testkit::assert_has(
        &text,
        &["role viewer trusts arn:aws:iam::123456789012:oidc-provider/id"],
    );
    let many: String = (0..65)
        .map(|nth| format!("[oidc_provider.\"id{nth}.example.com\"]|client_ids = [\"a\"]|"))
        .collect();
    let told = folder.load(&many).unwrap_err().to_string();
    assert!(told.contains("65 providers: expected at most 64"), "{told}");
}
