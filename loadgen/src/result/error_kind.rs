//! Classifies failures. Every error name maps to one of a fixed set of kinds, each with advice for the operator.

/// A kind of connection, call or session failure. Errors with similar names belong to the same kind.
#[derive(Debug)]
pub struct ErrorKind {
    /// Short name, for the live progress.
    pub name: &'static str,
    begins: &'static [&'static str],
    /// The probable cause, and advice for the operator.
    pub advice: &'static str,
}

macro_rules! kinds {
    ($($name:literal, $begins:expr, $advice:literal;)+) => {
        &[$(ErrorKind { name: $name, begins: &$begins, advice: $advice }),+]
    };
}

/// All kinds of failure. The last one matches every name that no other kind matches.
pub const KINDS: &[ErrorKind] = kinds![
    "refused", ["refused", "connect_refused"],
        "nobody listens at the target, or its accept queue is full: check --target and the service's log";
    "reset", ["reset"],
        "the service or a proxy in front of it reset connections: see its log and its limits of connections";
    "timeout", ["timeout"],
        "no answer in time: the service or the network is overloaded, or drops packets";
    "closed", ["closed", "ended_early"],
        "the service ended connections early: see its log for the reason";
    "go away", ["go_away"],
        "the service drains, or connections reached its longest age";
    "status 400", [],
        "the service does not understand the request: check the channels' names, region and account";
    "status 403", [],
        "the service wants a signature, or refuses this one: add --presign, with keys in AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY; check region, policy and clock";
    "status 404", [],
        "the channel does not exist: use --create-channels or name another --channel-prefix";
    "status 429", [],
        "the service limits the rate: raise its quotas or lower --rate";
    "status 503", [],
        "the service is full, drains, or waits for a node that is away: see its limits of connections, and in \
         a cluster `heliograph cluster status`";
    "other status", [],
        "the service answered with an error: see its log";
    "certificate", ["certificate", "tls"],
        "the certificate is not trusted for this name: name its authority with --tls-ca; on loopback --insecure \
         works as well";
    "descriptors", ["descriptors"],
        "raise the hard limit of descriptors (ulimit -Hn) or use --processes";
    "ports", ["ports"],
        "give more local addresses with --source-addresses";
    "signature or clock", ["clock_skew"],
        "the service refuses all signatures: check the secret key, and that both clocks agree within five minutes";
    "protocol", ["protocol", "bad_"],
        "the service violated the protocol: see its version, and check proxies in between";
    "status response", ["status_"],
        "the service refused messages: its quotas, or a recipient that is not connected";
    "message of another run", ["message_of_another_run"],
        "another run or a real client uses the same channels: name another --channel-prefix";
    "close timeout", ["close_timeout", "timeout_close"],
        "the service did not finish the closing handshake in five seconds";
    "endpoint", ["endpoint"],
        "discovery names a host without an address, or another machine: if it is yours, say so with \
         --i-own-this-target (a heavy load: --yes)";
    "client limit", [],
        "the service limits what clients may do with one channel: use more --channels, or a lower --rate; the \
         broker's [quotas] name the rates, and `off = true` there turns them off";
    "other", [""],
        "see the log of the run";
];

impl ErrorKind {
    /// Returns the kind that an error name belongs to.
    #[must_use]
    pub fn of(name: &str) -> &'static Self {
        &KINDS[Self::place(name)]
    }

    /// Returns the index in [`KINDS`] of the kind that an error name belongs to. The name may be a kind or status, such
    /// as `refused` or `status:403`. It may also be a name that the I/O layer uses, such as
    /// `refused_403_AccessDeniedException` (for an upgrade) or `call_403_AccessDeniedException`.
    #[must_use]
    pub fn place(name: &str) -> usize {
        let of_name = |wanted: &str| KINDS.iter().position(|kind| kind.name == wanted);
        let status = ["status:", "refused_", "call_"].iter().find_map(|prefix| {
            let digits = name.strip_prefix(prefix)?.get(..3)?;
            digits.parse::<u16>().ok()
        });
        let known = match status {
            _ if name.contains("ClientLimitExceeded") => of_name("client limit"),
            Some(100..=599) if name.contains("InvalidSignature") => of_name("signature or clock"),
            Some(100..=599) if name.contains("RequestExpired") => of_name("signature or clock"),
            Some(401) => of_name("status 403"),
            Some(status @ 100..=599) => {
                of_name(&format!("status {status}")).or_else(|| of_name("other status"))
            }
            Some(_) | None => None,
        };
        // The longest prefix wins, so that `timeout_close` is not classified as a plain `timeout`.
        let begins = |kind: &Self| {
            let begins = kind.begins.iter().filter(|begin| name.starts_with(**begin));
            begins.map(|begin| begin.len() + 1).max()
        };
        known.unwrap_or_else(|| {
            let places = (0..KINDS.len()).max_by_key(|place| begins(&KINDS[*place]));
            places.unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("refused", "refused"),
            ("connect_refused", "refused"),
            ("status:401", "status 403"),
            ("refused_400_AccessDeniedException", "status 400"),
            ("refused_403_InvalidSignatureException", "signature or clock"),
            ("refused_400_ClientLimitExceededException", "client limit"),
            ("call_404_ResourceNotFoundException", "status 404"),
            ("call_500_Else", "other status"),
            ("status_InvalidArgumentException", "status response"),
            ("timeout_close", "close timeout"),
            ("timeout_answer", "timeout"),
            ("refused_4", "refused"),
            ("status:999", "other"),
            ("tls: invalid peer certificate: UnknownIssuer", "certificate"),
            ("endpoint_not_loopback", "endpoint"),
            ("bad_frame", "protocol"),
            ("closed_by_service", "closed"),
            ("ports_exhausted", "ports"),
            ("", "other"),
            ("of_a_newer_build", "other"),
            ("status:4€", "other"),
        ];
        for (name, kind) in cases {
            assert_eq!(ErrorKind::of(name).name, kind, "{name}");
        }
    }
}
