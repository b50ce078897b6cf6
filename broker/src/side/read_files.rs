//! Every file that a server reads, and how reloads of those went that may change under it.

use crate::side::shared_state::Shared;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Files that a server reads together.
#[derive(Clone, Copy, Debug)]
pub struct ReadFiles {
    /// The keys that name them.
    pub files: &'static str,
    /// The name under which they are read again, when they change and on SIGHUP; empty for those of the start alone.
    pub reloaded: &'static str,
    /// The effect of a fault at the start, where it is not that there is none.
    pub exception: &'static str,
    /// A test of what a fault does.
    pub test: &'static str,
}

/// All of them. Metrics have each that is reloaded, also where there is none of a kind; the page of operation has the
/// table.
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

/// A row of the table: files, when they are read again, what a fault does, metric, test.
impl Display for ReadFiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            reloaded,
            exception,
            test,
        } = self;
        write!(f, "| {files} | ")?;
        match *reloaded {
            "" => write!(f, "no | no | no start: exit code 2{exception} | – ")?,
            name => write!(
                f,
                "yes | yes | no start: exit code 2; later the former files serve{exception} | `{name}` "
            )?,
        }
        write!(f, "| `{test}` |")
    }
}

/// The names of those that are reloaded.
pub fn reloaded() -> impl Iterator<Item = &'static str> {
    let names = READ_FILES.iter().map(|row| row.reloaded);
    names.filter(|name| !name.is_empty())
}

/// How reloads of files went, by the subject that they are about. Not part of the status: what is in force serves.
pub type Reloads = Shared<BTreeMap<&'static str, Reload>>;

/// How the reloads of a subject went; moments are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// When its files were last read and put in force.
    pub succeeded_ms: u64,
    /// Since when they could not be, and why.
    pub failed: Option<(u64, Box<str>)>,
    /// The last seconds, since 1970, of certificates in force, each by what it is for.
    pub ends: Vec<(&'static str, u64)>,
}
