//! Keys with wrong values, and keys that contradict each other.

use super::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "region = ",
        "",
        &["c.toml:1:10: string values must be quoted, expected literal string"],
    ),
    (
        "[limits|region = 'a'",
        "",
        &["c.toml:1:8: unclosed table, expected `]`"],
    ),
    (
        "region = 'a'|region = 'b'",
        "",
        &["c.toml:2:1: duplicate key"],
    ),
    (
        "",
        "",
        &[
            "auth = sigv4 (default): allowed with a credentials file: --credentials FILE, or credentials in the file; \
             else --dev, or none with every listener on loopback",
        ],
    ),
    (
        "auth = 'sigv4'",
        "",
        &[
            "c.toml:1:8: auth = sigv4: allowed with a credentials file: --credentials FILE, or credentials in the \
             file; else --dev, or none with every listener on loopback",
        ],
    ),
    (
        "auth = 'sigv4'|credentials = ''",
        "",
        &["c.toml:2:15: credentials = '': allowed a text that is not empty"],
    ),
    (
        "credentials = 'folder'",
        "",
        &["c.toml:1:15: credentials = folder: allowed a regular file"],
    ),
    (
        "credentials = 'binary'",
        "",
        &[
            "c.toml:1:15: credentials = binary: must be a readable file: stream did not contain valid UTF-8",
        ],
    ),
    (
        "auth = 'none'|listen = ['http://0.0.0.0:0']",
        "",
        &[
            "c.toml:2:10: listen = http://0.0.0.0:0: allowed loopback addresses only, since auth none lets everybody \
             in",
        ],
    ),
    (
        "auth = 'none'|listen = ['http://[::]:0', 'http://127.0.0.1:0', 'http://10.0.0.1:0']",
        "",
        &[
            "c.toml:2:10: listen = http://[::]:0: allowed loopback addresses only, since auth none lets everybody in",
            "c.toml:2:10: listen = http://10.0.0.1:0: allowed loopback addresses only, since auth none lets everybody \
             in",
        ],
    ),
    (
        "{keys}|shards = 0|limit = 1",
        "{one}",
        &[
            "c.toml:2:10: shards = 0: allowed 1 to 256",
            "c.toml:3:1: limit = 1: unknown key, allowed region, …",
        ],
    ),
    (
        "{keys}|shards = 257|cpus = '1-0'",
        "{one}",
        &[
            "c.toml:2:10: shards = 257: allowed 1 to 256",
            "c.toml:3:8: cpus = '1-0': allowed a list of CPU numbers and ranges, such as 0-3,6, none twice",
        ],
    ),
    (
        "{keys}|cpus = [8000, 8001]",
        "{one}",
        &["c.toml:2:8: cpus = [8000, 8001]: allowed the CPUs that this process may use: {cpus}"],
    ),
    (
        "{keys}|profile = 'lax'|log_format = 'xml'",
        "{one}",
        &[
            "c.toml:2:11: profile = 'lax': allowed \"default\", \"strict\"",
            "c.toml:3:14: log_format = 'xml': allowed \"text\", \"json\"",
        ],
    ),
    (
        "{keys}|region = 'US'|account_id = 1",
        "{one}",
        &[
            "c.toml:2:10: region = 'US': allowed 1 to 32 of the characters a-z 0-9 -",
            "c.toml:3:14: account_id = 1: allowed 12 digits, in quotes",
        ],
    ),
    (
        "{keys}|listen = ['127.0.0.1:80']",
        "{one}",
        &[
            "c.toml:2:10: listen = ['127.0.0.1:80']: allowed http://ADDR:PORT or https://ADDR:PORT, such as \
             https://127.0.0.1:8443",
        ],
    ),
    (
        "{keys}|listen = ['http://127.0.0.1:80', 'http://127.0.0.1:80']",
        "{one}",
        &["c.toml:2:10: listen = http://127.0.0.1:80: allowed each address and port once"],
    ),
    (
        "{keys}|[limits]|connections = 0|head_bytes = 1",
        "{one}",
        &[
            "c.toml:3:15: limits.connections = 0: allowed 1 to 16777216",
            "c.toml:4:14: limits.head_bytes = 1: allowed 1024 to 65536",
        ],
    ),
    (
        "{keys}|[limits]|payload_bytes = 65536",
        "{one}",
        &[
            "limits.message_bytes = 65536 (default): allowed at least 65902: limits.payload_bytes and 366 for what is \
             around it",
        ],
    ),
    (
        "{keys}|[limits]|outbox_bytes_per_shard = 65536|pending_bytes_per_shard = 16384",
        "{one}",
        &[
            "c.toml:3:26: limits.outbox_bytes_per_shard = 65536: allowed at least 1048576, which is \
             limits.outbox_bytes",
            "c.toml:4:27: limits.pending_bytes_per_shard = 16384: allowed at least 524288, which is \
             limits.pending_bytes_per_channel",
        ],
    ),
    (
        "{keys}|[timeouts]|head = 10|drain = 'off'",
        "{one}",
        &[
            "c.toml:3:8: timeouts.head = 10: allowed a duration from \"1ms\" to \"1h\", in quotes",
            "c.toml:4:9: timeouts.drain = 'off': allowed a duration from \"1ms\" to \"1h\"",
        ],
    ),
    (
        "{keys}|[timeouts]|connection_age = '1m'|ping = '1h'",
        "{one}",
        &[
            "c.toml:4:8: timeouts.ping = 1h: allowed less than timeouts.idle, which is 10m, or off",
            "timeouts.go_away_grace = 1m (default): allowed less than timeouts.connection_age, which is 1m",
        ],
    ),
    (
        "{keys}|[advertise]|domain = 'a.example'|wss = 'wss://b.example/x'",
        "{one}",
        &[
            "c.toml:4:7: advertise.wss = 'wss://b.example/x': allowed wss://HOST or wss://HOST:PORT, without a path",
        ],
    ),
    (
        "{keys}|[options]|master_offers = 'yes'",
        "{one}",
        &["c.toml:3:17: options.master_offers = 'yes': allowed true, false"],
    ),
    (
        "{keys}|[unknown]|key = 1",
        "{one}",
        &["c.toml:2:2: unknown = [unknown]: unknown key, allowed region, …"],
    ),
];
