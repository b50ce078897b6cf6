//! A configuration, and the commands that read it.

use crate::cluster_etcd::server::{Etcd, Scratch};
use broker_core::cluster::secret::ClusterSecret;
use broker_core::cluster::secret::Registrant;
use broker_core::cluster::types::Incarnation;
use data_encoding::HEXLOWER;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use testkit::{Exit, Program};

pub(crate) const PROGRAM: Program = Program::new(
    env!("CARGO_BIN_EXE_heliograph"),
    env!("CARGO_TARGET_TMPDIR"),
);

/// The digits that the cluster's secret repeats.
const SECRET: &str = "ab";

/// A configuration whose etcd is at these URLs.
pub(crate) struct Place {
    pub(crate) scratch: Scratch,
}

impl Place {
    pub(crate) fn of(etcd: &Etcd) -> Self {
        Self::with(&etcd.endpoint(), "")
    }

    /// With more lines at the end.
    pub(crate) fn with(endpoint: &str, more: &str) -> Self {
        let scratch = Scratch::new("commands");
        let secret = scratch.0.join("secret");
        fs::write(&secret, SECRET.repeat(32)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "[cluster]\nname = 'prod'\nnode = 'n1'\nlisten = '127.0.0.1:0'\nsecret_file = '{}'\n\
             etcd = ['{endpoint}']\n{more}\n",
            secret.display()
        );
        fs::write(scratch.0.join("broker.toml"), text).unwrap();
        Self { scratch }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    /// `heliograph cluster` with these words.
    pub(crate) fn run(&self, words: &[&str]) -> Exit {
        let config = self.path("broker.toml");
        let config = ["--config", config.to_str().unwrap()];
        let words = [&["cluster"], words, &config[..]].concat();
        let mut command = PROGRAM.command();
        // Connecting takes a second, each call three.
        testkit::run(command.args(words).current_dir(&self.scratch.0))
    }

    /// The same, which must succeed; what it prints.
    pub(crate) fn well(&self, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        assert_eq!(said.stderr, "", "{words:?}");
        said.stdout
    }
}

/// An etcd with nothing in it, and a configuration that names it; none where the program is not there.
pub(crate) fn fresh() -> Option<(Etcd, Place)> {
    let etcd = Etcd::found()?;
    let place = Place::of(&etcd);
    Some((etcd, place))
}

/// The value by which `n2` is registered in the cluster `00112233`, whose slot key counts from 0 to 15.
pub(crate) fn registration() -> String {
    let slot_key: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let registrant = Registrant {
        cluster: "00112233",
        slot_key: &slot_key,
        node: "n2",
        incarnation: Incarnation {
            directory: 7,
            start: 3,
        },
    };
    let secret = ClusterSecret::parse(&SECRET.repeat(32)).unwrap();
    let proof = secret.proof_keys("prod").prove(&registrant).remove(0);
    format!(
        r#"{{"format":1,"directory":7,"start":3,"version":"0.1.0","inner":7,"proof":["{}"]}}"#,
        HEXLOWER.encode(&proof)
    )
}
