//! Endpoints whose path determines a role, and the forms in which clients sign an upgrade to them: some treat the path
//! as part of the host, or add or drop the path between signing and connecting.

/// Path of the WebSocket endpoint for masters.
pub const MASTER_PATH: &str = "/master";
/// Path of the WebSocket endpoint for viewers.
pub const VIEWER_PATH: &str = "/viewer";

/// Path and host that a client may have signed instead of those requested.
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

/// Alternative forms for an upgrade request at the path of an endpoint. The signed path determines the role, so the
/// alternatives of one role never include the path of the other.
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

/// Alternative form tried for every request: the host without its port, as signed by the SDKs for Android and iOS.
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

/// Builds the alternatives: the path with or without its final slash, and `/` with the path dropped or in the host.
const fn forms(twin: &'static str, role: &'static str) -> [OtherForm; OTHER_FORMS_MAX] {
    [
        with("/", OtherHost::AsSent),
        with(twin, OtherHost::AsSent),
        with("/", OtherHost::WithPath(role)),
        with(twin, OtherHost::WithoutPort),
    ]
}

/// Maximum number of additional canonical requests per encoding of the query. Each costs one SHA-256 and one HMAC.
const OTHER_FORMS_MAX: usize = 4;
