//! The kind of world that a seed makes: its size, its limits, the weights of its actions (some never happen), and its
//! faults.

use crate::sim::store::{Kind, Verdicts};
use crate::sim::workload::ACTIONS;
use broker_core::settings::{GoAway, Hook, Profile, Proof, Quotas, Rate, Settings};

/// A world's kind.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    pub(crate) dev: bool,
    pub(crate) strict: bool,
    pub(crate) steps: usize,
    pub(crate) channels: usize,
    /// Accounts that these channels belong to, in turn.
    pub(crate) accounts: usize,
    /// Weights of [`ACTIONS`]; 0 for those that this world does not know.
    pub(crate) weights: [u32; ACTIONS.len()],
    /// Of a hundred questions and handovers, how many find a mailbox full.
    pub(crate) refusals: u32,
    /// Of a hundred sends, how many go by the ring and report later.
    pub(crate) launches: u32,
    pub(crate) drains: bool,
    /// Whether it begins with a master and viewers that are connected.
    pub(crate) settled: bool,
    /// Number of client ids that viewers use.
    pub(crate) ids: usize,
    small_outbox: Option<usize>,
    small_shard: Option<usize>,
    small_pending: Option<usize>,
    small_pending_shard: Option<usize>,
    connections: usize,
    viewers: usize,
    master_offers: bool,
    alexa_wait_max_ms: u64,
    /// Alexa calls that may wait on one shard.
    pub(crate) waiting_calls: usize,
    /// Changes under way of one shard's connections for which its log has places.
    pub(crate) audits: usize,
    no_age: bool,
    no_pong: bool,
    go_away: Option<GoAway>,
    /// Whether connects, messages and calls of a channel have rates; and calls of the account.
    rates: bool,
    account_rates: bool,
    /// A seed of these rates, and of what changes nothing that happens.
    rate_seed: u64,
    account_channels: usize,
    store: Kind,
    small_unconfirmed: Option<usize>,
}

impl Plan {
    /// Draws a kind of world.
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Self {
        let one_in = |random: &mut fastrand::Rng, n: u32| random.u32(0..n) == 0;
        let mut weights = [0; ACTIONS.len()];
        for (weight, (usual, may_lack, _)) in weights.iter_mut().zip(ACTIONS) {
            *weight = match random.u32(0..10) {
                0 | 1 if may_lack => 0,
                2 => usual * 3,
                3 => usual.div_ceil(3),
                _ => usual,
            };
        }
        let kib = 1024;
        let some = |random: &mut fastrand::Rng, n, from: usize, to: usize| {
            one_in(random, n).then(|| random.usize(from..to))
        };
        let small_pending = some(random, 3, 2 * kib, 8 * kib);
        let dev = !one_in(random, 3);
        let accounts = accounts(dev, random);
        Self {
            shards: random.usize(1..=4),
            dev,
            accounts,
            strict: one_in(random, 6),
            steps: [random.usize(60..400), random.usize(400..1500)][random.usize(0..2)],
            channels: random.usize(accounts..=accounts + 2),
            weights,
            refusals: if one_in(random, 3) { 25 } else { 0 },
            launches: [0, 30, 80][random.usize(0..3)],
            drains: one_in(random, 3),
            settled: !one_in(random, 3),
            ids: random.usize(1..=5),
            small_outbox: some(random, 2, 8 * kib, 32 * kib),
            small_shard: some(random, 4, kib, 12 * kib),
            small_pending,
            small_pending_shard: some(random, 3, kib, 8 * kib),
            // Accounts that compete meet the bound more often.
            connections: if one_in(random, if accounts > 1 { 2 } else { 4 }) {
                random.usize(3..8)
            } else {
                1000
            },
            viewers: if one_in(random, 3) {
                random.usize(1..4)
            } else {
                10
            },
            master_offers: one_in(random, 4),
            alexa_wait_max_ms: if one_in(random, 4) { 7_000 } else { 0 },
            waiting_calls: some(random, 2, 1, 4).unwrap_or(1000),
            audits: some(random, 4, 1, 4).unwrap_or(1000),
            no_age: one_in(random, 6),
            no_pong: one_in(random, 2),
            go_away: [None, None, Some(GoAway::Always), Some(GoAway::Never)][random.usize(0..4)],
            store: [
                Kind::Immediate,
                Kind::Delayed,
                Kind::Failing,
                Kind::Refusing,
            ][random.usize(0..4)],
            rates: one_in(random, 2),
            account_rates: one_in(random, 4),
            rate_seed: random.u64(..),
            account_channels: if one_in(random, 5) {
                random.usize(1..3)
            } else {
                0
            },
            small_unconfirmed: some(random, 6, 100, 16 * kib),
        }
    }

    /// The configuration of such a world.
    pub(crate) fn settings(&self) -> Settings {
        let profile = if self.strict {
            Profile::Strict
        } else {
            Profile::Default
        };
        let mut settings = Settings::new(profile, self.dev);
        settings.shards = self.shards;
        settings.recorder.notes = self.recorder_notes();
        settings.dev_origins = vec!["http://h".into()]; // as which its clients know it
        settings.signaling.repeat_offers_ms = self.repeat_offers_ms();
        self.set_rates(&mut settings.quotas);
        settings.limits.channels_per_account = self.account_channels;
        // The model knows no recipient that takes less than others: a transcript has that.
        settings.limits.wss_message_bytes = settings.limits.message_bytes;
        if let Some(bytes) = self.account_bytes() {
            settings.limits.record_bytes_per_account = bytes;
        }
        settings.options.master_offers = self.master_offers && !self.strict;
        settings.timeouts.alexa_wait_max_ms = self.alexa_wait_max_ms;
        let limits = &mut settings.limits;
        limits.connections = self.connections * self.shards;
        limits.viewers_per_channel = self.viewers;
        limits.outbox_bytes = self.small_outbox.unwrap_or(limits.outbox_bytes);
        limits.outbox_bytes_per_shard = self.small_shard.unwrap_or(limits.outbox_bytes_per_shard);
        let pending = self
            .small_pending
            .unwrap_or(limits.pending_bytes_per_channel);
        limits.pending_bytes_per_channel = pending.min(limits.outbox_bytes);
        let unconfirmed = self.small_unconfirmed.map(|bytes| bytes * self.shards);
        limits.unconfirmed_bytes_total = unconfirmed.unwrap_or(limits.unconfirmed_bytes_total);
        limits.pending_bytes_per_shard = self
            .small_pending_shard
            .unwrap_or(limits.pending_bytes_per_shard);
        if self.no_age {
            settings.timeouts.connection_age_ms = 0;
        }
        if self.no_pong {
            settings.timeouts.pong_ms = 0;
        }
        if self.proves_by_pong() {
            settings.signaling.proof = Proof::Pong;
        }
        settings.hooks = vec![Hook::bare("all")];
        settings.signaling.go_away = self.go_away.unwrap_or(settings.signaling.go_away);
        settings
    }

    /// Bytes of records that an account may have, where a few channels or tags use them up.
    fn account_bytes(&self) -> Option<usize> {
        let mut random = fastrand::Rng::with_seed(self.rate_seed.rotate_left(7));
        let bytes = random.usize(300..2_500);
        (random.bool() && !self.dev).then_some(bytes)
    }

    /// Whether its clients come through a proxy, so that only a pong confirms.
    fn proves_by_pong(&self) -> bool {
        fastrand::Rng::with_seed(self.rate_seed.rotate_left(29)).u8(0..4) == 0
    }

    /// When a master gets offers once more that a former one had; 0 for never.
    fn repeat_offers_ms(&self) -> u64 {
        let mut random = fastrand::Rng::with_seed(self.rate_seed.rotate_left(37));
        let after = [0, 0, 100, 500, 2_000][random.usize(0..5)];
        if self.strict { 0 } else { after }
    }

    /// Whether a master restarts before it has answered an offer.
    pub(crate) fn restarts(&self) -> bool {
        self.settled && fastrand::Rng::with_seed(self.rate_seed.rotate_left(43)).u8(0..4) == 0
    }

    /// Notes of a shard's flight recorder.
    fn recorder_notes(&self) -> usize {
        let mut random = fastrand::Rng::with_seed(!self.rate_seed);
        [0, 16, 64, 512, 1 << 16][random.usize(0..5)]
    }

    /// The verdicts on changes.
    pub(crate) fn verdicts(&self, seed: u64) -> Verdicts {
        let kind = self.store;
        Verdicts { kind, seed }
    }

    /// Rates so low that a world meets them; some are none at all, and half of the worlds have none, which would hide
    /// what else may happen.
    fn set_rates(&self, quotas: &mut Quotas) {
        let mut random = fastrand::Rng::with_seed(self.rate_seed);
        quotas.off = !self.rates && !self.account_rates;
        let mut draw = |on: bool, most: u32| Rate {
            rate: if on { random.u32(0..most) } else { 0 },
            burst: random.u32(1..most * 3),
        };
        quotas.connect_master = draw(self.rates, 4);
        quotas.connect_viewer = draw(self.rates, 4);
        quotas.sdp = draw(self.rates, 6);
        quotas.ice = draw(self.rates, 20);
        #[rustfmt::skip] // a list
        let cases = [&mut quotas.describe, &mut quotas.alexa, &mut quotas.ice_server_config, &mut quotas.change];
        for rate in cases {
            *rate = draw(self.rates, 3);
        }
        #[rustfmt::skip] // a list
        let cases = [
            &mut quotas.account_create, &mut quotas.account_describe, &mut quotas.account_endpoint,
            &mut quotas.account_list, &mut quotas.account_change, &mut quotas.account_media_storage,
            &mut quotas.account_alexa,
        ];
        for rate in cases {
            *rate = draw(self.account_rates, 3);
        }
    }

    /// Whether a question or handover finds the mailbox full.
    pub(crate) fn refuses(&self, random: &mut fastrand::Rng) -> bool {
        random.u32(0..100) < self.refusals
    }

    /// Draws the next action, by its place in [`ACTIONS`].
    pub(crate) fn next(&self, random: &mut fastrand::Rng) -> usize {
        let mut point = random.u32(0..self.weights.iter().sum());
        let reaches = |weight: &u32| {
            let before = point;
            point = point.saturating_sub(*weight);
            before < *weight
        };
        let place = self.weights.iter().position(reaches);
        place.expect("a point below their sum")
    }
}

/// Callers have one account: channels of others are created as in `--dev`, by their ARNs.
fn accounts(dev: bool, random: &mut fastrand::Rng) -> usize {
    if dev && random.u32(0..2) == 0 {
        random.usize(2..=3)
    } else {
        1
    }
}
