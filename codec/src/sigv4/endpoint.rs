//! Endpoints with a path that says a role, and the ways in which clients sign the upgrade at one: some take the path
//! for a part of the host, or add or drop it between signing and connecting.

/// The path of a WebSocket endpoint that says its role: that of masters.
pub const MASTER_PATH: &str = "/master";
/// That of viewers.
pub const VIEWER_PATH: &str = "/viewer";

/// A path and a host that a client may have signed in place of those that it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OtherForm {
    /// `None`: as it was sent.
    pub(crate) path: Option<&'static str>,
    pub(crate) host: OtherHost,
}

/// The host of such a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherHost {
    AsSent,
    WithoutPort,
    /// With this behind it.
    WithPath(&'static str),
}

/// The forms that are tried of an upgrade at this path: none but at the paths of endpoints.
///
/// The role is that of the path that was signed, so no path of the other role is among those of one.
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

/// The form of every request: the host alone, as the SDKs for Android and iOS sign it.
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

/// Of the path of a role: with or without its final slash, as phones sign it with the host alone, and without it.
const fn forms(twin: &'static str, role: &'static str) -> [OtherForm; OTHER_FORMS_MAX] {
    [
        with("/", OtherHost::AsSent),
        with(twin, OtherHost::AsSent),
        with("/", OtherHost::WithPath(role)),
        with(twin, OtherHost::WithoutPort),
    ]
}

/// Canonical requests that are tried beyond those of any request: each costs one SHA-256 of it and one HMAC.
const OTHER_FORMS_MAX: usize = 4;
