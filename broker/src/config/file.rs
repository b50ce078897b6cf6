//! Every key of the configuration file with its range, and every flag that overrides one.

use super::document::{Reader, Section, integer, list, text};
use super::flags::ServeFlags;
use super::value::{self, Checked};
use broker_core::limits::SHARDS_MAX;
use broker_core::settings::{
    Admin, Advertise, Ice, IceCredential, Limits, Quotas, Rate, Settings, Timeouts, TlsFiles,
};
use std::path::{Path, PathBuf};

/// Reads the whole file into `settings`, which hold the defaults.
pub(super) fn read(top: &mut Section<'_, '_, '_>, settings: &mut Settings) {
    top.text("region", &mut settings.region, value::region);
    top.text("account_id", &mut settings.account_id, value::account_id);
    top.size("shards", &mut settings.shards, 1..=SHARDS_MAX as u64);
    top.read("cpus", &mut settings.cpus, cpus);
    top.text("profile", &mut settings.profile, value::word);
    top.text("auth", &mut settings.auth, value::word);
    top.text("data_dir", &mut settings.data_dir, path);
    top.text("log_format", &mut settings.log_format, value::word);
    top.text("credentials", &mut settings.credentials, some_path);
    top.read("listen", &mut settings.listen, |value| {
        list(value, "URLs", |url| text(url, value::listen))
    });
    top.read("dev_origins", &mut settings.dev_origins, |value| {
        if value.as_array().is_some_and(|origins| origins.is_empty()) {
            return Ok(Vec::new());
        }
        list(value, "origins", |origin| text(origin, value::dev_origin))
    });
    top.section("tls", |section| settings.tls = tls(section));
    top.section("admin", |section| admin(section, &mut settings.admin));
    top.section("advertise", |section| {
        advertise(section, &mut settings.advertise)
    });
    top.section("limits", |section| limits(section, &mut settings.limits));
    top.section("timeouts", |section| {
        timeouts(section, &mut settings.timeouts)
    });
    top.section("quotas", |section| quotas(section, &mut settings.quotas));
    top.section("signaling", |section| {
        section.text("go_away", &mut settings.signaling.go_away, value::word);
    });
    top.section("options", |section| {
        section.flag("master_offers", &mut settings.options.master_offers)
    });
    top.tables("ice", |_, section| settings.ice.extend(ice(section)));
}

/// Lets the flags override what the file said.
pub(super) fn override_by_flags(
    settings: &mut Settings,
    flags: &ServeFlags,
    reader: &mut Reader<'_>,
) {
    let mut put = |key: &str, flag: &'static str, given: bool| {
        if given {
            reader.flag(key, flag);
        }
    };
    put("listen", "--listen", !flags.listen.is_empty());
    put("dev_origins", "--dev-origin", !flags.dev_origin.is_empty());
    put("admin.listen", "--admin", flags.admin.is_some());
    put("shards", "--shards", flags.shards.is_some());
    put("cpus", "--cpus", flags.cpus.is_some());
    put("profile", "--profile", flags.profile.is_some());
    put("auth", "--auth", flags.auth.is_some());
    put("data_dir", "--data-dir", flags.data_dir.is_some());
    put("region", "--region", flags.region.is_some());
    put("account_id", "--account-id", flags.account_id.is_some());
    put("credentials", "--credentials", flags.credentials.is_some());
    put("tls.cert", "--tls-cert", flags.tls_cert.is_some());
    put("tls.key", "--tls-key", flags.tls_key.is_some());
    put("log_format", "--log-format", flags.log_format.is_some());

    let ServeFlags {
        dev: _,
        dev_origin,
        config: _,
        listen,
        admin,
        shards,
        cpus,
        profile,
        ..
    } = flags.clone();
    let ServeFlags {
        auth,
        data_dir,
        region,
        account_id,
        credentials,
        tls_cert,
        tls_key,
        log_format,
        ..
    } = flags.clone();
    if !listen.is_empty() {
        settings.listen = listen;
    }
    if !dev_origin.is_empty() {
        settings.dev_origins = dev_origin;
    }
    settings.admin.listen = admin.map_or(settings.admin.listen, |admin| admin.0);
    settings.shards = shards.unwrap_or(settings.shards);
    settings.profile = profile.unwrap_or(settings.profile);
    settings.auth = auth.unwrap_or(settings.auth);
    settings.log_format = log_format.unwrap_or(settings.log_format);
    replace(&mut settings.cpus, cpus.map(|cpus| cpus.0));
    replace(&mut settings.data_dir, data_dir);
    replace(&mut settings.region, region);
    replace(&mut settings.account_id, account_id);
    settings.credentials = credentials.or_else(|| settings.credentials.take());
    if let (Some(cert), Some(key)) = (tls_cert, tls_key) {
        let client_ca = settings.tls.take().and_then(|tls| tls.client_ca);
        settings.tls = Some(TlsFiles {
            cert,
            key,
            client_ca,
        });
    }
}

fn replace<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn tls(section: &mut Section<'_, '_, '_>) -> Option<TlsFiles> {
    let (mut cert, mut key, mut client_ca) = (None, None, None);
    section.text("cert", &mut cert, some_path);
    section.text("key", &mut key, some_path);
    section.text("client_ca", &mut client_ca, some_path);
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles {
            cert,
            key,
            client_ca,
        }),
        (Some(_), None) | (None, Some(_)) => {
            section.fault("{ … }", "allowed cert and key together");
            None
        }
        (None, None) if client_ca.is_some() => {
            section.fault("{ … }", "allowed client_ca together with cert and key");
            None
        }
        (None, None) => None,
    }
}

fn admin(section: &mut Section<'_, '_, '_>, admin: &mut Admin) {
    section.text("listen", &mut admin.listen, value::admin);
    section.text("token_file", &mut admin.token_file, some_path);
}

fn advertise(section: &mut Section<'_, '_, '_>, advertise: &mut Advertise) {
    section.text("domain", &mut advertise.domain, |text| {
        value::domain(text).map(Some)
    });
    section.text("wss", &mut advertise.wss, |text| {
        value::endpoint(text, ["wss", "ws"]).map(Some)
    });
    section.text("https", &mut advertise.https, |text| {
        value::endpoint(text, ["https", "http"]).map(Some)
    });
}

fn limits(section: &mut Section<'_, '_, '_>, limits: &mut Limits) {
    section.size(
        "viewers_per_channel",
        &mut limits.viewers_per_channel,
        1..=10_000,
    );
    section.size(
        "channels_per_account",
        &mut limits.channels_per_account,
        0..=CHANNELS_MAX,
    );
    section.size("payload_bytes", &mut limits.payload_bytes, 1..=MIB);
    section.size("message_bytes", &mut limits.message_bytes, 1024..=2 * MIB);
    section.size("head_bytes", &mut limits.head_bytes, 1024..=64 * KIB);
    section.size("header_lines", &mut limits.header_lines, 8..=64);
    section.size("body_bytes", &mut limits.body_bytes, 1024..=MIB);
    section.size("request_bytes", &mut limits.request_bytes, MIB..=1024 * GIB);
    section.size("outbox_bytes", &mut limits.outbox_bytes, 64 * KIB..=GIB);
    section.size(
        "outbox_bytes_total",
        &mut limits.outbox_bytes_total,
        64 * KIB..=1024 * GIB,
    );
    section.size(
        "outbox_bytes_per_shard",
        &mut limits.outbox_bytes_per_shard,
        0..=1024 * GIB,
    );
    section.size(
        "pending_bytes_per_channel",
        &mut limits.pending_bytes_per_channel,
        16 * KIB..=GIB,
    );
    section.size(
        "pending_bytes_total",
        &mut limits.pending_bytes_total,
        16 * KIB..=1024 * GIB,
    );
    section.size(
        "pending_bytes_per_shard",
        &mut limits.pending_bytes_per_shard,
        0..=1024 * GIB,
    );
    section.size("connections", &mut limits.connections, 1..=CONNECTIONS_MAX);
    section.size(
        "handshakes_per_shard",
        &mut limits.handshakes_per_shard,
        1..=1_000_000,
    );
    section.size(
        "handshakes_per_address",
        &mut limits.handshakes_per_address,
        0..=1_000_000,
    );
}

fn timeouts(section: &mut Section<'_, '_, '_>, timeouts: &mut Timeouts) {
    section.duration("head", &mut timeouts.head_ms, 1..=HOUR);
    section.duration("tls", &mut timeouts.tls_ms, 1..=HOUR);
    section.duration("body", &mut timeouts.body_ms, 1..=HOUR);
    section.duration("idle", &mut timeouts.idle_ms, 1..=7 * DAY);
    section.duration(
        "connection_age",
        &mut timeouts.connection_age_ms,
        0..=365 * DAY,
    );
    section.duration("go_away_grace", &mut timeouts.go_away_grace_ms, 1..=DAY);
    section.duration("ping", &mut timeouts.ping_ms, 0..=DAY);
    section.duration("pong", &mut timeouts.pong_ms, 0..=DAY);
    section.duration("tcp_user", &mut timeouts.tcp_user_ms, 0..=DAY);
    section.duration("keep_alive", &mut timeouts.keep_alive_ms, 1..=DAY);
    section.duration("answer", &mut timeouts.answer_ms, 1..=HOUR);
    section.duration("close", &mut timeouts.close_ms, 1..=HOUR);
    section.duration("drain", &mut timeouts.drain_ms, 1..=HOUR);
    section.duration("alexa_wait_max", &mut timeouts.alexa_wait_max_ms, 0..=HOUR);
    section.duration("clock_tolerance", &mut timeouts.clock_tolerance_ms, 1..=DAY);
}

fn quotas(section: &mut Section<'_, '_, '_>, quotas: &mut Quotas) {
    section.flag("off", &mut quotas.off);
    rate(section, "connect_master", &mut quotas.connect_master);
    rate(section, "connect_viewer", &mut quotas.connect_viewer);
    rate(section, "sdp", &mut quotas.sdp);
    rate(section, "ice", &mut quotas.ice);
    rate(section, "describe", &mut quotas.describe);
    rate(section, "alexa", &mut quotas.alexa);
    rate(section, "ice_server_config", &mut quotas.ice_server_config);
    rate(section, "change", &mut quotas.change);
    rate(section, "account_create", &mut quotas.account_create);
    rate(section, "account_describe", &mut quotas.account_describe);
    rate(section, "account_endpoint", &mut quotas.account_endpoint);
    rate(section, "account_list", &mut quotas.account_list);
    rate(section, "account_change", &mut quotas.account_change);
    rate(
        section,
        "account_media_storage",
        &mut quotas.account_media_storage,
    );
    rate(section, "account_alexa", &mut quotas.account_alexa);
}

/// `{ rate = 5, burst = 25 }`; without `burst`, five seconds of the rate.
fn rate(section: &mut Section<'_, '_, '_>, key: &'static str, rate: &mut Rate) {
    section.section(key, |section| {
        let (mut per_second, mut burst) = (None, None);
        section.read("rate", &mut per_second, |value| small(value, 0).map(Some));
        section.read("burst", &mut burst, |value| small(value, 1).map(Some));
        match (per_second, burst) {
            (Some(per_second), burst) => {
                *rate = Rate {
                    rate: per_second,
                    burst: burst.unwrap_or_else(|| per_second.saturating_mul(5)),
                };
            }
            (None, Some(burst)) => rate.burst = burst,
            (None, None) => {}
        }
    });
}

fn small(value: &super::document::Raw<'_>, least: u64) -> Checked<u32> {
    let number = integer(value, least..=1_000_000)?;
    u32::try_from(number).map_err(|_| "allowed at most 1000000".into())
}

fn ice(section: &mut Section<'_, '_, '_>) -> Option<Ice> {
    let mut urls = Vec::new();
    section.read("urls", &mut urls, |value| ice_urls(value));
    let (mut secret, mut from_file) = (None, None);
    section.read("secret", &mut secret, |value| secrets(value).map(Some));
    section.text("secret_file", &mut from_file, |path| {
        secret_file(Path::new(path)).map(Some)
    });
    let (mut username, mut password) = (None, None);
    section.text("username", &mut username, |text| {
        value::ice_word(text).map(Some)
    });
    section.text("password", &mut password, |text| {
        value::ice_word(text).map(Some)
    });
    let mut ttl_ms = ICE_TTL_MS;
    section.duration("ttl", &mut ttl_ms, ICE_TTL_MS_LEAST..=DAY);

    let written = ["username", "password", "secret", "secret_file"].map(|key| section.has(key));
    match written {
        [false, false, false, false] => {
            if urls.iter().any(|url| url.starts_with("turn")) {
                section.fault(
                    "{ … }",
                    "allowed without username and password, secret or secret_file for stun: URLs only",
                );
            }
        }
        [true, true, false, false] | [false, false, true, false] | [false, false, false, true] => {}
        [_, _, _, _] => section.fault(
            "{ … }",
            "allowed one of username with password, secret, secret_file",
        ),
    }
    if !section.has("urls") {
        section.fault("{ … }", "allowed entries with urls");
    }
    let credential = match (username, password, secret.or(from_file)) {
        (Some(username), Some(password), _) => IceCredential::Fixed { username, password },
        (_, _, Some(secrets)) => IceCredential::Secrets(secrets),
        (_, _, None) => IceCredential::None,
    };
    let ttl_seconds = u32::try_from(ttl_ms / 1000).ok()?;
    Some(Ice {
        urls,
        credential,
        ttl_seconds,
    })
}

/// Source: C SDK, `MAX_ICE_CONFIG_URI_COUNT` 4: it takes more for an error.
fn ice_urls(value: &super::document::Raw<'_>) -> Checked<Vec<String>> {
    let urls = list(value, "URLs", |url| text(url, value::ice_url))?;
    if urls.len() > 4 {
        return Err("allowed a list of 1 to 4 URLs".into());
    }
    Ok(urls)
}

/// One secret, or several during a rotation.
fn secrets(value: &super::document::Raw<'_>) -> Checked<Vec<String>> {
    if value.is_str() {
        return Ok(vec![text(value, value::ice_word)?]);
    }
    list(value, "secrets", |secret| text(secret, value::ice_word))
}

/// One secret a line.
fn secret_file(path: &Path) -> Checked<Vec<String>> {
    let content = std::fs::read_to_string(path)
        .map_err(|error| format!("allowed a file that can be read ({error})"))?;
    let lines = content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let secrets = lines.map(value::ice_word).collect::<Checked<Vec<_>>>()?;
    if secrets.is_empty() {
        return Err("allowed a file with one secret a line".into());
    }
    Ok(secrets)
}

/// `"0-3,6"` or `[0, 1, 2]`.
fn cpus(value: &super::document::Raw<'_>) -> Checked<Vec<usize>> {
    let Some(numbers) = value.as_array() else {
        return text(value, value::cpus);
    };
    let number = |number: &toml::Spanned<super::document::Raw<'_>>| {
        let number = integer(number.get_ref(), 0..=u64::MAX);
        number.map_or_else(|_| String::new(), |number| number.to_string())
    };
    // What is no number is an empty part of the list, which is refused with all that is allowed.
    value::cpus(&numbers.iter().map(number).collect::<Vec<_>>().join(","))
}

fn path(text: &str) -> Checked<PathBuf> {
    value::filled(text).map(PathBuf::from)
}

fn some_path(text: &str) -> Checked<Option<PathBuf>> {
    path(text).map(Some)
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// A table of channels has 2²² slots a shard; more than all of 256 shards is no limit.
const CHANNELS_MAX: u64 = 1 << 30;
/// A table of sessions has 2²⁴ slots.
const CONNECTIONS_MAX: u64 = 1 << 24;
/// GetIceServerConfig allows 30 s, but the C SDK asks again 30 s before the end, and refuses what has no more than that
/// (`ICE_CONFIGURATION_REFRESH_GRACE_PERIOD`).
const ICE_TTL_MS_LEAST: u64 = 60_000;
/// Source: GetIceServerConfig, `Ttl`; what AWS answers.
const ICE_TTL_MS: u64 = 300_000;
