//! Benchmarks. Each module on the path of a message is compared with libraries that do the same work, and the whole
//! broker is compared with other relays (see [`relay`] and [`compare`]).
//!
//! ```text
//! cargo bench -p benches --bench relay            # the broker and its rivals, end to end: see benches/relay.rs
//! cargo bench -p benches --bench frame            # one module
//! cargo bench -p benches --bench frame -- decode  # one module, one operation
//! cargo test -p benches --benches                 # each once, its answers verified: what CI runs
//! cargo run -p benches --bin record               # the figures of the last run of the modules as CSV
//! ```
//! Groups are named `<module>/<operation>/<case>` and contain one entry per library, for example
//! `frame/decode/ice-200B/heliograph` and `frame/decode/ice-200B/tungstenite`. Criterion also reports messages and
//! bytes per second for each.
//!
//! | bench | what is timed | beside |
//! |---|---|---|
//! | `frame` | bytes of a read → messages; payload → frame | tungstenite |
//! | `message` | text → checked request | serde_json, simd-json |
//! | `head` | bytes → head; bytes → 101 | httparse, tungstenite |
//! | `presigned` | a signed URL or call → who signed it | SHA-256 and HMAC alone, of two libraries |
//! | `policy` | a policy and a request → allowed, denied, no match; text → policy | – |
//! | `token` | a grant ⇄ its session token; an upgrade with one → who signed it; a token of an OpenID provider | – |
//! | `work` | a unit of each kind of a shard's work, as its turns count it | the other kinds |
//! | `shard` | bytes in → the recipient's outbox → sent; head → 101 | tungstenite with serde_json and a hash map |
//!
//! The following rules keep the figures comparable:
//! * **Correct results first.** Before anything is timed, the result of each adaptor is compared with the expected
//!   result.
//! * **The same bytes and the same checks.** If a library leaves a check to its caller, the adaptor adds the check
//!   ([`rival::judge`](crate::rival::judge)). If a library modifies its input in place, every library starts each time
//!   from a fresh copy of the input.
//! * **Best settings.** Buffers are reused where the library allows it. All libraries use the broker's allocator
//!   ([mimalloc](https://docs.rs/mimalloc)). Each adaptor documents the settings that were fastest.
//! * **CPU time of the thread** instead of wall-clock time ([`harness::ThreadTime`](crate::harness::ThreadTime)). On a
//!   shared machine, other processes then affect the figures only through the caches.
//! * The profile is the workspace's `bench` profile, which uses thin LTO. The shipped binaries are built with fat LTO.
//!
//! fastwebsockets is not measured per module, because its frames are accessible only through tokio's I/O traits.
//! Recorded runs are in `benches/record/`, each with a description of its machine. Compare ratios only within one run.

pub mod compare;
pub mod fixture;
pub mod harness;
pub mod relay;
pub mod rival;

/// The broker's allocator. Rivals that allocate memory for each message benefit from it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
