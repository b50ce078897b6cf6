//! The WebSocket endpoints, whose path determines the client's role, and the variants of path and host that clients
//! sign. Some clients treat the path as part of the host, or add or drop the path between signing and connecting.

/// Path of the WebSocket endpoint for masters.
pub const MASTER_PATH: &str = "/master";
/// Path of the WebSocket endpoint for viewers.
pub const VIEWER_PATH: &str = "/viewer";

/// A path and host that a client may have signed instead of those in the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtherForm {
    pub(crate) path: Option<&'static str>,
    pub(crate) host: OtherHost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherHost {
    AsSent,
    WithoutPort,
    WithPath(&'static str),
}

/// Returns the alternative forms of an upgrade request to `path`, if that is the path of an endpoint. The signed path
/// determines the role, so one role's alternatives never include the other role's path.
pub(crate) fn other_forms(path: &str) -> &'static [OtherForm] {
    match path {
        "/" => &OF_ROOT,
        "/viewer" => &const { forms("/viewer/", VIEWER_PATH) },
        "/viewer/" => &const { forms(VIEWER_PATH, VIEWER_PATH) },
        "/master" => &const { forms("/master/", MASTER_PATH) },
        "/master/" => &const { forms(MASTER_PATH, MASTER_PATH) },
        _ => &[],
    }
}

/// An alternative form that is tried for every request: the host without its port. The SDKs for Android and iOS sign
/// this form.
pub(crate) const WITHOUT_PORT: OtherForm = OtherForm {
    path: None,
    host: OtherHost::WithoutPort,
};

const fn with(path: &'static str, host: OtherHost) -> OtherForm {
    let path = Some(path);
    OtherForm { path, host }
}

const OF_ROOT: [OtherForm; OTHER_FORMS_MAX] = [
    with("/viewer/", OtherHost::AsSent),
    with(VIEWER_PATH, OtherHost::AsSent),
    with("/master/", OtherHost::AsSent),
    with(MASTER_PATH, OtherHost::AsSent),
];

/// Builds the alternative forms for a path: with or without its final slash, and `/` for clients that drop the path or
/// treat it as part of the host.
const fn forms(twin: &'static str, role: &'static str) -> [OtherForm; OTHER_FORMS_MAX] {
    [
        with("/", OtherHost::AsSent),
        with(twin, OtherHost::AsSent),
        with("/", OtherHost::WithPath(role)),
        with(twin, OtherHost::WithoutPort),
    ]
}

/// Maximum number of additional canonical requests for each encoding of the query. Each one costs a SHA-256 and an
/// HMAC.
const OTHER_FORMS_MAX: usize = 4;
