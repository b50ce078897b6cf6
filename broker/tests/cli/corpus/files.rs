//! Files, directories and listeners: certificates, the data directory, the admin listener, ICE servers.

use super::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "{keys}|[cluster]|name = 'prod'|node = 'n3'|listen = '127.0.0.1:0'|secret_file = 'file'|\
         map_file = 'good.map'",
        "{one}",
        &[
            "c.toml:6:15: cluster.secret_file = file: must be a file with one line of 64 hexadecimal digits, or two \
             while it is replaced",
            "c.toml:7:12: cluster.map_file = good.map: must be a map with a line for this node, n3",
        ],
    ),
    (
        "{keys}|[cluster]|name = 'prod'|node = 'n1'|listen = '127.0.0.1:0'|secret_file = 'absent'|\
         map_file = 'bad.map'",
        "{one}",
        &[
            "c.toml:6:15: cluster.secret_file = absent: must be a readable file: No such file or directory (os \
             error 2): looked for /…",
            "c.toml:7:12: cluster.map_file = bad.map: line 2: slot 7: allowed one node",
        ],
    ),
    (
        "{keys}|[cluster]|name = 'prod'|node = 'n1'|listen = '127.0.0.1:0'|secret_file = 'good.secret'|\
         etcd = ['https://a:1']|etcd_ca = 'absent'|etcd_cert = 'own.pem'|etcd_key = 'empty'",
        "{one}",
        &[
            "c.toml:8:11: cluster.etcd_ca = absent: must be a readable file: No such file or directory (os \
             error 2): looked for /…",
        ],
    ),
    (
        "credentials = 'absent.toml'",
        "",
        &[
            "c.toml:1:15: credentials = absent.toml: must be a readable file: No such file or directory (os \
             error 2): looked for /…",
        ],
    ),
    (
        "auth = 'none'|credentials = 'absent.toml'",
        "",
        &[
            "c.toml:2:15: credentials = absent.toml: must be a readable file: No such file or directory (os \
             error 2): looked for /…",
        ],
    ),
    (
        "{keys}|[quotas]|ice = 5|sdp = { rate = -1, bursts = 2 }",
        "{one}",
        &[
            "c.toml:3:7: quotas.ice = 5: allowed a table: [quotas.ice]",
            "c.toml:4:16: quotas.sdp.rate = -1: allowed 0 to 1000000",
            "c.toml:4:20: quotas.sdp.bursts = 2: unknown key, allowed rate, burst; the nearest is burst",
        ],
    ),
    (
        "{keys}|data_dir = ''",
        "{one}",
        &["c.toml:2:12: data_dir = '': allowed a text that is not empty"],
    ),
    (
        "{keys}|data_dir = 'file'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = file: must be a directory that can be created and written: not a directory",
        ],
    ),
    (
        "{keys}|data_dir = 'file/below'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = file/below: must be a directory that can be created and written: Not a directory \
             (os error 20)",
        ],
    ),
    (
        "{keys}|data_dir = 'link'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = link: must be a directory that can be created and written: No such file or \
             directory (os error 2)",
        ],
    ),
    (
        "{keys}|data_dir = '/proc/nowhere'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = /proc/nowhere: must be a directory that can be created and written: No such file \
             or directory (os error 2)",
        ],
    ),
    (
        "{keys}|[admin]|listen = '8090'",
        "{one}",
        &["c.toml:3:10: admin.listen = '8090': allowed ADDR:PORT, such as 127.0.0.1:8090, or off"],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:8090'",
        "{one}",
        &[
            "c.toml:3:10: admin.listen = 0.0.0.0:8090: allowed loopback addresses, or others with admin.token_file",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:8090'|token_file = 'absent.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = absent.token: must be a readable file: No such file or directory \
             (os error 2): looked for /…",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:8090'|token_file = 'short.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = short.token: must have one line of at least 16 printable ASCII characters",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:8090'|token_file = 'two.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = two.token: must have one line of at least 16 printable ASCII characters",
        ],
    ),
    (
        "{keys}|[admin]|origins = ['https://ops.example']",
        "{one}",
        &[
            "c.toml:3:11: admin.origins = https://ops.example: allowed with admin.token_file, since who asks a proxy \
             reaches the listener from loopback",
        ],
    ),
    (
        "{keys}|[admin]|origins = ['https://ops.example']|token_file = 'short.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = short.token: must have one line of at least 16 printable ASCII characters",
        ],
    ),
    (
        "{keys}|[admin]|token_file = 'folder'",
        "{one}",
        &[
            "c.toml:3:14: admin.token_file = folder: must be a readable file: Is a directory (os error 21)",
        ],
    ),
    (
        "{keys}|[admin]|listen = '127.0.0.1:8080'",
        "{one}",
        &[
            "c.toml:3:10: admin.listen = 127.0.0.1:8080: allowed an address and port that no other listener has",
        ],
    ),
    (
        "{keys}|listen = ['https://127.0.0.1:0']",
        "{one}",
        &[
            "c.toml:2:10: listen = https://127.0.0.1:0: allowed with a certificate: --tls-cert FILE --tls-key FILE, or \
             [tls] cert and key in the file; --dev makes one of its own",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'own.pem'",
        "{one}",
        &["c.toml:2:1: tls = { … }: allowed cert and key together"],
    ),
    (
        "{keys}|[tls]|client_ca = 'own.pem'",
        "{one}",
        &["c.toml:2:1: tls = { … }: allowed client_ca together with cert and key"],
    ),
    (
        "{keys}|[tls]|cert = 'absent.pem'|key = 'absent.key'|client_ca = 'absent.ca'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = absent.pem: must be a PEM file with one certificate or a chain, the leaf first: it \
             cannot be read: No such file or directory (os error 2): looked for /…",
            "c.toml:4:7: tls.key = absent.key: must be a PEM file with an unencrypted private key: it cannot be read: \
             No such file or directory (os error 2): looked for /…",
            "c.toml:5:13: tls.client_ca = absent.ca: must be a PEM file with the certificates of authorities: it \
             cannot be read: No such file or directory (os error 2): looked for /…",
        ],
    ),
    (
        "{keys}|listen = ['https://127.0.0.1:0']|[tls]|cert = 'own.pem'|key = 'other.key'",
        "{one}",
        &[
            "c.toml:5:7: tls.key = other.key: must be the private key of the first certificate in own.pem (own): it is \
             the key of another one",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'own.key'|key = 'own.pem'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = own.key: must be a PEM file with one certificate or a chain, the leaf first: there \
             is no `-----BEGIN CERTIFICATE-----` in it, but a private key: are cert and key swapped?",
            "c.toml:4:7: tls.key = own.pem: must be a PEM file with an unencrypted private key: there is no \
             `-----BEGIN PRIVATE KEY-----` in it, but a certificate: are cert and key swapped?",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'expired.pem'|key = 'expired.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = expired.pem: must be a PEM file with one certificate or a chain, the leaf first: \
             certificate 1 (expired) has expired: it ended 2023-11-15 22:13:20 UTC, and this machine's clock says …",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'future.pem'|key = 'future.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = future.pem: must be a PEM file with one certificate or a chain, the leaf first: \
             certificate 1 (future) is not yet valid: it begins 2286-11-20 17:46:40 UTC, and this machine's clock says \
             …",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'empty'|key = 'folder'|client_ca = 'file'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = empty: must be a PEM file with one certificate or a chain, the leaf first: it is \
             empty",
            "c.toml:4:7: tls.key = folder: must be a PEM file with an unencrypted private key: it is not a file",
            "c.toml:5:13: tls.client_ca = file: must be a PEM file with the certificates of authorities: there is no \
             `-----BEGIN CERTIFICATE-----` in it",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'half.pem'|key = 'half.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = half.pem: must be a PEM file with one certificate or a chain, the leaf first: a \
             section in it has no end: was it written whole?",
            "c.toml:4:7: tls.key = half.key: must be a PEM file with an unencrypted private key: a section in it has \
             no end: was it written whole?",
        ],
    ),
    (
        "{keys}|[[ice]]|ttl = '10s'",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed entries with urls",
            "c.toml:3:7: ice[0].ttl = '10s': allowed a duration from …",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['http://a']|username = 'u'",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed one of username with password, secret, secret_file",
            "c.toml:3:8: ice[0].urls = ['http://a']: allowed stun:, turn: or turns: URLs of at most 127 characters",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed without username and password, secret or secret_file for stun: URLs \
             only",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret = 'se cret'|ttl = 5",
        "{one}",
        &[
            "c.toml:4:10: ice[0].secret = <redacted>: allowed 1 to 256 printable ASCII characters without space, \" \
             and \\",
            "c.toml:5:7: ice[0].ttl = 5: allowed a duration from …",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret_file = 'absent.secret'|[[ice]]|urls = ['turn:a']|secret_file = \
         'empty'",
        "{one}",
        &[
            "c.toml:4:15: ice[0].secret_file = 'absent.secret': must be a readable file: No such file or \
             directory (os error 2): looked for /…",
            "c.toml:7:15: ice[1].secret_file = 'empty': must be a file with one secret a line",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret = 'secret'|username = 'u'|password = 'p'",
        "{one}",
        &["c.toml:3:1: ice[0] = { … }: allowed one of username with password, secret, secret_file"],
    ),
    (
        "{keys}|ice = 5",
        "{one}",
        &["c.toml:2:7: ice = 5: allowed a list of tables: [[ice]]"],
    ),
    (
        "{keys}|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = \
         ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|",
        "{one}",
        &["c.toml:2:1: ice = 6 entries: allowed at most 5 entries"],
    ),
];
