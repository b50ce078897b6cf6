//! Errors of a configuration file, with their whole lines.

use super::{check, without_flags};

#[test]
fn every_fault_names_place_key_value_and_what_is_allowed() {
    for (text, expected) in BROKEN {
        let error = check(text).expect_err(text).to_string();
        assert_eq!(&error, expected, "for {text}");
    }
}

#[test]
fn all_faults_are_listed_in_order() {
    let error =
        check("shards = 0|x = 1|[limits]|payload_bytes = 0|[timeouts]|idle = 'x'").unwrap_err();
    let keys: Vec<_> = error
        .faults()
        .iter()
        .map(|fault| fault.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["shards", "x", "limits.payload_bytes", "timeouts.idle"]
    );
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn no_text_makes_the_reader_panic() {
    let whole = include_str!("../../../deploy/broker.toml").replace("\n#", "\n");
    for end in (0..whole.len())
        .step_by(7)
        .filter(|end| whole.is_char_boundary(*end))
    {
        let _ = without_flags(&whole[..end]);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(b' '..127);
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = without_flags(&text);
        }
    }
}

/// Every fault with its whole line. A `|` in the text is a line break.
const BROKEN: &[(&str, &str)] = &[
    // TOML itself
    (
        "region = ",
        "f.toml:1:10: string values must be quoted, expected literal string",
    ),
    ("[limits|", "f.toml:1:8: unclosed table, expected `]`"),
    ("region = 'a'|region = 'b'", "f.toml:2:1: duplicate key"),
    // types and single values
    (
        "region = 5",
        "f.toml:1:10: region = 5: allowed 1 to 32 of the characters a-z 0-9 -, in quotes",
    ),
    (
        "region = 'US'",
        "f.toml:1:10: region = 'US': allowed 1 to 32 of the characters a-z 0-9 -",
    ),
    (
        "account_id = '12345'",
        "f.toml:1:14: account_id = '12345': allowed 12 digits",
    ),
    (
        "account_id = 123456789012",
        "f.toml:1:14: account_id = 123456789012: allowed 12 digits, in quotes",
    ),
    ("shards = 0", "f.toml:1:10: shards = 0: allowed 1 to 256"),
    ("shards = -1", "f.toml:1:10: shards = -1: allowed 1 to 256"),
    (
        "shards = 1.5",
        "f.toml:1:10: shards = 1.5: allowed 1 to 256",
    ),
    (
        "shards = '2'",
        "f.toml:1:10: shards = '2': allowed 1 to 256",
    ),
    (
        "cpus = '3-1'",
        "f.toml:1:8: cpus = '3-1': allowed a list of CPU numbers and ranges, such as 0-3,6, none twice",
    ),
    (
        "cpus = [0, 0]",
        "f.toml:1:8: cpus = [0, 0]: allowed a list of CPU numbers and ranges, such as 0-3,6, none twice",
    ),
    (
        "cpus = [0, 'x']",
        "f.toml:1:8: cpus = [0, 'x']: allowed a list of CPU numbers and ranges, such as 0-3,6, none twice",
    ),
    (
        "profile = 'lax'",
        "f.toml:1:11: profile = 'lax': allowed \"default\", \"strict\"",
    ),
    (
        "auth = 'basic'",
        "f.toml:1:8: auth = 'basic': allowed \"sigv4\", \"none\"",
    ),
    (
        "log_format = 'xml'",
        "f.toml:1:14: log_format = 'xml': allowed \"text\", \"json\"",
    ),
    (
        "data_dir = ''",
        "f.toml:1:12: data_dir = '': allowed a text that is not empty",
    ),
    (
        "listen = 'http://127.0.0.1:1'",
        "f.toml:1:10: listen = 'http://127.0.0.1:1': allowed a list of URLs",
    ),
    (
        "listen = []",
        "f.toml:1:10: listen = []: allowed a list of URLs, not empty",
    ),
    (
        "listen = ['ftp://127.0.0.1:1']",
        "f.toml:1:10: listen = ['ftp://127.0.0.1:1']: allowed http://ADDR:PORT or https://ADDR:PORT, such as \
         https://127.0.0.1:8443",
    ),
    (
        "[admin]|listen = '127.0.0.1'",
        "f.toml:2:10: admin.listen = '127.0.0.1': allowed ADDR:PORT, such as 127.0.0.1:8090, or off",
    ),
    // unknown keys
    (
        "[limits]|payload = 5",
        "f.toml:2:1: limits.payload = 5: unknown key, allowed viewers_per_channel, channels_per_account, \
         record_bytes_per_account, record_bytes_total, payload_bytes, message_bytes, wss_message_bytes, head_bytes, \
         header_lines, body_bytes, request_bytes, outbox_bytes, outbox_bytes_total, outbox_bytes_per_shard, \
         unconfirmed_bytes_total, \
         pending_bytes_per_channel, pending_bytes_total, pending_bytes_per_shard, connections, handshakes_per_shard, \
         handshakes_per_address; the nearest is payload_bytes",
    ),
    (
        "[signaling]|go_away = 'off'",
        "f.toml:2:11: signaling.go_away = 'off': allowed \"auto\", \"always\", \"never\"",
    ),
    (
        "[clients.doorbell]|user_agent = 'Doorbell*'|go_away = 'off'",
        "f.toml:3:11: clients.doorbell.go_away = 'off': allowed true, false",
    ),
    (
        "[options]|x = true",
        "f.toml:2:1: options.x = true: unknown key, allowed master_offers",
    ),
    (
        "[quotas]|sdp = { rate = 5, bursts = 25 }",
        "f.toml:2:19: quotas.sdp.bursts = 25: unknown key, allowed rate, burst; the nearest is burst",
    ),
    (
        "[[ice]]|urls = ['stun:a']|pass = 'x'",
        "f.toml:3:1: ice[0].pass = 'x': unknown key, allowed urls, secret, secret_file, username, password, ttl; \
         the nearest is password",
    ),
    // tables
    (
        "limits = 5",
        "f.toml:1:10: limits = 5: allowed a table: [limits]",
    ),
    (
        "[ice]|urls = []",
        "f.toml:1:1: ice = [ice]: allowed a list of tables: [[ice]]",
    ),
    // sizes and durations
    (
        "[presence]|gone = '100ms'",
        "f.toml:2:8: presence.gone = '100ms': allowed a duration from \"1s\" to \"1h\"",
    ),
    (
        "[limits]|payload_bytes = 0",
        "f.toml:2:17: limits.payload_bytes = 0: allowed 1 to 1048576",
    ),
    (
        "[limits]|connections = 99999999999",
        "f.toml:2:15: limits.connections = 99999999999: allowed 1 to 16777216",
    ),
    (
        "[timeouts]|idle = 600",
        "f.toml:2:8: timeouts.idle = 600: allowed a duration from \"1ms\" to \"7d\", in quotes",
    ),
    (
        "[timeouts]|idle = 'off'",
        "f.toml:2:8: timeouts.idle = 'off': allowed a duration from \"1ms\" to \"7d\"",
    ),
    (
        "[timeouts]|ping = '2 min'",
        "f.toml:2:8: timeouts.ping = '2 min': allowed a duration from \"1ms\" to \"1d\", or \"off\"",
    ),
    (
        "[quotas]|off = 'yes'",
        "f.toml:2:7: quotas.off = 'yes': allowed true, false",
    ),
    (
        "[quotas.ice]|rate = -5",
        "f.toml:2:8: quotas.ice.rate = -5: allowed 0 to 1000000",
    ),
    // rules that join keys
    (
        "auth = 'none'|listen = ['http://0.0.0.0:80']",
        "f.toml:2:10: listen = http://0.0.0.0:80: allowed loopback addresses only, since auth none lets everybody in",
    ),
    (
        "listen = ['http://127.0.0.1:80', 'http://127.0.0.1:80']",
        "f.toml:1:10: listen = http://127.0.0.1:80: allowed each address and port once",
    ),
    (
        "listen = ['http://0.0.0.0:80', 'http://[::]:80']",
        "f.toml:1:10: listen = http://[::]:80: allowed each address and port once: it overlaps http://0.0.0.0:80, \
         since [::] takes IPv4 and IPv6",
    ),
    (
        "listen = ['http://[::]:80', 'http://127.0.0.1:80']",
        "f.toml:1:10: listen = http://127.0.0.1:80: allowed each address and port once: it overlaps http://[::]:80, \
         since [::] takes IPv4 and IPv6",
    ),
    (
        "listen = ['http://127.0.0.1:80', 'http://0.0.0.0:80']",
        "f.toml:1:10: listen = http://0.0.0.0:80: allowed each address and port once: it overlaps http://127.0.0.1:80",
    ),
    (
        "[admin]|listen = '127.0.0.1:8080'",
        "f.toml:2:10: admin.listen = 127.0.0.1:8080: allowed an address and port that no other listener has",
    ),
    (
        "[admin]|listen = '10.0.0.1:8090'",
        "f.toml:2:10: admin.listen = 10.0.0.1:8090: allowed loopback addresses, or others with admin.token_file",
    ),
    (
        "[admin]|oidc = { provider = 'id.example.com', claim = 'groups' }|token_file = 't'",
        "f.toml:2:8: admin.oidc = { … }: allowed provider, claim and value together",
    ),
    (
        "[admin]|oidc = { provider = 'id.example.com', claim = 'groups', value = 'ops' }",
        "f.toml:2:8: admin.oidc = { … }: allowed with admin.token_file: without a token everybody who reaches the \
         listener is let in",
    ),
    (
        "[admin]|oidc = { provider = 'id.example.com', claim = 'groups', value = 'ops' }|token_file = 't'|\
         listen = '10.0.0.1:8090'|origins = ['http://ops.example.com']",
        "f.toml:2:8: admin.oidc = { … }: allowed with an https:// origin in admin.origins, or with admin.listen on \
         loopback: cookies would cross the network in the clear",
    ),
    (
        "[admin.oidc]|scopes = ['email']|provider = 'a'|claim = 'b'|value = 'c'|[admin]|token_file = 't'",
        "f.toml:2:10: admin.oidc.scopes = email: allowed with openid among them",
    ),
    (
        "[admin.oidc]|value = ''|scopes = []|client_secret = 'x'",
        "f.toml:2:9: admin.oidc.value = '': allowed 1 to 255 bytes without control characters\n\
         f.toml:3:10: admin.oidc.scopes = []: allowed a list of scopes, not empty\n\
         f.toml:4:1: admin.oidc.client_secret = <redacted>: unknown key, allowed provider, claim, value, client_id, \
         client_secret_file, scopes; the nearest is client_secret_file",
    ),
    (
        "[tls]|cert = 'a.pem'",
        "f.toml:1:1: tls = { … }: allowed cert and key together",
    ),
    (
        "[tls]|client_ca = 'a.pem'",
        "f.toml:1:1: tls = { … }: allowed client_ca together with cert and key",
    ),
    (
        "[advertise]|domain = 'a.example'|wss = 'wss://b.example'",
        "f.toml:2:10: advertise.domain = a.example: allowed without advertise.wss and advertise.https only",
    ),
    (
        "[advertise]|wss = 'wss://a/b'",
        "f.toml:2:7: advertise.wss = 'wss://a/b': allowed wss://HOST or wss://HOST:PORT, without a path",
    ),
    (
        "[advertise]|domain = '-a'",
        "f.toml:2:10: advertise.domain = '-a': allowed a domain name, such as signaling.example.com",
    ),
    (
        "[limits]|payload_bytes = 65536",
        "limits.message_bytes = 65536 (default): allowed at least 65902: limits.payload_bytes and 366 for what is \
         around it",
    ),
    (
        "[limits]|outbox_bytes = 65536",
        "f.toml:2:16: limits.outbox_bytes = 65536: allowed at least 524288, which is limits.pending_bytes_per_channel",
    ),
    (
        "[timeouts]|connection_age = '1m'",
        "timeouts.go_away_grace = 1m (default): allowed less than timeouts.connection_age, which is 1m",
    ),
    (
        "[timeouts]|ping = '1h'",
        "f.toml:2:8: timeouts.ping = 1h: allowed less than timeouts.idle, which is 10m, or off",
    ),
    // ICE servers
    (
        "[[ice]]|ttl = '5m'",
        "f.toml:2:1: ice[0] = { … }: allowed entries with urls",
    ),
    (
        "[[ice]]|urls = ['http://a']",
        "f.toml:2:8: ice[0].urls = ['http://a']: allowed stun:, turn: or turns: URLs of at most 127 characters",
    ),
    (
        "[[ice]]|urls = ['stun:a', 'stun:b', 'stun:c', 'stun:d', 'stun:e']",
        "f.toml:2:8: ice[0].urls = ['stun:a', 'stun:b', 'stun:c', 'stun:d', 'stun:e']: allowed a list of 1 to 4 URLs",
    ),
    (
        "[[ice]]|urls = ['turn:a']",
        "f.toml:2:1: ice[0] = { … }: allowed without username and password, secret or secret_file for stun: URLs only",
    ),
    (
        "[[ice]]|urls = ['turn:a']|username = 'u'",
        "f.toml:2:1: ice[0] = { … }: allowed one of username with password, secret, secret_file",
    ),
    (
        "[[ice]]|urls = ['turn:a']|secret = 'se cret'",
        "f.toml:3:10: ice[0].secret = <redacted>: allowed 1 to 256 printable ASCII characters without space, \" and \\",
    ),
    (
        "[[ice]]|urls = ['turn:a']|secret = 's'|ttl = '59s'",
        "f.toml:4:7: ice[0].ttl = '59s': allowed a duration from \"1m\" to \"1d\"",
    ),
    // several nodes
    (
        "[cluster]|name = 'Prod'",
        "f.toml:2:8: cluster.name = 'Prod': allowed 1 to 63 of the characters a-z 0-9 . -",
    ),
    (
        "[cluster]|node = ''",
        "f.toml:2:8: cluster.node = '': allowed 1 to 63 of the characters a-z 0-9 . -",
    ),
    (
        "[cluster]|listen = '10.0.0.1'",
        "f.toml:2:10: cluster.listen = '10.0.0.1': allowed ADDR:PORT, such as 10.0.0.1:7443",
    ),
    (
        "[cluster]|advertise = 'n1.internal:7443'",
        "f.toml:2:13: cluster.advertise = 'n1.internal:7443': allowed a host name or an IP address, without a port, \
         such as n1.internal",
    ),
    (
        "[cluster]|advertise = '10.0.0.256'",
        "f.toml:2:13: cluster.advertise = '10.0.0.256': allowed a host name or an IP address, without a port, such as \
         n1.internal",
    ),
    (
        "[cluster]|advertise = '0.0.0.0'",
        "f.toml:2:13: cluster.advertise = '0.0.0.0': allowed a host name or an IP address, without a port, such as \
         n1.internal",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:7443'|advertise = 'n1.internal'|\
         map_file = 'm'",
        "f.toml:6:13: cluster.advertise = n1.internal: allowed with etcd only: a fixed map has the addresses of the \
         nodes",
    ),
    (
        "[cluster]|direct = true|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:0'|map_file = 'm'",
        "f.toml:2:10: cluster.direct = true: allowed with advertise.domain, below which the nodes have their names",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'",
        "f.toml:1:1: cluster = { … }: allowed name, node, secret_file, listen and one of etcd and map_file together",
    ),
    (
        "listen = ['http://127.0.0.1:7443']|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:7443'|map_file = 'm'",
        "f.toml:6:10: cluster.listen = 127.0.0.1:7443: allowed an address and port that no other listener has",
    ),
    (
        "auth = 'none'|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '10.0.0.1:7443'|map_file = 'm'",
        "f.toml:6:10: cluster.listen = 10.0.0.1:7443: allowed loopback addresses only, since auth none lets everybody \
         in",
    ),
    (
        "listen = ['http://127.0.0.1:7444']|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:7443'|etcd = ['http://a:1']",
        "f.toml:6:10: cluster.listen = 127.0.0.1:7443: allowed a port with a free one behind it, which messages \
         between nodes take, or cluster.peers with another",
    ),
    (
        "[admin]|listen = '127.0.0.1:7444'|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:7443'|etcd = ['http://a:1']",
        "f.toml:7:10: cluster.listen = 127.0.0.1:7443: allowed a port with a free one behind it, which messages \
         between nodes take, or cluster.peers with another",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:65535'|\
         etcd = ['http://a:1']",
        "f.toml:5:10: cluster.listen = 127.0.0.1:65535: allowed a port with a free one behind it, which messages \
         between nodes take, or cluster.peers with another",
    ),
    (
        "shards = 3|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:65533'|etcd = ['http://a:1']",
        "f.toml:6:10: cluster.listen = 127.0.0.1:65533: allowed ports up to 65532, since 3 shards listen on others \
         behind it",
    ),
    (
        "shards = 3|listen = ['http://127.0.0.1:7446']|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:7443'|etcd = ['http://a:1']",
        "f.toml:7:10: cluster.listen = 127.0.0.1:7443: allowed a port with free ones behind it: of 3 shards one also \
         listens on 7446, which another listener has",
    ),
    (
        "shards = 3|[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|\
         listen = '127.0.0.1:7443'|peers = '127.0.0.1:7445'|etcd = ['http://a:1']",
        "f.toml:7:9: cluster.peers = 127.0.0.1:7445: allowed an address and port that no other listener has",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['https://10.0.0.1:2379/v3']|etcd_ca = 'c'",
        "f.toml:6:8: cluster.etcd = ['https://10.0.0.1:2379/v3']: allowed https://HOST:PORT or http://HOST:PORT, such \
         as https://10.0.0.11:2379",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = []",
        "f.toml:6:8: cluster.etcd = []: allowed a list of URLs, not empty",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1', 'http://b:1', 'http://a:1']",
        "f.toml:6:8: cluster.etcd = http://a:1: allowed each URL once",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1']|map_file = 'm'",
        "f.toml:7:12: cluster.map_file = m: allowed one of etcd and map_file",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['https://a:1']",
        "f.toml:6:8: cluster.etcd = https://a:1: allowed https:// together with etcd_ca",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1']|etcd_ca = 'c'",
        "f.toml:7:11: cluster.etcd_ca = c: allowed with URLs of https:// in etcd only",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['https://a:1']|etcd_ca = 'c'|etcd_key = 'k'",
        "f.toml:8:12: cluster.etcd_key = k: allowed together with etcd_cert",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1']|etcd_user = 'u'",
        "f.toml:7:13: cluster.etcd_user = u: allowed together with etcd_password_file",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         map_file = 'm'|etcd_user = 'u'|etcd_password_file = 'p'",
        "f.toml:7:13: cluster.etcd_user = u: allowed with etcd only",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1']|lease = '4s'",
        "f.toml:7:9: cluster.lease = '4s': allowed a duration from \"5s\" to \"1m\"",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         etcd = ['http://a:1']|lease = '5500ms'",
        "f.toml:7:9: cluster.lease = 5500ms: allowed whole seconds",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         map_file = 'm'|lease = '20s'",
        "f.toml:7:9: cluster.lease = 20s: allowed with etcd only",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '127.0.0.1:1'|\
         map_file = 'm'|etcd_quota_bytes = 16777216",
        "f.toml:7:20: cluster.etcd_quota_bytes = 16777216: allowed with etcd only",
    ),
    (
        "[cluster]|name = 'prod'|node = 'n1'|secret_file = 's'|listen = '0.0.0.0:1'|\
         etcd = ['http://a:1']",
        "f.toml:5:10: cluster.listen = 0.0.0.0:1: allowed the address at which other nodes reach this one, which they \
         learn from etcd; any together with cluster.advertise",
    ),
];
