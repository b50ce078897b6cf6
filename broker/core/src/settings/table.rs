//! The table of all configuration keys, one per row. The configuration file, the flags, the help, `/config` and the
//! test of `deploy/broker.toml` are derived from it. A new key needs a row here, a field in
//! [`Settings`](crate::settings::Settings) and a line in that file.
//!
//! The entries of `[[ice]]` and `[[hook]]` are missing here, because items in a list of tables have no defaults. The
//! broker's configuration code parses them.

use crate::limits::{RECORDER_NOTES_MOST, SHARDS_MAX};
use crate::settings::keys::{Field, Flag, Key, Kind};
use crate::settings::value;

/// Creates the functions that read and write a number or switch.
macro_rules! field {
    ($($name:ident).+) => {
        Field {
            get: |settings| settings.$($name).+,
            set: |settings, value| settings.$($name).+ = value,
        }
    };
}

/// Creates the [`Kind`] for a string that `$parse` converts to the field's type.
macro_rules! text {
    ($($name:ident).+, $parse:expr) => {
        Kind::Text {
            get: |settings| Some(settings.$($name).+.to_string()),
            set: |settings, text| {
                settings.$($name).+ = $parse(text)?;
                Ok(())
            },
        }
    };
}

/// Creates the [`Kind`] for a string that `$parse` converts to the type of an optional field.
macro_rules! some_text {
    ($($name:ident).+, $parse:expr) => {
        Kind::Text {
            get: |settings| settings.$($name).+.as_ref().map(ToString::to_string),
            set: |settings, text| {
                settings.$($name).+ = Some($parse(text)?);
                Ok(())
            },
        }
    };
}

/// Creates the [`Kind`] for a list of strings that `$parse` converts to the field's entries.
macro_rules! list {
    ($entries:literal, $($name:ident).+, $parse:expr, may_be_empty: $empty:literal) => {
        Kind::List {
            entries: $entries,
            may_be_empty: $empty,
            get: |settings| settings.$($name).+.iter().map(ToString::to_string).collect(),
            set: |settings, texts| {
                settings.$($name).+ = texts
                    .iter()
                    .map(|text| $parse(text))
                    .collect::<Result<_, _>>()?;
                Ok(())
            },
        }
    };
}

macro_rules! oidc {
    ($name:ident, $parse:expr) => {
        Kind::Text {
            get: |settings| {
                let text = &settings.admin.oidc.as_ref()?.$name;
                Some(text.clone()).filter(|text| !text.is_empty())
            },
            set: |settings, text| {
                let text = $parse(text)?.into();
                settings.admin.oidc.get_or_insert_default().$name = text;
                Ok(())
            },
        }
    };
}

macro_rules! path {
    ($($name:ident).+) => {
        Kind::Path {
            get: |settings| settings.$($name).+.as_deref(),
            set: |settings, path| settings.$($name).+ = Some(path),
        }
    };
}

/// All keys, in the order of error messages. Keys of the same table are adjacent.
#[rustfmt::skip] // a table, a key per entry
pub const KEYS: &[Key] = &[
    Key::new("region", text!(region, value::region)).default("us-west-2")
        .doc("1 to 32 of the characters a-z 0-9 -; region of the channels that API calls create")
        .flag(flag("--region", "NAME", "The AWS region of created channels")),
    Key::new("account_id", text!(account_id, value::account_id)).default("123456789012")
        .doc("12 digits; account of those channels, and of principals without one")
        .flag(flag("--account-id", "ID", "The AWS account of created channels: 12 digits")),
    Key::new("shards", Kind::Number(field!(shards), 1..=SHARDS_MAX as u64))
        .doc("default: one per CPU that the process may use (affinity mask, cgroup quota); with --dev and io_uring \
              fewer if locked memory is short")
        .flag(flag("--shards", "N", "Number of shards")
            .default("one per CPU that the process may use; with --dev and io_uring fewer if locked memory is short")),
    Key::new("cpus", Kind::Cpus { get: |s| &s.cpus, set: |s, cpus| s.cpus = cpus })
        .doc("or [0, 1]: CPUs to pin shards to, in turn; default: the affinity mask")
        .flag(flag("--cpus", "LIST", "The CPUs that shards are pinned to, such as 0-3,6")
            .default("those that the process may use")),
    Key::new("engine", text!(engine, value::word)).default("auto")
        .doc("\"io_uring\", \"epoll\", or \"auto\": io_uring where the kernel allows it for all shards, else epoll")
        .flag(flag("--engine", "NAME",
            "What shards do input and output with: auto (io_uring where it can be had), io_uring or epoll")),
    Key::new("profile", text!(profile, value::word)).default("default")
        .doc("\"default\" serves current browsers, \"strict\" applies the numbers that AWS documents")
        .flag(flag("--profile", "NAME",
            "Set of defaults: default (for current browsers) or strict (the numbers that AWS documents)")),
    Key::new("auth", text!(auth, value::word)).default("sigv4").dev("none")
        .doc("\"sigv4\" checks every signature and needs credentials, \"none\" accepts every request and needs every \
              listener on loopback")
        .flag(flag("--auth", "NAME", "Authentication of requests: sigv4 or none (loopback only)")),
    Key::new("auth_recheck", Kind::Switch(field!(auth_recheck))).default("true")
        .doc("true closes connections, within 5 s, that new credentials or new tags of their channel refuse"),
    Key::new("data_dir", Kind::Path { get: |s| Some(&s.data_dir), set: |s, path| s.data_dir = path })
        .default("heliograph-data")
        .doc("created if absent; one process at a time. \":memory:\" is a new directory in memory, removed at the end")
        .flag(flag("--data-dir", "DIR", "Directory for the broker's files")),
    Key::new("log_format", text!(log_format, value::word)).default("text")
        .doc("\"text\" or \"json\"; on stderr")
        .flag(flag("--log-format", "FORM", "Log lines on stderr: text or json")),
    Key::new("log_level", text!(log_level, value::word)).default("info")
        .doc("\"error\", \"warn\", \"info\", \"debug\" or \"trace\"; RUST_LOG wins, such as RUST_LOG=debug, or \
              RUST_LOG=info,broker::edge=debug for a part"),
    Key::new("credentials", path!(credentials))
        .doc("principals, their keys and policies. Reloaded on SIGHUP and when a file changes")
        .flag(flag("--credentials", "FILE", "Credentials file (TOML) of --auth sigv4")),
    Key::new("listen", list!("URLs", listen, value::listen, may_be_empty: false))
        .default("http://127.0.0.1:8080").dev("http://127.0.0.1:8080 https://127.0.0.1:8443")
        .doc("http:// is HTTP API and ws, https:// is HTTPS API and wss; port 0 picks one; [::] accepts IPv4 too, and \
              excludes 0.0.0.0; --dev adds ::1 to 127.0.0.1")
        .flag(flag("--listen", "URL",
            "Where clients connect: http://ADDR:PORT or https://ADDR:PORT, repeatable; port 0 picks one")),
    Key::new("dev_origins", list!("origins", dev_origins, value::dev_origin, may_be_empty: true)).default("")
        .doc("such as [\"https://app.example:3000\", \"capacitor://localhost\", \"file://\", \"null\"]: origins of \
              pages that may use a server without signatures; loopback pages always may. Not with auth \"sigv4\"")
        .flag(flag("--dev-origin", "ORIGIN",
            "Origin of pages that may use a server without signatures, such as https://app.example:3000 or \
             capacitor://localhost; repeatable. Pages of loopback always may")),
    Key::new("dev_hosts", list!("names and addresses", dev_hosts, value::dev_host, may_be_empty: true)).default("")
        .doc("such as [\"bench.example\", \"192.0.2.7\"]: names and addresses of a --dev server for other machines; \
              they are in its certificate, and pages of these hosts may use it. With --dev only")
        .flag(flag("--dev-host", "NAME|IP",
            "Name or IP address by which other machines reach a --dev server: it enters the generated certificate, and \
             pages of that host may use the server; repeatable")),
    Key::new("dev_capture", Kind::Switch(field!(dev_capture))).default("true")
        .doc("whether --dev keeps copies of messages for /dev/messages; false for load tests"),

    Key::new("tls.cert", Kind::Paths {
            get: |s| s.tls.as_ref().map_or(&[], |files| &*files.cert),
            set: |s, paths| s.tls.get_or_insert_default().cert = paths,
        })
        .doc("the leaf certificate first, then its chain. [\"ecdsa.pem\", \"rsa.pem\"] are two, of which each client \
              gets the one that it can verify: devices of small TLS libraries need RSA")
        .flag(flag("--tls-cert", "FILE", "Certificate chain (PEM), the leaf first; twice for one with an ECDSA and one \
            with an RSA key")
            .default("none; with --dev generated ones").requires("tls.key")),
    Key::new("tls.key", Kind::Paths {
            get: |s| s.tls.as_ref().map_or(&[], |files| &*files.key),
            set: |s, paths| s.tls.get_or_insert_default().key = paths,
        })
        .doc("of the leaf, unencrypted; as many as cert, in the same order")
        .flag(flag("--tls-key", "FILE", "Private key of the certificate (PEM)")
            .default("none; with --dev generated ones").requires("tls.cert")),
    Key::new("tls.client_ca", Kind::Path {
            get: |s| s.tls.as_ref()?.client_ca.as_deref(),
            set: |s, path| s.tls.get_or_insert_default().client_ca = Some(path),
        })
        .doc("clients must then present a certificate of one of these authorities"),
    Key::new("tls.expired", Kind::Text {
            get: |s| Some(s.tls.as_ref().map(|it| it.expired).unwrap_or_default().to_string()),
            set: |s, text| { s.tls.get_or_insert_default().expired = value::word(text)?; Ok(()) },
        })
        .doc("\"serve\" or \"refuse\"; default: \"serve\". A certificate that has expired is presented with an ERROR \
              in the log, or refused. check-config and doctor fail either way"),

    Key::new("admin.listen", Kind::Text {
            get: |s| Some(s.admin.listen.map_or_else(|| "off".into(), |addr| addr.to_string())),
            set: |s, text| { s.admin.listen = value::admin(text)?; Ok(()) },
        })
        .default("127.0.0.1:8090")
        .doc("ADDR:PORT or \"off\": /live /ready /metrics /config /channels")
        .flag(flag("--admin", "ADDR:PORT", "Where operators connect: ADDR:PORT or off")),
    Key::new("admin.token_file", path!(admin.token_file))
        .doc("one line, or two while it is replaced; requests then need `Authorization: Bearer <token>`, except for \
              /live, /ready and files of pages. Required off loopback and with origins"),
    Key::new("admin.metrics_open", Kind::Switch(field!(admin.metrics_open))).default("false")
        .doc("true serves /metrics without the token, to all who reach the listener"),
    Key::new("admin.origins", list!("origins", admin.origins, value::origin, may_be_empty: true)).default("")
        .doc("such as [\"https://ops.example.com\"]: the console's origin for browsers, behind a proxy that \
              terminates TLS. With token_file only"),
    Key::new("admin.try", Kind::Switch(field!(admin.try_page))).default("false")
        .doc("true serves /try and POST /try/session, which needs token_file; --dev serves the page anyway"),
    Key::new("admin.oidc.provider", oidc!(provider, value::filled))
        .doc("a provider of the credentials file: its issuer without https://. Its accounts may use the console if \
              claim is value. Needs token_file, and an https:// origin or listen on loopback. This table is reloaded \
              on SIGHUP and when the file changes"),
    Key::new("admin.oidc.claim", oidc!(claim, value::claim))
        .doc("of the id token: a text, or a list of texts"),
    Key::new("admin.oidc.value", oidc!(value, value::claim_value)).doc("compared letter by letter"),
    Key::new("admin.oidc.client_id", Kind::Text {
            get: |s| s.admin.oidc.as_ref()?.client_id.clone(),
            set: |s, text| {
                let client_id = value::claim_value(text)?;
                s.admin.oidc.get_or_insert_default().client_id = Some(client_id);
                Ok(())
            },
        })
        .doc("the console's client at the provider; default: its only one of client_ids"),
    Key::new("admin.oidc.client_secret_file", Kind::Path {
            get: |s| s.admin.oidc.as_ref()?.client_secret_file.as_deref(),
            set: |s, path| s.admin.oidc.get_or_insert_default().client_secret_file = Some(path),
        })
        .doc("one line: that client's secret; without it, the client is public"),
    Key::new("admin.oidc.scopes", Kind::List {
            entries: "scopes",
            may_be_empty: false,
            get: |s| s.admin.oidc.as_ref().map(|oidc| oidc.scopes.clone()).unwrap_or_default(),
            set: |s, texts| {
                let scopes = texts.iter().map(|text| value::scope(text)).collect::<Result<_, _>>()?;
                s.admin.oidc.get_or_insert_default().scopes = scopes;
                Ok(())
            },
        })
        .doc("with openid; default: openid, email and profile"),

    Key::new("advertise.domain", some_text!(advertise.domain, value::domain))
        .doc("wss://m-<8 hex>.<domain> and so on, a name for each channel and role; not together with the next two"),
    Key::new("advertise.wss", some_text!(advertise.wss, |text| value::advertised(text, ["wss", "ws"])))
        .doc("scheme, host and perhaps a port; ws:// too"),
    Key::new("advertise.https", some_text!(advertise.https, |text| value::advertised(text, ["https", "http"])))
        .doc("http:// too"),

    Key::new("proxy.protocol_from", list!("networks", proxy.protocol_from, value::network, may_be_empty: true))
        .default("")
        .doc("such as [\"10.0.0.0/8\"]: networks of the proxies that begin each connection with a header of the PROXY \
              protocol, version 1 or 2. Others are closed on listeners that await one"),
    Key::new("proxy.protocol_on", list!("listeners", proxy.protocol_on, value::listen, may_be_empty: true)).default("")
        .doc("such as [\"https://0.0.0.0:8443\"]: entries of listen that await it; default: all of them"),
    Key::new("proxy.forwarded_from", list!("networks", proxy.forwarded_from, value::network, may_be_empty: true))
        .default("")
        .doc("such as [\"10.0.0.0/8\"]: networks of the proxies whose X-Forwarded-For or Forwarded names the client, \
              and whose X-Forwarded-Proto its scheme: PROXY.md"),

    Key::new("limits.viewers_per_channel", Kind::Number(field!(limits.viewers_per_channel), 1..=10_000))
        .default("10").doc("the next one gets 400 ClientLimitExceededException, or the place of the caller with most: \
              POLICIES.md"),
    // A shard's channel table has 2²² slots. A limit above the total for 256 shards would have no effect.
    Key::new("limits.channels_per_account", Kind::Number(field!(limits.channels_per_account), 0..=1 << 30))
        .default("100000").strict("5000").dev("0")
        .doc("under strict 10000 in us-east-1 and us-west-2 unless set; 0 is no limit"),
    Key::new("limits.record_bytes_per_account",
            Kind::Number(field!(limits.record_bytes_per_account), 64 * KIB..=1024 * GIB))
        .default("268435456")
        .doc("records of an account's channels with their tags, on all nodes. When full, new channels and tags are \
              refused; stored ones stay"),
    Key::new("limits.record_bytes_total", Kind::Number(field!(limits.record_bytes_total), MIB..=1024 * GIB))
        .default("536870912")
        .doc("records of all accounts on this node. When full, new ones get 503; stored \
              ones are served"),
    Key::new("limits.payload_bytes", Kind::Number(field!(limits.payload_bytes), 1..=MIB))
        .default("32768").strict("10240").doc("characters of messagePayload"),
    Key::new("limits.message_bytes", Kind::Number(field!(limits.message_bytes), 1024..=2 * MIB))
        .default("65536").strict("32768")
        .doc("a WebSocket frame or message beyond it is closed 1009. At least payload_bytes and 366"),
    Key::new("limits.wss_message_bytes", Kind::Number(field!(limits.wss_message_bytes), KIB..=2 * MIB))
        .default("18750")
        .doc("longest message to a client that offers the subprotocol wss, as the C SDK does, whose connection ends \
              at a longer one. Longer ones are refused to their sender. 18,432 characters of messagePayload fit \
              beside a client id of 251"),
    Key::new("limits.head_bytes", Kind::Number(field!(limits.head_bytes), 1024..=64 * KIB))
        .default("16384").doc("a longer request head gets 431"),
    Key::new("limits.header_lines", Kind::Number(field!(limits.header_lines), 8..=64))
        .default("64").doc("more get 431"),
    Key::new("limits.body_bytes", Kind::Number(field!(limits.body_bytes), 1024..=MIB))
        .default("65536").doc("a longer request body gets 413"),
    Key::new("limits.request_bytes", Kind::Number(field!(limits.request_bytes), MIB..=1024 * GIB))
        .default("67108864")
        .doc("unfinished and waiting requests, and unread responses, of all HTTP connections. When full, the address \
              with most gets 503, or its connection is closed"),
    Key::new("limits.outbox_bytes", Kind::Number(field!(limits.outbox_bytes), 64 * KIB..=GIB))
        .default("1048576")
        .doc("queued for one connection's socket; a slower reader is closed. At least pending_bytes_per_channel"),
    Key::new("limits.outbox_bytes_total", Kind::Number(field!(limits.outbox_bytes_total), 64 * KIB..=1024 * GIB))
        .default("67108864").doc("queued for all sockets, an even part on each shard. At least outbox_bytes"),
    Key::new("limits.outbox_bytes_per_shard", Kind::Number(field!(limits.outbox_bytes_per_shard), 0..=1024 * GIB))
        .default("0").doc("instead of that part, at least outbox_bytes; 0: the part"),
    Key::new("limits.unconfirmed_bytes_total",
            Kind::Number(field!(limits.unconfirmed_bytes_total), 64 * KIB..=1024 * GIB))
        .default("67108864")
        .doc("sent, and not confirmed by the recipient's machine, an even part on each shard. When full, the oldest \
              of the account with most count as delivered_unproved"),
    Key::new("limits.pending_bytes_per_channel", Kind::Number(field!(limits.pending_bytes_per_channel), 16 * KIB..=GIB))
        .default("524288").strict("262144")
        .doc("queued for recipients that are not connected. When full, messages are refused"),
    Key::new("limits.pending_bytes_total", Kind::Number(field!(limits.pending_bytes_total), 16 * KIB..=1024 * GIB))
        .default("50331648")
        .doc("queued in all, an even part on each shard. When full, messages of the account with most are evicted. At \
              least pending_bytes_per_channel"),
    Key::new("limits.pending_bytes_per_shard", Kind::Number(field!(limits.pending_bytes_per_shard), 0..=1024 * GIB))
        .default("0").doc("instead of that part, at least pending_bytes_per_channel; 0: the part"),
    // A session table has 2²⁴ slots.
    Key::new("limits.connections", Kind::Number(field!(limits.connections), 1..=1 << 24))
        .default("1000000")
        .doc("of the process, an even part on each shard, 15/16 of it for WebSockets; the descriptor limit may allow \
              fewer"),
    Key::new("limits.handshakes_per_shard", Kind::Number(field!(limits.handshakes_per_shard), 1..=1_000_000))
        .default("1024")
        .doc("TLS handshakes under way. When full, a handshake of the address with most, or one silent for 2 s, is \
              closed; else the new one"),
    Key::new("limits.handshakes_per_address", Kind::Number(field!(limits.handshakes_per_address), 0..=1_000_000))
        .default("0")
        .doc("on a shard, from one IPv4 address or one /64 network. 0: one address may use all of them while no other \
              needs any"),

    Key::new("timeouts.head", Kind::Duration(field!(timeouts.head_ms), 1..=HOUR)).default("10s")
        .doc("from connect (TLS: from the handshake's end) to the whole request head: 408"),
    Key::new("timeouts.tls", Kind::Duration(field!(timeouts.tls_ms), 1..=HOUR)).default("10s")
        .doc("from connect to the end of the TLS handshake"),
    Key::new("timeouts.body", Kind::Duration(field!(timeouts.body_ms), 1..=HOUR)).default("10s")
        .doc("from the head to the end of the body: 408"),
    Key::new("timeouts.idle", Kind::Duration(field!(timeouts.idle_ms), 1..=7 * DAY)).default("10m")
        .doc("without a frame from the client"),
    Key::new("timeouts.connection_age", Kind::Duration(field!(timeouts.connection_age_ms), 0..=365 * DAY))
        .default("1h").doc("ends with GO_AWAY, then after go_away_grace the close"),
    Key::new("timeouts.go_away_grace", Kind::Duration(field!(timeouts.go_away_grace_ms), 1..=DAY)).default("1m")
        .doc("less than connection_age"),
    Key::new("timeouts.ping", Kind::Duration(field!(timeouts.ping_ms), 0..=DAY)).default("45s").strict("off")
        .doc("the server pings, on the next whole second, when nothing came or nothing went for this time; less than \
              idle. Many proxies end a connection after 60 s: PROXY.md"),
    Key::new("timeouts.pong", Kind::Duration(field!(timeouts.pong_ms), 0..=DAY)).default("30s")
        .doc("without a frame after a ping the connection ends, and its unread messages are queued"),
    Key::new("timeouts.tcp_user", Kind::Duration(field!(timeouts.tcp_user_ms), 0..=DAY)).default("30s")
        .doc("unacknowledged bytes end a connection (TCP_USER_TIMEOUT); \"off\" leaves it to the kernel"),
    Key::new("timeouts.keep_alive", Kind::Duration(field!(timeouts.keep_alive_ms), 1..=DAY)).default("75s")
        .doc("between two requests of one HTTP connection"),
    Key::new("timeouts.answer", Kind::Duration(field!(timeouts.answer_ms), 1..=HOUR)).default("10s")
        .doc("an HTTP peer that reads no byte of its responses for this long is disconnected"),
    Key::new("timeouts.close", Kind::Duration(field!(timeouts.close_ms), 1..=HOUR)).default("5s")
        .doc("for the peer's part of the closing handshake"),
    // A development server does not have to wait for idle clients.
    Key::new("timeouts.drain", Kind::Duration(field!(timeouts.drain_ms), 1..=HOUR)).default("20s").dev("1s")
        .doc("from SIGTERM or Ctrl-C to the end; a second one ends at once; 0.2 s where systemd keeps the listening \
              sockets over a restart: INSTALL.md"),
    Key::new("timeouts.alexa_wait_max", Kind::Duration(field!(timeouts.alexa_wait_max_ms), 0..=HOUR)).default("off")
        .doc("shortens the wait of SendAlexaOfferToMaster below the channel's MessageTtlSeconds"),
    Key::new("timeouts.clock_tolerance", Kind::Duration(field!(timeouts.clock_tolerance_ms), 1..=DAY)).default("5m")
        .doc("tolerance for the time of a signature; strict always uses 5 minutes"),

    Key::new("quotas.off", Kind::Switch(field!(quotas.off))).default("false").strict("false").dev("true")
        .doc("unless the profile is strict. true turns off all rates"),
    Key::new("quotas.connect_master", Kind::Rate(field!(quotas.connect_master))).default("3").doc("a channel"),
    Key::new("quotas.connect_viewer", Kind::Rate(field!(quotas.connect_viewer))).default("3")
        .doc("a channel; half for a key that may not connect as its master, except under strict"),
    Key::new("quotas.sdp", Kind::Rate(field!(quotas.sdp))).default("5").doc("a connection; offers and answers each"),
    Key::new("quotas.ice", Kind::Rate(field!(quotas.ice))).default("20").doc("a connection"),
    Key::new("quotas.describe", Kind::Rate(field!(quotas.describe))).default("5")
        .doc("a channel; as connect_viewer, and once more for all keys that may connect as its master"),
    Key::new("quotas.alexa", Kind::Rate(field!(quotas.alexa))).default("5").doc("a channel; as describe"),
    Key::new("quotas.ice_server_config", Kind::Rate(field!(quotas.ice_server_config))).default("5")
        .doc("a channel; as describe"),
    Key::new("quotas.change", Kind::Rate(field!(quotas.change))).default("5")
        .doc("a channel, as describe: update, delete, each call about tags and media storage"),
    // Most servers have a single account, for which the per-channel limits are enough, except for operations that leave
    // lines in the log (codec/PROTOCOL.md, RATE-3).
    Key::new("quotas.account_create", Kind::Rate(field!(quotas.account_create)))
        .default("50:5000").strict("50")
        .doc("an account, like all below"),
    Key::new("quotas.account_describe", Kind::Rate(field!(quotas.account_describe))).default("0").strict("300"),
    Key::new("quotas.account_endpoint", Kind::Rate(field!(quotas.account_endpoint))).default("0").strict("300")
        .doc("GetSignalingChannelEndpoint"),
    Key::new("quotas.account_list", Kind::Rate(field!(quotas.account_list))).default("0").strict("50"),
    Key::new("quotas.account_change", Kind::Rate(field!(quotas.account_change)))
        .default("50:5000").strict("50").doc("as change, each operation"),
    Key::new("quotas.account_media_storage", Kind::Rate(field!(quotas.account_media_storage)))
        .default("0").strict("10").doc("UpdateMediaStorageConfiguration"),
    Key::new("quotas.account_alexa", Kind::Rate(field!(quotas.account_alexa))).default("0").strict("100"),
    Key::new("quotas.account_federation", Kind::Rate(field!(quotas.account_federation))).default("50")
        .doc("signed calls of STS that issue keys"),

    Key::new("signaling.go_away", text!(signaling.go_away, value::word)).default("auto").strict("always")
        .doc("which clients get GO_AWAY and RECONNECT_ICE_SERVER. The C SDK deadlocks on both: \"auto\" omits clients \
              that offer the subprotocol wss, as it does. They are closed with 1001 instead, within the last \
              go_away_grace of connection_age"),
    Key::new("signaling.proof", text!(signaling.proof, value::word)).default("tcp")
        .doc("\"tcp\" or \"pong\": a message is confirmed when the machine at the connection's end has acknowledged \
              it, or, behind a proxy, when the client has answered a ping sent after it"),

    Key::new("signaling.repeat_offers", Kind::Duration(field!(signaling.repeat_offers_ms), 0..=60_000)).default("2s")
        .strict("off")
        .doc("an offer that a master got and did not answer is sent once more to its next connection, after that has \
              been open for this time"),

    Key::new("recorder.notes", Kind::Number(field!(recorder.notes), 0..=RECORDER_NOTES_MOST as u64)).default("65536")
        .doc("a power of two from 1024 on, 32 bytes each: notes of a shard on its channels, for `heliograph trace`; 0 \
              is off. With more than 16 shards the default is lower: 32 MiB in all"),

    Key::new("privacy.keep", Kind::Duration(field!(privacy.keep_ms), 0..=365 * DAY)).default("30d")
        .doc("the age at which refusals, troubled sessions, lines of the log, notes of the recorder, and marks and \
              causes of the history are erased: PRIVACY.md"),

    Key::new("whep.on", Kind::Switch(field!(whep.on))).default("false").dev("true").strict("false")
        .doc("whether players without an SDK may POST their offer to /whep/NAME; off under the strict profile"),
    Key::new("whep.quiet", Kind::Duration(field!(whep.quiet_ms), 1..=5_000)).default("400ms")
        .doc("an answer waits for candidates of its camera until none came for this time"),
    Key::new("whep.gather_max", Kind::Duration(field!(whep.gather_max_ms), 1..=10_000)).default("2s")
        .doc("and at most for this time, from the camera's first message on"),
    Key::new("whep.wait", Kind::Duration(field!(whep.wait_ms), 1_000..=60_000)).default("9300ms")
        .doc("longest time of such a request: players give up after 10 and 15 s"),

    Key::new("presence.linger", Kind::Duration(field!(presence.linger_ms), 0..=60_000)).default("2s")
        .doc("delay of a master's departure: a master that reconnects within it counts as connected throughout"),
    Key::new("presence.wake_ttl", Kind::Duration(field!(presence.wake_ttl_ms), 0..=120_000)).default("off")
        .doc("messages for an absent master are queued for at least this time, on channels that a hook with the event \
              wake watches; off under the strict profile"),
    Key::new("presence.wake_poll", Kind::Switch(field!(presence.wake_poll))).default("false")
        .doc("whether devices may wait for viewers with `GET /wake`; off under the strict profile"),

    Key::new("presence.doubt", Kind::Duration(field!(presence.doubt_ms), 500..=60_000)).default("2s")
        .doc("a master that has not confirmed a message for this time, and four round trips, is doubtful: hooks call \
              it as if it were absent"),
    Key::new("presence.gone", Kind::Duration(field!(presence.gone_ms), 1_000..=HOUR)).default("10s")
        .doc("a master that is doubtful for this time, and eight round trips, counts as departed"),

    Key::new("options.master_offers", Kind::Switch(field!(options.master_offers))).default("false")
        .doc("whether a master may send SDP_OFFER to a viewer"),

    Key::new("cluster.name", some_text!(cluster.name, value::node))
        .doc("of the cluster, the same on every node; requires node, secret_file, listen, and map_file or etcd"),
    Key::new("cluster.node", some_text!(cluster.node, value::node)).doc("the name of this node, one in the cluster")
        .flag(flag("--cluster-node", "NAME", "The name of this node in the cluster")),
    Key::new("cluster.secret_file", path!(cluster.secret_file))
        .doc("one line of 64 hexadecimal digits (`openssl rand -hex 32`), the same on every node; a second line is \
              also accepted, to replace the first"),
    Key::new("cluster.listen", some_text!(cluster.listen, value::socket))
        .doc("ADDR:PORT for other nodes only. With etcd each shard has a port: those of further shards begin two \
              ports later")
        .flag(flag("--cluster-listen", "ADDR:PORT", "Where other nodes connect: ADDR:PORT")),
    Key::new("cluster.advertise", some_text!(cluster.advertise, value::node_host))
        .doc("HOST, with etcd: name or address of this node for other nodes, if not that of listen, for example \
              behind NAT; the ports are those of listen and peers"),
    Key::new("cluster.peers", some_text!(cluster.peers, value::socket))
        .doc("ADDR:PORT for messages of other nodes, with etcd; default: the port after that of listen"),
    Key::new("cluster.direct", Kind::Switch(field!(cluster.direct))).default("false")
        .doc("with advertise.domain, discovery names the node that owns the channel, not the channel: \
              wss://m-<8 hex of the node>.<domain>. Needs three records for each node"),
    Key::new("cluster.map_file", path!(cluster.map_file))
        .doc("a line for each node: its name, its address and its slots of 4096, such as `n1 10.0.0.1:7443 0-2047`. \
              This map is fixed; the same on every node"),
    Key::new("cluster.etcd", list!("URLs", cluster.etcd.endpoints, value::etcd, may_be_empty: false))
        .doc("instead of map_file: the members of etcd, at most 16"),
    Key::new("cluster.etcd_ca", path!(cluster.etcd.ca))
        .doc("PEM file of the authorities of the members' certificates; required by https://"),
    Key::new("cluster.etcd_cert", path!(cluster.etcd.cert))
        .doc("PEM file of a client certificate, with etcd_key, if etcd requires one"),
    Key::new("cluster.etcd_key", path!(cluster.etcd.key)).doc("PEM file of its key"),
    Key::new("cluster.etcd_user", some_text!(cluster.etcd.user, value::filled))
        .doc("with etcd_password_file, if etcd has users"),
    Key::new("cluster.etcd_password_file", path!(cluster.etcd.password_file)).doc("one line"),
    Key::new("cluster.etcd_quota_bytes",
            Kind::Number(field!(cluster.etcd_quota_bytes), 16 * MIB..=1024 * GIB))
        .default("2147483648")
        .doc("etcd's --quota-backend-bytes, for members that do not report it. From 80 % on new channels get 503"),
    Key::new("cluster.lease", Kind::Duration(field!(cluster.lease_ms), 5_000..=60_000)).default("5s")
        .doc("whole seconds: lifetime of this node's registration in etcd without renewal"),
];

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value,
        help,
        default: "none",
        requires: None,
    }
}

impl Flag {
    const fn default(mut self, words: &'static str) -> Self {
        self.default = words;
        self
    }

    const fn requires(mut self, path: &'static str) -> Self {
        self.requires = Some(path);
        self
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
