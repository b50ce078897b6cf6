//! The list of all files that a server reads, and the results of reloading them.

use crate::side::shared_state::Shared;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Files that the server reads together.
#[derive(Clone, Copy, Debug)]
pub struct ReadFiles {
    /// The configuration keys that name the files.
    pub files: &'static str,
    /// The name of the reload that rereads the files. It is triggered by changes to the files and by SIGHUP. Empty if
    /// the files are read only at startup.
    pub reloaded: &'static str,
    /// Text appended to the general description of what happens on an error. Empty unless the files are an exception.
    pub exception: &'static str,
    /// The name of the test that checks the effect of an error.
    pub test: &'static str,
}

/// All files that the server reads. The metrics include every reload, whether or not its files are configured. The
/// operations page contains this list as a table.
pub const READ_FILES: &[ReadFiles] = &[
    ReadFiles {
        files: "`broker.toml`, `ice.secret_file`",
        reloaded: "configuration",
        exception: "; a change is checked, and a SIGHUP applies it",
        test: "secrets_of_turn_servers_rotate_under_open_connections",
    },
    ReadFiles {
        files: "`[admin.oidc]` of `broker.toml`, `admin.oidc.client_secret_file`",
        reloaded: "table of accounts",
        exception: "",
        test: "another_claim_ends_sessions_and_their_streams",
    },
    ReadFiles {
        files: "`tls.cert`, `tls.key`, `tls.client_ca`",
        reloaded: "certificate",
        exception: "; an expired certificate is served unless `tls.expired` is `refuse`, or a valid one is in force",
        test: "half_written_files_change_nothing_and_are_logged_once",
    },
    ReadFiles {
        files: "`admin.token_file`",
        reloaded: "admin token",
        exception: "",
        test: "a_token_is_replaced_while_the_broker_runs",
    },
    ReadFiles {
        files: "`credentials`, and all that it names (policies, secrets, key sets, registries, authorities, lists)",
        reloaded: "credentials file",
        exception: "",
        test: "a_reload_that_failed_shows_until_one_succeeds",
    },
    ReadFiles {
        files: "`hook.secret_file`, `hook.ca`, `hook.client_cert`, `hook.client_key`",
        reloaded: "files of hooks",
        exception: "",
        test: "files_of_hooks_that_are_broken_leave_the_former_in_force",
    },
    ReadFiles {
        files: "`cluster.etcd_ca`, `cluster.etcd_cert`, `cluster.etcd_key`, `cluster.etcd_password_file`",
        reloaded: "files of etcd",
        exception: "; read before each connection as well",
        test: "a_client_certificate_that_has_ended_is_replaced_while_the_node_runs",
    },
    ReadFiles {
        files: "`cluster.secret_file`, `cluster.map_file`",
        reloaded: "",
        exception: "",
        test: "serve_and_check_config_refuse_the_same_with_the_same_words",
    },
    ReadFiles {
        files: "`store.redb`, `session.key`, `presence.epoch` and certificates of `--dev`, in `data_dir`",
        reloaded: "",
        exception: " or 1",
        test: "a_store_or_a_record_of_a_later_version_is_refused",
    },
];

/// Formats a row of the table: the files, when they are reloaded, the effect of an error, the metric and the test.
impl Display for ReadFiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let exception = self.exception;
        write!(f, "| {} | ", self.files)?;
        match self.reloaded {
            "" => write!(f, "no | no | no start: exit code 2{exception} | – ")?,
            name => write!(
                f,
                "yes | yes | no start: exit code 2; later the former files serve{exception} | `{name}` "
            )?,
        }
        write!(f, "| `{}` |", self.test)
    }
}

/// Returns the names of all reloads.
pub fn reloaded() -> impl Iterator<Item = &'static str> {
    let names = READ_FILES.iter().map(|row| row.reloaded);
    names.filter(|name| !name.is_empty())
}

/// The results of reloads, by name. A failed reload does not affect the status, since the previous files remain in
/// effect.
pub type Reloads = Shared<BTreeMap<&'static str, Reload>>;

/// The results of one reload. Times are in milliseconds since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// The time when the files were last read successfully.
    pub succeeded_ms: u64,
    /// If the last read failed: when reads started to fail, and the error.
    pub failed: Option<(u64, Box<str>)>,
    /// The times when the certificates in use expire, by purpose, in seconds since 1970.
    pub ends: Vec<(&'static str, u64)>,
}
