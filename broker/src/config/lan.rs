//! The meaning of `--lan`: a TLS listener on the machine's address in the local network, and that address among the
//! names of the development server.

use crate::config::draft::Findings;
use crate::config::error::ValuePlace;
use crate::lan::Networks;
use broker_core::settings::{Listen, Scheme, Settings};
use std::io;
use std::net::Ipv4Addr;

/// Lets devices of the local network in, at `wanted` or at the machine's only address there.
pub(crate) fn apply(
    wanted: Option<Ipv4Addr>,
    networks: io::Result<Networks>,
    settings: &mut Settings,
    findings: &mut Findings,
) {
    let given = wanted.map(|address| address.to_string());
    findings.written("lan", ValuePlace::Flag("--lan"));
    let chosen = networks
        .map_err(|error| format!("the addresses of this machine cannot be read: {error}"))
        .and_then(|networks| networks.choose(wanted));
    let address = match chosen {
        Ok(address) => address,
        Err(rule) => return findings.fault("lan", given.unwrap_or_default(), rule),
    };
    if settings.admin.listen.is_none() {
        let rule =
            "allowed with an admin listener, whose pages a phone opens: leave out --admin off";
        findings.fault("lan", address, rule);
    }
    settings.lan = Some(address);
    let name = address.to_string();
    if !settings.dev_hosts.contains(&name) {
        settings.dev_hosts.push(name);
    }
    if settings.lan_listener().is_none() {
        let port = settings.port(Scheme::Https).unwrap_or(TLS_PORT);
        settings.listen.push(Listen {
            scheme: Scheme::Https,
            addr: (address, port).into(),
        });
    }
}

/// The port of the TLS listener where no listener is named: that of `--dev`.
const TLS_PORT: u16 = 8443;

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::Profile;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

    fn listeners(settings: &Settings) -> Vec<String> {
        settings.listen.iter().map(ToString::to_string).collect()
    }

    fn with_lan(mut settings: Settings) -> (Settings, usize) {
        let mut findings = Findings::default();
        let networks = Networks::of(&[ADDRESS]);
        apply(Some(ADDRESS), Ok(networks), &mut settings, &mut findings);
        (settings, findings.faults.len())
    }

    /// Whether the last listener is the one with pages.
    fn of_lan(settings: &Settings) -> bool {
        let last = u16::try_from(settings.listen.len() - 1);
        settings.has_pages(last.unwrap())
    }

    #[test]
    fn a_tls_listener_is_added_at_the_same_port() {
        let (settings, faults) = with_lan(Settings::new(Profile::Default, true));
        assert_eq!(faults, 0);
        let all = listeners(&settings);
        assert_eq!(all.last().unwrap(), "https://192.168.77.2:8443", "{all:?}");
        assert!(all.contains(&"http://127.0.0.1:8080".to_owned()), "{all:?}");
        assert_eq!(settings.dev_hosts, ["192.168.77.2"]);
        assert_eq!(
            settings.lan_url().as_deref(),
            Some("https://192.168.77.2:8443")
        );
        assert!(!settings.has_pages(0) && of_lan(&settings));
    }

    #[test]
    fn a_listener_on_all_addresses_is_enough() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen = vec![Listen {
            scheme: Scheme::Https,
            addr: "0.0.0.0:9443".parse().unwrap(),
        }];
        let (settings, _) = with_lan(settings);
        assert_eq!(listeners(&settings), ["https://0.0.0.0:9443"]);
        assert_eq!(
            settings.lan_url().as_deref(),
            Some("https://192.168.77.2:9443")
        );
    }

    #[test]
    fn without_an_admin_listener_there_are_no_pages() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.admin.listen = None;
        assert_eq!(with_lan(settings).1, 1);
    }
}
