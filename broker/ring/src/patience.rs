//! The retry policy for when the kernel accepts no entries.
//!
//! Two errors are temporary: `EAGAIN` (no memory for a request) and `EBUSY` (overflowed completions have not been
//! served). The entries stay queued and are submitted again. Serving completions helps in both cases, so if there are
//! any, the thread continues immediately. Otherwise it pauses, because immediate retries would keep a whole core busy.
//! If the kernel accepts nothing for [`REFUSED_MAX`], the ring fails permanently, since it can no longer serve any
//! connection. A restart may free the missing resource.

use std::io;
use std::time::{Duration, Instant};

/// When the kernel started to refuse a ring's entries, or `None` while it accepts them.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn renew(&mut self) {
        self.since = None;
    }

    /// Records that the kernel refused entries with `error`. Returns how long to pause before trying again, depending
    /// on whether there are completions to serve. After [`REFUSED_MAX`], fails with a `TimedOut` error whose message
    /// contains `error`.
    pub(crate) fn refused(
        &mut self,
        error: &io::Error,
        has_completions: bool,
        now: Instant,
    ) -> io::Result<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= REFUSED_MAX {
            let span_s = REFUSED_MAX.as_secs();
            let text = format!("io_uring has accepted no entries for {span_s} s: {error}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(if has_completions {
            Duration::ZERO
        } else {
            PAUSE
        })
    }
}

/// How long the kernel may refuse all entries before the ring fails. Equal to the service manager's watchdog timeout.
const REFUSED_MAX: Duration = Duration::from_secs(10);

/// Pause between attempts, which limits them to a thousand system calls per second.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_borne_with_pauses_for_a_bounded_time() {
        let error = io::Error::from_raw_os_error(libc::EAGAIN);
        let start = Instant::now();
        let mut patience = Patience::default();
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            assert_eq!(patience.refused(&error, false, now).unwrap(), PAUSE);
            assert_eq!(patience.refused(&error, true, now).unwrap(), Duration::ZERO);
        }
        let end = patience.refused(&error, true, start + REFUSED_MAX);
        let text = end.unwrap_err().to_string();
        assert!(
            text.starts_with("io_uring has accepted no entries for 10 s: Resource temporarily"),
            "{text}"
        );
        patience.renew();
        assert!(patience.refused(&error, false, start + REFUSED_MAX).is_ok());
    }
}
