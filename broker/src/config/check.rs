//! Rules across several keys of the configuration, and what this version supports.

use super::cluster;
use super::cpus::Cpus;
use super::document::Reader;
use broker_core::limits::{ENVELOPE_BYTES_MAX, RECORDER_NOTES_LEAST};
use broker_core::settings::value::Span;
use broker_core::settings::{Auth, Listen, Scheme, Settings, overlap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Notes every rule that `settings` break.
pub(super) fn check(settings: &Settings, machine: &Cpus, reader: &mut Reader<'_>) {
    authentication(settings, reader);
    origins(settings, reader);
    hosts(settings, reader);
    listeners(settings, reader);
    admin(settings, reader);
    limits(settings, reader);
    timeouts(settings, reader);
    advertise(settings, reader);
    cluster::check(settings, reader);
    let notes = settings.recorder.notes;
    if notes > 0 && (notes < RECORDER_NOTES_LEAST || !notes.is_power_of_two()) {
        let rule = "allowed 0 for off, or a power of two from 1024 to 4194304";
        reader.fault("recorder.notes", notes, rule);
    }
    if settings.ice.len() > ICE_MAX {
        reader.fault(
            "ice",
            format!("{} entries", settings.ice.len()),
            format!("allowed at most {ICE_MAX} entries"),
        );
    }
    let foreign: Vec<_> = settings
        .cpus
        .iter()
        .filter(|cpu| !machine.allowed.contains(cpu))
        .collect();
    if !foreign.is_empty() {
        let rule = format!(
            "allowed the CPUs that this process may use: {:?}",
            machine.allowed
        );
        reader.fault("cpus", format!("{:?}", settings.cpus), rule);
    }
}

/// Notes a certificate that the file names without its key or the other way around; it is then as if not written.
pub(super) fn certificate(settings: &mut Settings, reader: &mut Reader<'_>) {
    let Some(files) = &settings.tls else {
        return;
    };
    let rule = match [&files.cert, &files.key].map(|path| path.as_os_str().is_empty()) {
        [false, false] => return,
        [true, true] => "allowed client_ca together with cert and key",
        [true, false] | [false, true] => "allowed cert and key together",
    };
    reader.fault("tls", "{ … }", rule);
    settings.tls = None;
}

fn authentication(settings: &Settings, reader: &mut Reader<'_>) {
    match settings.auth {
        Auth::None => {}
        Auth::Sigv4 if settings.credentials.is_some() => {}
        Auth::Sigv4 if reader.is_wrong("credentials") => {}
        Auth::Sigv4 => {
            let rule = "allowed with a credentials file: --credentials FILE, or credentials in the file; else --dev, \
                        or none \
                        with every listener on loopback";
            reader.fault("auth", "sigv4", rule);
        }
    }
}

fn origins(settings: &Settings, reader: &mut Reader<'_>) {
    if settings.auth != Auth::None && !settings.dev_origins.is_empty() {
        let rule = "allowed with --dev or auth none; where requests are signed, pages of any origin may send them";
        reader.fault("dev_origins", settings.dev_origins.join(" "), rule);
    }
    if settings.dev_origins.len() > ORIGINS_MAX {
        let rule = format!("allowed at most {ORIGINS_MAX} origins");
        reader.fault("dev_origins", settings.dev_origins.len(), rule);
    }
    let of_console = settings.admin.origins.len();
    if of_console > ORIGINS_MAX {
        let rule = format!("allowed at most {ORIGINS_MAX} origins");
        reader.fault("admin.origins", of_console, rule);
    }
}

fn hosts(settings: &Settings, reader: &mut Reader<'_>) {
    if !settings.dev && !settings.dev_hosts.is_empty() {
        let rule = "allowed with --dev";
        reader.fault("dev_hosts", settings.dev_hosts.join(" "), rule);
    }
    if settings.dev_hosts.len() > DEV_HOSTS_MAX {
        let rule = format!("allowed at most {DEV_HOSTS_MAX} names and addresses");
        reader.fault("dev_hosts", settings.dev_hosts.len(), rule);
    }
}

fn listeners(settings: &Settings, reader: &mut Reader<'_>) {
    for (nth, listen) in settings.listen.iter().enumerate() {
        let mut earlier = settings.listen.iter().take(nth);
        if let Some(other) = earlier.find(|other| clash(other.addr, listen.addr)) {
            reader.fault("listen", listen, once(other, listen));
        }
        let ip = listen.addr.ip();
        let of_lan = listen.scheme == Scheme::Https && settings.lan.is_some_and(|lan| ip == lan);
        let is_open = !ip.is_loopback() && !of_lan && !settings.allow_remote;
        if is_open && settings.dev {
            reader.fault(
                "listen",
                listen,
                "allowed loopback addresses only, since --dev lets everybody in; --allow-remote permits others",
            );
        } else if is_open && settings.auth == Auth::None {
            reader.fault(
                "listen",
                listen,
                "allowed loopback addresses only, since auth none lets everybody in",
            );
        }
        let certified = settings.tls.is_some() || settings.dev || reader.is_wrong("tls");
        if listen.scheme == Scheme::Https && !certified {
            let rule = "allowed with a certificate: --tls-cert FILE --tls-key FILE, or [tls] cert and key in the file; \
                        --dev \
                        makes one of its own";
            reader.fault("listen", listen, rule);
        }
    }
    if settings.listen.len() > LISTENERS_MAX {
        reader.fault(
            "listen",
            format!("{} listeners", settings.listen.len()),
            format!("allowed 1 to {LISTENERS_MAX}"),
        );
    }
}

fn admin(settings: &Settings, reader: &mut Reader<'_>) {
    let has_token = settings.admin.token_file.is_some() || reader.is_wrong("admin.token_file");
    if !settings.admin.origins.is_empty() && !has_token {
        reader.fault(
            "admin.origins",
            settings.admin.origins.join(" "),
            "allowed with admin.token_file, since who asks a proxy reaches the listener from loopback",
        );
    }
    if settings.admin.try_page && !settings.dev && !has_token {
        reader.fault(
            "admin.try",
            "true",
            "allowed with admin.token_file, since the page gives away credentials",
        );
    }
    let Some(addr) = settings.admin.listen else {
        return;
    };
    if settings
        .listen
        .iter()
        .any(|listen| clash(listen.addr, addr))
    {
        reader.fault(
            "admin.listen",
            addr,
            "allowed an address and port that no other listener has",
        );
    }
    if addr.ip().is_loopback() {
        return;
    }
    if settings.dev && !settings.allow_remote {
        reader.fault(
            "admin.listen",
            addr,
            "allowed loopback addresses only, under --dev without --allow-remote",
        );
    } else if !has_token {
        reader.fault(
            "admin.listen",
            addr,
            "allowed loopback addresses, or others with admin.token_file",
        );
    }
}

fn limits(settings: &Settings, reader: &mut Reader<'_>) {
    let limits = &settings.limits;
    let least = limits.payload_bytes + ENVELOPE_BYTES_MAX;
    if limits.message_bytes < least {
        let rule = format!(
            "allowed at least {least}: limits.payload_bytes and {ENVELOPE_BYTES_MAX} for what is around it"
        );
        reader.fault("limits.message_bytes", limits.message_bytes, rule);
    }
    // 0 stands for a part of the total, which is never too small.
    let written = |bytes| if bytes == 0 { usize::MAX } else { bytes };
    let pairs = [
        (
            "limits.outbox_bytes",
            limits.outbox_bytes,
            "limits.pending_bytes_per_channel",
            limits.pending_bytes_per_channel,
        ),
        (
            "limits.outbox_bytes_per_shard",
            written(limits.outbox_bytes_per_shard),
            "limits.outbox_bytes",
            limits.outbox_bytes,
        ),
        (
            "limits.outbox_bytes_total",
            limits.outbox_bytes_total,
            "limits.outbox_bytes",
            limits.outbox_bytes,
        ),
        (
            "limits.pending_bytes_per_shard",
            written(limits.pending_bytes_per_shard),
            "limits.pending_bytes_per_channel",
            limits.pending_bytes_per_channel,
        ),
        (
            "limits.pending_bytes_total",
            limits.pending_bytes_total,
            "limits.pending_bytes_per_channel",
            limits.pending_bytes_per_channel,
        ),
        (
            "limits.pending_bytes_per_channel",
            limits.pending_bytes_per_channel,
            "limits.payload_bytes with what is around it",
            least,
        ),
    ];
    for (larger_key, larger, smaller_key, smaller) in pairs {
        if larger < smaller {
            reader.fault(
                larger_key,
                larger,
                format!("allowed at least {smaller}, which is {smaller_key}"),
            );
        }
    }
}

fn timeouts(settings: &Settings, reader: &mut Reader<'_>) {
    let timeouts = &settings.timeouts;
    let (age, grace) = (timeouts.connection_age_ms, timeouts.go_away_grace_ms);
    if age != 0 && grace >= age {
        let rule = format!(
            "allowed less than timeouts.connection_age, which is {}",
            Span(age)
        );
        reader.fault("timeouts.go_away_grace", Span(grace), rule);
    }
    if timeouts.ping_ms != 0 && timeouts.ping_ms >= timeouts.idle_ms {
        let rule = format!(
            "allowed less than timeouts.idle, which is {}, or off",
            Span(timeouts.idle_ms)
        );
        reader.fault("timeouts.ping", Span(timeouts.ping_ms), rule);
    }
}

fn advertise(settings: &Settings, reader: &mut Reader<'_>) {
    let advertise = &settings.advertise;
    if let (Some(domain), true) = (
        &advertise.domain,
        advertise.wss.is_some() || advertise.https.is_some(),
    ) {
        reader.fault(
            "advertise.domain",
            domain,
            "allowed without advertise.wss and advertise.https only",
        );
    }
}

/// The rule for two client listeners that would get in each other's way.
fn once(one: &Listen, other: &Listen) -> String {
    let rule = "allowed each address and port once";
    if one.addr.ip() == other.addr.ip() {
        return rule.into();
    }
    let any = [one, other].map(|listen| listen.addr.ip());
    if any.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        return format!("{rule}: it overlaps {one}, since [::] takes IPv4 and IPv6");
    }
    format!("{rule}: it overlaps {one}")
}

/// Whether two listeners would get in each other's way: the same port, and the same address or one that covers it.
/// `[::]` covers all addresses, `0.0.0.0` those of IPv4.
pub(super) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && overlap(one, other)
}

/// Source: C SDK, `MAX_ICE_CONFIG_COUNT` 5: it takes more for an error.
const ICE_MAX: usize = 5;

/// Each listener is a descriptor per shard.
const LISTENERS_MAX: usize = 64;

/// Each is a name of the development certificate.
const DEV_HOSTS_MAX: usize = 16;

/// Each is compared with the origin of a request.
const ORIGINS_MAX: usize = 64;
