//! The status of a single etcd member, as reported by that member.
//!
//! Before version 3.6, a member exposes its quota only in its metrics, which it serves over HTTP/1 on the client port.

use crate::config::Options;
use crate::limits::{CALL, METRICS_BYTES_MAX};
use crate::operator::{ConnectError, answer};
use crate::rpc::connection::Lines;
use httpdate::parse_http_date;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;

/// A configured etcd member.
#[derive(Clone, Debug)]
pub struct EtcdMember {
    /// URL of the member.
    pub endpoint: Box<str>,
    /// Status of the member, or the reason why it is unavailable.
    pub status: Result<MemberStatus, Box<str>>,
}

/// The status of an etcd member, as reported by that member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Version, such as `3.5.13`.
    pub version: Box<str>,
    /// Id of the etcd cluster to which the member belongs.
    pub etcd: u64,
    /// Whether this member is the leader.
    pub leads: bool,
    /// Whether the member knows of a leader.
    pub has_leader: bool,
    /// Size of the database, in bytes.
    pub size: u64,
    /// Bytes of the database that are in use.
    pub used: u64,
    /// Quota of the database in bytes, if the member reports it.
    pub quota: Option<u64>,
    /// The member's active alarms, for example about an exceeded quota.
    pub alarms: Vec<Box<str>>,
    /// How far the member's clock is ahead of this machine's, in seconds. Accurate to about a second. `None` unless the
    /// member's metrics were queried.
    pub ahead_s: Option<i64>,
}

pub(crate) async fn status(options: Arc<Options>, member: usize) -> EtcdMember {
    let endpoint = options.endpoints.get(member).cloned().unwrap_or_default();
    EtcdMember {
        status: ask(&options, member, &endpoint).await,
        endpoint,
    }
}

async fn ask(
    options: &Options,
    member: usize,
    endpoint: &str,
) -> Result<MemberStatus, ConnectError> {
    let lines = crate::rpc::connection::connect(options, member).await?;
    let mut told = told(&lines).await?;
    let answer = answer_with_metrics(options, endpoint).await;
    let answer = answer.as_deref();
    told.quota = told.quota.or_else(|| quota_in(answer?));
    told.ahead_s = answer.and_then(|answer| ahead_s(answer, SystemTime::now()));
    Ok(told)
}

/// Queries a member over an open connection. The response contains no quota if the member's version is below 3.6.
pub(crate) async fn told(lines: &Lines) -> Result<MemberStatus, ConnectError> {
    let status = answer(lines.status()).await?;
    let header = status.header.unwrap_or_default();
    let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(MemberStatus {
        version: status.version.into(),
        etcd: header.cluster_id,
        leads: status.leader == header.member_id,
        has_leader: status.leader != 0,
        size: bytes(status.db_size),
        used: bytes(status.db_size_in_use),
        quota: Some(bytes(status.db_size_quota)).filter(|said| *said > 0),
        alarms: status.errors.into_iter().map(Into::into).collect(),
        ahead_s: None,
    })
}

/// Reads the quota from a member's metrics. Returns `None` if it is absent or cannot be queried.
pub(crate) async fn quota(options: &Options, endpoint: &str) -> Option<u64> {
    quota_in(&answer_with_metrics(options, endpoint).await?)
}

async fn answer_with_metrics(options: &Options, endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    timeout(CALL, metrics(options, &uri)).await.ok()?.ok()
}

fn quota_in(answer: &str) -> Option<u64> {
    let mut lines = answer.lines();
    lines.find_map(|line| number(line.strip_prefix("etcd_server_quota_backend_bytes ")?))
}

/// Returns how many seconds the member's clock is ahead of `now`, according to the `Date` header of a response that has
/// just been received.
fn ahead_s(answer: &str, now: SystemTime) -> Option<i64> {
    let mut head = answer.lines().take_while(|line| !line.is_empty());
    let date = head.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim())
    })?;
    let seconds = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    Some(seconds(parse_http_date(date).ok()?)? - seconds(now)?)
}

/// Parses an integer in the format of metrics, such as `8.589934592e+09`.
fn number(text: &str) -> Option<u64> {
    let value: f64 = text.trim().parse().ok()?;
    let fits = (1.0..=9e15).contains(&value) && value.fract() == 0.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and in the range"
    )]
    fits.then_some(value as u64)
}

async fn metrics(options: &Options, uri: &Uri) -> io::Result<String> {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect((bare.as_str(), uri.port_u16().unwrap_or(2379))).await?;
    // An HTTP/1.0 response ends when the connection is closed.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    match (uri.scheme_str(), &options.in_force().await.tls) {
        (Some("https"), Some(tls)) => {
            let mut config = (**tls).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(bare).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::new(config));
            fetch(connector.connect(name, stream).await?, &request).await
        }
        (_, _) => fetch(stream, &request).await,
    }
}

async fn fetch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream
        .take(METRICS_BYTES_MAX)
        .read_to_end(&mut answer)
        .await;
    // Peers may close a TLS connection without close_notify.
    if let Err(error) = read
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        return Err(error);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_members_clock_is_in_the_head_of_its_answers() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_050);
        let answer = "HTTP/1.0 200 OK\r\ndate: Fri, 02 Jan 2026 03:04:05 GMT\r\n\r\nDate: x";
        assert_eq!(ahead_s(answer, now), Some(-5));
        assert_eq!(
            ahead_s(
                "HTTP/1.0 200 OK\r\n\r\ndate: Fri, 02 Jan 2026 03:04:05 GMT",
                now
            ),
            None
        );
    }

    #[test]
    fn quotas_are_whole_numbers() {
        assert_eq!(number("8.589934592e+09"), Some(8_589_934_592));
        assert_eq!(number("2.147483648e+09 "), Some(2_147_483_648));
        for text in ["", "x", "-1", "0", "NaN", "+Inf", "1.5", "1e300"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
