//! The credentials file, its principals and policies.

use super::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "{keys}",
        "[[principal",
        &["keys.toml:1:12: unclosed array table, expected `]]`"],
    ),
    (
        "{keys}",
        "principal = 5",
        &["keys.toml:1:13: principal = 5: allowed a list of tables: [[principal]]"],
    ),
    (
        "{keys}",
        "[[principal]]",
        &[
            "keys.toml:1:1: principal[0] = { … }: name and access_key_id needed",
            "keys.toml:1:1: principal[0] = { … }: allowed with either secret_access_key or secret_access_key_file",
        ],
    ),
    (
        "{keys}",
        "{one}|sesion_token = 'hidden'",
        &["keys.toml:5:1: principal[0].sesion_token = <redacted>: unknown key, allowed name, …"],
    ),
    (
        "{keys}",
        "{one}|{one}",
        &[
            "keys.toml:6:8: principal[1].name = \"a\": allowed once; principal[0] has it as well",
            "keys.toml:7:17: principal[1].access_key_id = \"A\": allowed once; principal[0] has it as well",
        ],
    ),
    (
        "{keys}",
        "{one}|account = '1'|expires = 'soon'|clock_tolerance = '25h'|policies = ['p']",
        &[
            "keys.toml:5:11: principal[0].account = '1': allowed 12 digits",
            "keys.toml:6:11: principal[0].expires = 'soon': allowed a date and time with its offset, such as \
             2027-01-01T00:00:00Z",
            "keys.toml:7:19: principal[0].clock_tolerance = '25h': allowed a duration from \"1s\" to \"1d\"",
            "keys.toml:8:12: principal[0].policies = ['p']: there is no [policy.p], nor any other",
        ],
    ),
    (
        "{keys}",
        "[[principal]]|name = 'a b'|access_key_id = 'A-1'|secret_access_key = 'short'",
        &[
            "keys.toml:2:8: principal[0].name = 'a b': allowed 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -",
            "keys.toml:3:17: principal[0].access_key_id = 'A-1': allowed 1 to 128 of the characters A-Z a-z 0-9 _",
            "keys.toml:4:21: principal[0].secret_access_key = <redacted>: allowed 16 to 128 visible ASCII characters",
        ],
    ),
    (
        "{keys}",
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'absent.secret'|[[principal]]|name = \
         'b'|access_key_id = 'B'|secret_access_key_file = 'short.token'",
        &[
            "keys.toml:4:26: principal[0].secret_access_key_file = 'absent.secret': absent.secret: cannot be read: No \
             such file or directory (os error 2): looked for /…",
            "keys.toml:8:26: principal[1].secret_access_key_file = 'short.token': short.token: the content: allowed 16 \
             to 128 visible ASCII characters",
        ],
    ),
    (
        "{keys}",
        "{one}|policies = ['p', 'q']|[policy.p]|file = 'absent.json'|[policy.q]|document = '{}'|[policy.r]",
        &[
            "keys.toml:7:8: policy.p.file = 'absent.json': absent.json: cannot be read: No such file or directory (os \
             error 2): looked for /…",
            "keys.toml:9:12: policy.q.document = '{}': the document is no policy: line 1, column 2: the document needs \
             Statement, with at least one statement",
            "keys.toml:10:1: policy.r = { … }: allowed with either file or document",
        ],
    ),
    (
        "{keys}",
        "{one}|policies = ['p', 'q']|[policy.p]|file = 'bad.json'|[policy.q]|document = '{\"Statement\": {\"Effect\": \
         1, \"Action\": \"x\"}}'",
        &[
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:2:18: Effect \"allow\": allowed \"Allow\", \"Deny\"",
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:3:15: \"NotPrincipal\": not evaluated here, allowed …",
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:4:2: the statement lacks Action, Resource",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 26: invalid type: integer `1`, expected Effect: a string",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 41: action \"x\": allowed …",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 42: the statement lacks Resource",
        ],
    ),
    (
        "shards = 0|data_dir = 'file'|{keys}|unknown = 1|[tls]|cert = 'absent.pem'|key = 'other.key'|[admin]|listen = \
         '0.0.0.0:8090'|token_file = 'short.token'|[limits]|head_bytes = 1|[timeouts]|idle = 'x'|[[ice]]|urls = \
         ['turn:a']|secret_file = 'absent.secret'",
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'absent.secret'|policies = \
         ['q']|[policy.p]|file = 'absent.json'",
        &[
            "c.toml:1:10: shards = 0: allowed 1 to 256",
            "c.toml:2:12: data_dir = file: must be a directory that can be created and written: not a directory",
            "c.toml:4:1: unknown = 1: unknown key, allowed region, …",
            "c.toml:6:8: tls.cert = absent.pem: must be a PEM file with one certificate or a chain, the leaf first: it \
             cannot be read: No such file or directory (os error 2): looked for /…",
            "c.toml:10:14: admin.token_file = short.token: must have one line of at least 16 printable ASCII \
             characters",
            "c.toml:12:14: limits.head_bytes = 1: allowed 1024 to 65536",
            "c.toml:14:8: timeouts.idle = 'x': allowed a duration from \"1ms\" to \"7d\"",
            "c.toml:17:15: ice[0].secret_file = 'absent.secret': must be a readable file: No such file or \
             directory (os error 2): looked for /…",
            "keys.toml:4:26: principal[0].secret_access_key_file = 'absent.secret': absent.secret: cannot be read: No \
             such file or directory (os error 2): looked for /…",
            "keys.toml:5:12: principal[0].policies = ['q']: there is no [policy.q], allowed p",
            "keys.toml:7:8: policy.p.file = 'absent.json': absent.json: cannot be read: No such file or directory (os \
             error 2): looked for /…",
        ],
    ),
];
