//! The one line on stdout.

use broker_core::settings::{Listen, Scheme, Settings};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Reports on stdout that every listener of every shard accepts, and where.
pub(super) fn tell(settings: &Settings, ca: Option<&Path>) {
    let mut out = std::io::stdout().lock();
    // A closed stdout is the starter's business, not a reason to end.
    let told = writeln!(out, "{}", line(settings, ca)).and_then(|()| out.flush());
    if let Err(error) = told {
        tracing::warn!(%error, "the ready line could not be written");
    }
}

fn line(settings: &Settings, ca: Option<&Path>) -> String {
    let mut line = String::from("ready");
    for Listen { scheme, addr } in &settings.listen {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let _ = write!(line, " {scheme}://{addr}");
    }
    let _ = match settings.admin.listen {
        Some(addr) => write!(line, " admin=http://{addr}"),
        None => write!(line, " admin=off"),
    };
    if let Some(ca) = ca {
        let _ = write!(line, " ca={}", ca.display());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::Profile;

    #[test]
    fn the_line_is_the_contract() {
        let mut settings = Settings::new(Profile::Default, true);
        assert_eq!(
            line(&settings, Some(Path::new("heliograph-data/dev-ca.pem"))),
            "ready http://127.0.0.1:8080 https://127.0.0.1:8443 admin=http://127.0.0.1:9090 \
             ca=heliograph-data/dev-ca.pem"
        );
        settings.listen = vec![Listen {
            scheme: Scheme::Https,
            addr: "[::1]:1".parse().unwrap(),
        }];
        settings.admin.listen = None;
        assert_eq!(line(&settings, None), "ready https://[::1]:1 admin=off");
    }
}
