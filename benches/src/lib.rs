//! Benchmarks: each module on a message's path compared with libraries that do the same work, and the whole broker
//! compared with other relays (see [`relay`] and [`compare`]).
//!
//! ```text
//! cargo bench -p benches --bench relay            # the broker and its rivals, end to end: see benches/relay.rs
//! cargo bench -p benches --bench frame            # one module
//! cargo bench -p benches --bench frame -- decode  # one module, one operation
//! cargo test -p benches --benches                 # each once, its answers verified: what CI runs
//! cargo run -p benches --bin record               # the figures of the last run of the modules as CSV
//! ```
//! Groups are `<module>/<operation>/<case>`, with the libraries side by side in each:
//! `frame/decode/ice-200B/heliograph`, `frame/decode/ice-200B/tungstenite`. Beside each time are messages and bytes
//! per second.
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
//! Rules that make figures comparable:
//! * **Answers first.** Each adaptor's answer is compared with the expected one before anything is timed.
//! * **The same bytes, the same checks.** A rival that leaves a check to its caller gets it added in the adaptor
//!   ([`rival::judge`](crate::rival::judge)). What changes its input in place starts from a fresh copy each time, and
//!   then everybody does.
//! * **Best settings.** Buffers are used again where the library allows it, the allocator is the broker's
//!   ([mimalloc](https://docs.rs/mimalloc)) for all, and each adaptor says which settings it found best.
//! * **CPU time of the thread**, not the clock on the wall ([`harness::ThreadTime`](crate::harness::ThreadTime)):
//!   neighbours on a shared machine then disturb only through the caches.
//! * The profile is `bench` of the workspace: thin LTO. The shipped binaries are built with fat LTO.
//!
//! Absent: fastwebsockets, whose frames come and go through tokio's traits alone. Recorded runs are in
//! `benches/record/`, each with its machine beside it. Compare ratios within one run only.

pub mod compare;
pub mod fixture;
pub mod harness;
pub mod relay;
pub mod rival;

/// Allocator of the broker. Rivals that allocate per message benefit from it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
