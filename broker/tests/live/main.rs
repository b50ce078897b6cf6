//! A running broker and clients that share no code with it: sockets, TLS, real client libraries, starts and ends.
//!
//! In reading order:
//! * [`process`] starts `heliograph serve` on free ports of loopback and ends it; [`http`] and [`peer`] talk to it.
//! * [`session`], [`takeover`], [`pending`], [`alexa`], [`api`], [`configured`], [`deletion`]: what must work, each on
//!   one, two and four shards.
//! * [`bad_http`], [`desync`], [`bad_upgrade`], [`bad_frame`], [`bad_message`], [`slow_reader`], [`descriptors`]: bad
//!   input, each beside a healthy pair on the same shard that goes on relaying.
//! * [`attacks`]: floods, hoarders and slow peers beside healthy clients, with memory, descriptors and counts before
//!   and after; for whom the admin listener has answers, and who else may read what a broker keeps.
//! * [`signed`], [`signed_sts`], [`signed_refused`], [`signed_malformed`], [`signed_bounds`], [`signed_slow`],
//!   [`signed_reload`],
//!   [`signed_quotas`]: checked identity;
//!   [`signed_service`] is their broker, [`signed_signer`] signs for them.
//! * [`loopback`]: both loopback addresses of a development server, and listeners on all addresses; [`origins`]: which
//!   pages of browsers may use a broker; [`lan`]: its pages for phones of the local network.
//! * [`tls`], [`reload`]: certificates, and their replacement under way.
//! * [`inspector`], [`events`], [`logs`], [`books`], [`wild_texts`]: what operators see and watch, and that it adds up
//!   under load; what clients name with markup and control characters.
//! * [`dev_clock`], [`dev_environment`], [`dev_faults`], [`dev_messages`], [`dev_parity`], [`dev_reset`]: the pages for
//!   tests.
//! * [`durable`], [`durable_kills`], [`durable_refused`], [`durable_full`], [`durable_slow`]: what outlives the
//!   process, whatever ends it; a registry that is damaged, foreign or in use; a disk without room, slow or failing.
//! * [`backup`]: a copy of a running broker's registry, and starts from it.
//! * [`cluster`]: several nodes as one service; `cluster_etcd`: those whose channels move; `cluster_netns`: on hosts
//!   whose network and etcd fail.
//! * [`idle`]: what shards without work take of memory and processor.
//! * [`memlock`]: started by an ordinary user, under the limits of locked memory that distributions set.
//! * [`start`], [`drain`], [`supervisor`]: exit codes, refusals to start, the end; notifications to a service manager.
//! * [`confined`]: under the seccomp profile of `deploy/`; [`health`]: the health check of its compose file.
//! * [`dashboards`]: rules, alerts, dashboard and runbook of `deploy/`, by [`promtool`] and against a live scrape;
//!   [`promql`] reads their expressions.
//! * [`log_schema`]: lines of the log in JSON, against the schema of `deploy/`.
//! * [`recorded`]: requests of real clients, byte for byte.
//! * [`clients`]: AWS CLI, boto3, the official JavaScript SDK, the helpers for tests of `deploy/testing`, and the
//!   blocks of the pages, run as a reader would; [`client_browser`]: the same SDK in pages of Chromium;
//!   [`client_coturn`]: a TURN server. Ignored unless `deploy/ci/check.sh` installed them.
//!
//! Every broker is its own process with its own data directory, so no test sees another's channels.

/// Makes a test per shard count out of each `fn scenario(broker: &Broker)` named; after each the books must balance.
macro_rules! on_shards {
    ($($scenario:ident),+ $(,)?) => {
        on_shards!(one_shard 1 $($scenario)+);
        on_shards!(two_shards 2 $($scenario)+);
        on_shards!(four_shards 4 $($scenario)+);
    };
    ($count:ident $shards:literal $($scenario:ident)+) => {
        mod $count {
            $(
                #[test]
                fn $scenario() {
                    let broker = crate::process::Broker::dev($shards);
                    super::$scenario(&broker);
                    broker.assert_balanced();
                }
            )+
        }
    };
}

mod alexa;
mod api;
mod attacks;
mod backup;
mod bad_frame;
mod bad_http;
mod bad_message;
mod bad_upgrade;
mod books;
mod cameras;
mod client_browser;
mod client_coturn;
mod clients;
mod cluster;
mod cluster_etcd;
mod cluster_netns;
mod configured;
mod confined;
mod dashboards;
mod deletion;
mod descriptors;
mod desync;
mod dev_clock;
mod dev_environment;
mod dev_faults;
mod dev_messages;
mod dev_parity;
mod dev_reset;
mod drain;
mod durable;
mod durable_full;
mod durable_kills;
mod durable_refused;
mod durable_slow;
mod events;
mod health;
mod http;
mod idle;
mod inspector;
mod lan;
mod log_schema;
mod logs;
mod loopback;
mod memlock;
mod origins;
mod peer;
mod pending;
mod process;
mod promql;
mod promtool;
mod recorded;
mod refusals;
mod reload;
mod remote;
mod session;
mod signed;
mod signed_bounds;
mod signed_malformed;
mod signed_quotas;
mod signed_refused;
mod signed_reload;
mod signed_service;
mod signed_signer;
mod signed_slow;
mod signed_sts;
mod slow_reader;
mod start;
mod supervisor;
mod takeover;
mod tls;
mod trace;
mod try_page;
mod turned_away;
mod watched;
mod watchers;
mod welcome;
mod wild_texts;
