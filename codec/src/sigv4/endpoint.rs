//! Endpoints whose path determines a role, and the ways in which clients sign an upgrade request to them: some treat
//! the path as part of the host, or add or drop the path between signing and connecting.

/// Path of the WebSocket endpoint for masters.
pub const MASTER_PATH: &str = "/master";
/// Path of the WebSocket endpoint for viewers.
pub const VIEWER_PATH: &str = "/viewer";

/// A path and host that a client may have signed in place of those it requested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtherForm {
    /// The signed path; `None` if it is the requested path.
    pub(crate) path: Option<&'static str>,
    pub(crate) host: OtherHost,
}

/// The host that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherHost {
    AsSent,
    WithoutPort,
    /// The host followed by the given path.
    WithPath(&'static str),
}

/// Returns the alternative forms to try for an upgrade request at `path`; none unless `path` belongs to an endpoint.
///
/// The signed path determines the role, so the alternatives for one role never include the path of the other.
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

/// The alternative form that is tried for every request: the host without its port, as signed by the SDKs for Android
/// and iOS.
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

/// Builds the alternatives for a role's path: the path with or without its final slash, and `/` with either the host
/// alone or the host followed by the path.
const fn forms(twin: &'static str, role: &'static str) -> [OtherForm; OTHER_FORMS_MAX] {
    [
        with("/", OtherHost::AsSent),
        with(twin, OtherHost::AsSent),
        with("/", OtherHost::WithPath(role)),
        with(twin, OtherHost::WithoutPort),
    ]
}

/// Maximum number of additional canonical requests that are tried for each encoding of the query. Each costs one
/// SHA-256 and one HMAC.
const OTHER_FORMS_MAX: usize = 4;
