//! Waits for conditions, with a time limit.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit of [`until`]. Long enough for a broker to start even on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Pause between two polls: short compared with the events that tests wait for, and long compared with the cost of a
/// poll.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Returns the factor by which operations may be slower than on a quiet machine. `deploy/ci/check.sh` sets it.
#[must_use]
pub fn slow() -> u32 {
    let said = std::env::var("HELIOGRAPH_TESTS_SLOW").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(1).max(1)
}

/// Polls `ask` until it returns a result. Panics if that takes longer than [`WITHIN`].
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(WITHIN, what, ask)
}

/// Polls until the condition is true. Panics if that takes longer than [`WITHIN`].
pub fn until_true(what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || is_so().then_some(()));
}

/// Like [`until`], but with the time limit `limit`, which is multiplied by [`slow`].
pub fn until_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let limit = limit * slow();
    let begun = Instant::now();
    loop {
        // The last poll starts after the limit has passed. A result counts even if the machine was suspended in
        // between.
        let is_last = begun.elapsed() > limit;
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!is_last, "{what} does not come within {limit:?}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits for a process to exit. If it does not exit within the limit, kills it and returns `None`.
pub fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        let is_last = begun.elapsed() > limit;
        if let Some(status) = child.try_wait().expect("the process can be asked") {
            return Some(status);
        }
        if is_last {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::{ended_within, until, until_within};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn an_answer_ends_the_wait() {
        let mut looks = 0;
        let answer = until("the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(answer, 3);
    }

    #[test]
    #[should_panic(expected = "a miracle does not come within")]
    fn a_wait_has_an_end() {
        until_within(Duration::from_millis(1), "a miracle", || None::<()>);
    }

    #[test]
    fn a_process_that_does_not_end_is_killed() {
        let start = |seconds: &str| Command::new("sleep").arg(seconds).spawn().unwrap();
        let ended = ended_within(&mut start("0"), Duration::from_secs(20));
        assert!(ended.is_some_and(|status| status.success()));
        let mut endless = start("1000");
        assert_eq!(ended_within(&mut endless, Duration::from_millis(1)), None);
        let status = endless.try_wait().unwrap();
        assert!(status.is_some_and(|status| !status.success()));
    }
}
