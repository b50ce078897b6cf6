//! The broker under test: one shard on CPU 0, one principal, no rates.

use crate::Failure;
use crate::token::{ISSUER, forged};
use codec::sigv4::signer::{Keys, Signer, Upgrade};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The only key that the broker knows.
pub(crate) const KEY_ID: &str = "AKIDFORGED";

const SECRET: &str = "of-this-example-and-nobody-else";

/// A running broker; ended on drop.
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    /// `ADDRESS:PORT` of its plain listener.
    pub(crate) host: String,
    /// A token that the provider's key did not sign.
    pub(crate) token: String,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) fn start(binary: &Path) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("forged-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let (keys, config) = (directory.join("keys.toml"), directory.join("broker.toml"));
        let (key_set, token) = forged()?;
        fs::write(directory.join("keys.jwks"), key_set.to_string())?;
        fs::write(
            &keys,
            format!(
                "[[principal]]\nname = \"all\"\naccess_key_id = \"{KEY_ID}\"\nsecret_access_key \
                 = \"{SECRET}\"\npolicies = [\"all\"]\n\
                 [policy.all]\ndocument = '{{\"Statement\": \
                 {{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}}}'\n\
                 [oidc_provider.\"{ISSUER}\"]\nclient_ids = [\"app\"]\njwks_file = \"keys.jwks\"\n\
                 [role.app]\npolicies = [\"all\"]\ntrust = '{{\"Statement\": {{\"Effect\": \"Allow\", \
                 \"Action\": \"sts:AssumeRoleWithWebIdentity\", \"Principal\": {{\"Federated\": \
                 \"arn:aws:iam::123456789012:oidc-provider/{ISSUER}\"}}, \"Condition\": {{\"StringEquals\": \
                 {{\"{ISSUER}:aud\": \"app\"}}}}}}}}'\n"
            ),
        )?;
        fs::write(&config, "[quotas]\noff = true\n")?;
        // --dev creates channels for every connect; signatures are checked all the same.
        let fixed =
            "serve --dev --auth sigv4 --listen http://127.0.0.1:0 --admin off --shards 1 --cpus 0";
        let mut child = Command::new(binary)
            .args(fixed.split(' '))
            .args(["--credentials".as_ref(), keys.as_os_str()])
            .args(["--config".as_ref(), config.as_os_str()])
            .args(["--data-dir".as_ref(), directory.join("data").as_os_str()])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(directory.join("log"))?)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        let host = ready
            .split(' ')
            .find_map(|word| word.strip_prefix("http://"));
        let host = host.map(|host| host.trim().to_owned());
        let server = Self {
            child,
            directory,
            host: host.clone().unwrap_or_default(),
            token,
        };
        if host.is_none() {
            let log = fs::read_to_string(server.directory.join("log"))?;
            return Err(format!("the broker does not start: {log}").into());
        }
        Ok(server)
    }

    /// A URL that is signed rightly, for a minute.
    pub(crate) fn url(&self, channel_arn: &str, client_id: Option<&str>) -> String {
        let upgrade = Upgrade {
            host: &self.host,
            channel_arn,
            client_id,
            expires_s: 60,
            now_s: now_s(),
        };
        let keys = Keys {
            access_key_id: KEY_ID,
            secret_access_key: SECRET,
            session_token: None,
        };
        let target = Signer::new(keys, "us-west-2").presign(&upgrade);
        format!("ws://{}{target}", self.host)
    }

    /// CPU time that the process has used, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("the form of stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<f64, Failure> {
            let field = fields.next().ok_or("two fields of CPU time")?;
            Ok(field.parse()?)
        };
        Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The clock, in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Of `/proc/PID/stat` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
