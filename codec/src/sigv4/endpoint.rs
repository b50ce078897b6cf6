//! Endpoints whose path names a role, and the ways in which clients sign an upgrade at them: some take the path for a
//! part of the host, or add or drop it between signing and connecting.

/// Path of the WebSocket endpoint of masters.
pub const MASTER_PATH: &str = "/master";
/// Path of the WebSocket endpoint of viewers.
pub const VIEWER_PATH: &str = "/viewer";

/// A path and host that a client may have signed in place of the requested ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtherForm {
    /// Signed path; `None`: as sent.
    pub(crate) path: Option<&'static str>,
    pub(crate) host: OtherHost,
}

/// Signed host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherHost {
    AsSent,
    WithoutPort,
    /// The host followed by this path.
    WithPath(&'static str),
}

/// Other forms to try for an upgrade at this path: none unless it is an endpoint's.
///
/// The signed path decides the role, so the forms of one role never include the other's path.
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

/// Form to try for every request: the host without its port, as the SDKs for Android and iOS sign it.
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

/// Forms at the path of a role: the path with or without its final slash, and `/` with the host alone or followed by
/// the path.
const fn forms(twin: &'static str, role: &'static str) -> [OtherForm; OTHER_FORMS_MAX] {
    [
        with("/", OtherHost::AsSent),
        with(twin, OtherHost::AsSent),
        with("/", OtherHost::WithPath(role)),
        with(twin, OtherHost::WithoutPort),
    ]
}

/// Most canonical requests tried beyond those of any request, in each encoding of its query: each costs one SHA-256 of
/// it and one HMAC.
const OTHER_FORMS_MAX: usize = 4;
