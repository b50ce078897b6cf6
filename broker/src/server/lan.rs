//! The start of `--lan`: the way of connections from shards to the pages, and the first code for a phone.

use crate::edge::TakeAdmin;
use crate::qr::Qr;
use crate::side::{Lan, Pairing, Shows, visits};
use broker_core::settings::Settings;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Instant;

/// The end for shards, and the maker of codes; the other end is among what the side thread shows. Nothing without
/// `--lan`.
pub(crate) fn open(settings: &Settings, shows: &mut Shows) -> (Option<TakeAdmin>, Option<Pairing>) {
    if settings.lan.is_none() {
        return (None, None);
    }
    let (take, visits) = visits();
    let pairing = Pairing::default();
    shows.lan = Some(Lan {
        visits,
        pairing: pairing.clone(),
    });
    (Some(take), Some(pairing))
}

/// Shows a code on stderr, if that is a terminal: elsewhere it is a log, where no secret belongs.
pub(crate) fn invite(settings: &Settings, pairing: Option<&Pairing>) {
    let mut out = std::io::stderr().lock();
    let (Some(pairing), Some(base), true) = (pairing, settings.lan_url(), out.is_terminal()) else {
        return;
    };
    let code = pairing.code(Instant::now());
    if let Some(text) = code.and_then(|code| invitation(settings, &format!("{base}/pair/{code}"))) {
        let _ = out.write_all(text.as_bytes());
    }
}

fn invitation(settings: &Settings, url: &str) -> Option<String> {
    let mut text = format!("\n{}\n", Qr::new(url)?.terminal());
    let _ = writeln!(text, "  On a phone in the same network: {url}");
    let _ = writeln!(
        text,
        "  Accept the certificate there, and press Use this device. The code serves once, within five minutes."
    );
    if let Some(page) = settings.try_url() {
        let _ = writeln!(text, "  Another code: Open on my phone, at {page}\n");
    }
    Some(text)
}
