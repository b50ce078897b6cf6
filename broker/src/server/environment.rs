//! The environment of clients of this broker: the variables that AWS SDKs, the CLI and the C SDK read.

use broker_core::settings::{Auth, Listen, Scheme, Settings};
use std::path::PathBuf;

/// The names of all variables.
pub(crate) const NAMES: [&str; 12] = [
    "AWS_ENDPOINT_URL_KINESIS_VIDEO",
    "AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING",
    "AWS_ENDPOINT_URL_STS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_KVS_CACERT_PATH",
    "CONTROL_PLANE_URI",
    "HELIOGRAPH_ADMIN",
];

/// The variables, by name. The endpoint is the TLS listener, if there is one and `--plain` does not say otherwise,
/// since discovery names it.
#[must_use]
pub(crate) fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    let Some(listen) = listener(settings) else {
        return Vec::new();
    };
    let port = listen.addr.port();
    let secure = listen.scheme == Scheme::Https;
    let scheme = if secure { "https" } else { "http" };
    let endpoint = if secure && listen.addr.ip().is_loopback() {
        format!("{scheme}://localhost:{port}")
    } else {
        format!("{scheme}://{}", listen.addr)
    };
    let mut variables = vec![
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", endpoint.clone()),
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING", endpoint.clone()),
        ("AWS_REGION", settings.region.clone()),
        ("AWS_DEFAULT_REGION", settings.region.clone()),
    ];
    match settings.auth {
        Auth::None => {
            variables.push(("AWS_ACCESS_KEY_ID", "test".into()));
            variables.push(("AWS_SECRET_ACCESS_KEY", "test".into()));
        }
        // Only the operator knows whose keys they are; their federation tokens come from here.
        Auth::Sigv4 => variables.push(("AWS_ENDPOINT_URL_STS", endpoint)),
    }
    if let Some(ca) = authority(settings).filter(|_| secure) {
        let ca = ca.display().to_string();
        variables.push(("AWS_CA_BUNDLE", ca.clone()));
        variables.push(("NODE_EXTRA_CA_CERTS", ca.clone()));
        variables.push(("AWS_KVS_CACERT_PATH", ca));
    }
    if secure && port == 443 {
        // The C SDK dials no other port.
        variables.push(("CONTROL_PLANE_URI", "https://localhost".into()));
    }
    if let Some(admin) = settings.admin.listen {
        variables.push(("HELIOGRAPH_ADMIN", format!("http://{admin}")));
    }
    variables
}

/// The development certificate's authority as an absolute path, if TLS listeners present one of its certificates.
pub(crate) fn authority(settings: &Settings) -> Option<PathBuf> {
    let https = |listen: &Listen| listen.scheme == Scheme::Https;
    let generated = settings.tls.is_none() && settings.listen.iter().any(https);
    let path = settings.data_dir.join(crate::certificate::AUTHORITY);
    generated.then(|| std::path::absolute(&path).unwrap_or(path))
}

fn listener(settings: &Settings) -> Option<Listen> {
    let mut all = settings.listen.iter().copied();
    let wanted = if settings.plain {
        Scheme::Http
    } else {
        Scheme::Https
    };
    let found = all.find(|listen| listen.scheme == wanted);
    found.or_else(|| settings.listen.first().copied())
}

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::Profile;

    fn value(settings: &Settings, name: &str) -> Option<String> {
        let all = environment(settings);
        all.into_iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn every_variable_has_a_name_that_clients_take_over() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen[1].addr.set_port(443);
        let mut found: Vec<&str> = Vec::new();
        for auth in [Auth::None, Auth::Sigv4] {
            settings.auth = auth;
            found.extend(environment(&settings).into_iter().map(|(name, _)| name));
        }
        found.sort_unstable();
        found.dedup();
        let mut names = NAMES;
        names.sort_unstable();
        assert_eq!(found, names);
    }

    #[test]
    fn endpoints_and_trust_follow_the_listeners() {
        let mut settings = Settings::new(Profile::Default, true);
        let endpoint = "AWS_ENDPOINT_URL_KINESIS_VIDEO";
        assert_eq!(
            value(&settings, endpoint).as_deref(),
            Some("https://localhost:8443")
        );
        let ca = value(&settings, "AWS_CA_BUNDLE").unwrap();
        assert!(
            ca.starts_with('/') && ca.ends_with("heliograph-data/dev-ca.pem"),
            "{ca}"
        );
        assert_eq!(value(&settings, "NODE_EXTRA_CA_CERTS"), Some(ca));
        assert_eq!(
            value(&settings, "AWS_ACCESS_KEY_ID").as_deref(),
            Some("test")
        );
        assert_eq!(value(&settings, "AWS_ENDPOINT_URL_STS"), None);
        settings.plain = true;
        assert_eq!(
            value(&settings, endpoint).as_deref(),
            Some("http://127.0.0.1:8080")
        );
        assert_eq!(value(&settings, "AWS_CA_BUNDLE"), None);
        settings.auth = Auth::Sigv4;
        assert_eq!(value(&settings, "AWS_ACCESS_KEY_ID"), None);
        assert_eq!(
            value(&settings, "AWS_ENDPOINT_URL_STS").as_deref(),
            Some("http://127.0.0.1:8080")
        );
    }
}
