//! A running broker and clients that share no code with it: sockets, TLS, real client libraries, starts and ends.
//!
//! In reading order:
//! * [`process`] starts `heliograph serve` on free ports of loopback and ends it; [`http`] and [`peer`] talk to it.
//! * [`service`]: what must work.
//! * [`bad`]: bad input, each beside a healthy pair on the same shard that goes on relaying.
//! * [`attacks`]: floods, hoarders and slow peers beside healthy clients, with memory, descriptors and counts before
//!   and after; for whom the admin listener has answers, and who else may read what a broker keeps.
//! * [`signed`]: checked identity.
//! * [`sign_ins`]: refused sign-ins as operators see them.
//! * [`things`]: devices that sign in with certificates; [`accounts`]: people who use the console with accounts.
//! * [`listeners`]: addresses and certificates; [`pages`]: pages for browsers, and which others may use a broker.
//! * [`operator`]: what operators see and watch; [`deploy`]: the files of `deploy/` that they use.
//! * [`hooks`]: events of channels for receivers, and calls for masters that sleep.
//! * [`dev`]: the pages for tests.
//! * [`durable`]: what outlives the process, whatever ends it; a registry that is damaged, foreign or in use; a disk
//!   without room, slow or failing; copies of a registry.
//! * [`lifecycle`]: starts, ends, notifications to a service manager, and resources of an idle process.
//! * [`cluster`]: several nodes as one service; `cluster_etcd`: those whose channels move;
//!   [`cluster_commands`]: what operators ask of etcd; `cluster_netns`: on hosts
//!   whose network and etcd fail.
//! * [`delivery_netns`]: what is written and not confirmed, on hosts whose links are cut without a word.
//! * [`golden`]: texts and names that users and scripts see, against files.
//! * [`clients`]: AWS CLI, boto3, the official JavaScript SDK, the helpers for tests of `deploy/testing`, and the
//!   blocks of the pages, run as a reader would; [`client_browser`]: the same SDK in pages of Chromium;
//!   [`client_coturn`]: a TURN server. Ignored unless `deploy/ci/check.sh` installed them.
//!
//! Every broker is its own process with its own data directory, so no test sees another's channels. Scenarios that need
//! no more than a broker without channels share one (`on_shards!`).

/// Makes tests of the scenarios named, each a `fn scenario(broker: &Broker)`: one on two shards, and two that are
/// ignored on one shard and on four, for `deploy/ci/check.sh --all`. All share a broker, one after the other.
macro_rules! on_shards {
    ($($scenario:ident),+ $(,)?) => {
        on_shards!(two_shards 2 #[cfg(test)] $($scenario)+);
        on_shards!(one_shard 1 #[ignore = "the long check all-shard-counts runs it"] $($scenario)+);
        on_shards!(four_shards 4 #[ignore = "the long check all-shard-counts runs it"] $($scenario)+);
    };
    ($count:ident $shards:literal #[$when:meta] $($scenario:ident)+) => {
        mod $count {
            #[test]
            #[$when]
            fn scenarios() {
                let all = [$((stringify!($scenario), super::$scenario as crate::process::Scenario)),+];
                crate::process::on_one_broker($shards, &all);
            }
        }
    };
}

/// The same with a broker for each: what it has counted or numbered since its start is a part of them.
macro_rules! each_on_shards {
    ($($scenario:ident),+ $(,)?) => {
        $(
            mod $scenario {
                use super::$scenario;
                on_shards!($scenario);
            }
        )+
    };
}

mod accounts;
mod attacks;
mod bad;
mod client_browser;
mod client_coturn;
mod clients;
mod cluster;
mod cluster_commands;
mod cluster_etcd;
mod cluster_netns;
mod delivery_netns;
mod deploy;
mod dev;
mod durable;
mod golden;
mod hooks;
mod http;
mod lifecycle;
mod listeners;
mod operator;
mod pages;
mod peer;
mod process;
mod proxies;
mod service;
mod sign_ins;
mod signed;
mod things;
