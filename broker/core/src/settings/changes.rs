//! Changes to the configuration file while the process runs. SIGHUP applies some of them, and the rest need a restart.

use crate::settings::{CLIENTS_MAX, HOOKS_MAX, KEYS, Key, Settings};

/// When a change to a configuration key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The change takes effect after a restart.
    AtStart,
    /// The change takes effect after a SIGHUP.
    OnSighup,
    /// The change takes effect without a signal, because the key's table is reloaded whenever the file changes.
    WhenChanged,
}

/// The paths of the keys that differ between two configurations. Entries in `[[hook]]` and `[clients]` are listed by
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingChanges {
    /// Keys that SIGHUP applies.
    pub applied: Vec<String>,
    /// Keys that require a restart.
    pub restart: Vec<String>,
}

impl SettingChanges {
    /// Returns `true` if no key differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.restart.is_empty()
    }

    fn note(&mut self, path: String, is_applied: bool) {
        match is_applied {
            true => self.applied.push(path),
            false => self.restart.push(path),
        }
    }
}

impl Key {
    /// Returns when a change to this key takes effect. Keys not listed here require a restart.
    #[must_use]
    pub fn applied(&self) -> Applied {
        match (self.table(), self.path) {
            // Each request passes the rates to its buckets.
            ("quotas", _) => Applied::OnSighup,
            ("admin.oidc", _) => Applied::WhenChanged,
            (_, "log_level") => Applied::OnSighup,
            // Connections keep the message limits that applied when they were admitted.
            (_, "limits.payload_bytes" | "limits.message_bytes" | "limits.wss_message_bytes") => {
                Applied::OnSighup
            }
            (_, _) => Applied::AtStart,
        }
    }
}

impl Settings {
    /// Applies a changed configuration file. Returns these settings with the new value of every key that a running
    /// process can change, and the keys that differ.
    ///
    /// If the profile differs, nothing is applied, because the profile changes the meaning of the numbers.
    #[must_use]
    pub fn updated(&self, file: &Self) -> (Self, SettingChanges) {
        let (mut next, mut changes) = (self.clone(), SettingChanges::default());
        let can_apply = self.profile == file.profile;
        for key in KEYS.iter().filter(|key| self.differs(key, file)) {
            match key.applied() {
                Applied::WhenChanged if self.admin.oidc.is_some() => {}
                Applied::OnSighup if can_apply && key.copy(file, &mut next).is_ok() => {
                    changes.note(key.path.into(), true);
                }
                Applied::AtStart | Applied::OnSighup | Applied::WhenChanged => {
                    changes.note(key.path.into(), false);
                }
            }
        }
        if self.ice != file.ice {
            changes.note("ice".into(), can_apply);
            if can_apply {
                next.ice.clone_from(&file.ice);
            }
        }
        next.ice_files.clone_from(&file.ice_files);
        let clients = NamedEntries {
            table: "clients",
            own: &mut next.clients,
            file: &file.clients,
            name: |row| &row.name,
            most: CLIENTS_MAX,
        };
        clients.update(can_apply, &mut changes);
        let hooks = NamedEntries {
            table: "hook",
            own: &mut next.hooks,
            file: &file.hooks,
            name: |hook| &hook.name,
            most: HOOKS_MAX,
        };
        // Only a restart can add the first hook.
        hooks.update(can_apply && !self.hooks.is_empty(), &mut changes);
        (next, changes)
    }

    /// Returns `true` if the message limits, for shards and for client programs, are the same as in `other`.
    #[must_use]
    pub fn bounds_messages_as(&self, other: &Self) -> bool {
        let of = |settings: &Self| {
            let limits = &settings.limits;
            [
                limits.payload_bytes,
                limits.message_bytes,
                limits.wss_message_bytes,
            ]
        };
        of(self) == of(other) && self.clients == other.clients
    }

    /// Returns `true` if `file` has a different value for this key. Ignores a temporary data directory, whose name
    /// changes on every start.
    fn differs(&self, key: &Key, file: &Self) -> bool {
        let both_end = self.data_dir_ends && file.data_dir_ends;
        key.differs(self, file) && !(key.path == "data_dir" && both_end)
    }
}

/// Named entries that the running process refers to by index. The indexes must not change, so a removed entry is kept
/// until a restart.
struct NamedEntries<'l, T> {
    table: &'static str,
    own: &'l mut Vec<T>,
    file: &'l [T],
    name: fn(&T) -> &str,
    most: usize,
}

impl<T: Clone + PartialEq> NamedEntries<'_, T> {
    fn update(self, can_apply: bool, changes: &mut SettingChanges) {
        let path = |entry: &T| format!("{}.{}", self.table, (self.name)(entry));
        let is_same = |one: &T, other: &T| (self.name)(one) == (self.name)(other);
        let gone = self
            .own
            .iter()
            .filter(|own| !self.file.iter().any(|other| is_same(own, other)));
        let gone: Vec<_> = gone.map(path).collect();
        for entry in self.file {
            let places = self.own.len();
            match self.own.iter_mut().find(|own| is_same(own, entry)) {
                Some(own) if own == entry => {}
                Some(own) if can_apply => {
                    changes.note(path(entry), true);
                    own.clone_from(entry);
                }
                None if can_apply && places < self.most => {
                    changes.note(path(entry), true);
                    self.own.push(entry.clone());
                }
                Some(_) | None => changes.note(path(entry), false),
            }
        }
        for path in gone {
            changes.note(path, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Client, Ice, IceCredential, Kind};

    /// Returns settings in which only this key has another value. The value is a bound of the key's range or one of the
    /// candidates below. If none of them is valid for a key, another candidate must be added here.
    fn changed(key: &Key) -> Settings {
        let texts = "1 7 false true none epoll strict json debug always pong eu-west-1 210987654321 127.0.0.9:9 \
                     http://127.0.0.9:9 https://a.example wss://a.example a.example 10.0.0.0/8 n9 openid \
                     https://10.0.0.9:2379 refuse";
        let texts: Vec<String> = match &key.kind {
            Kind::Number(_, range) => vec![range.start().to_string(), range.end().to_string()],
            Kind::Duration(_, range) => {
                let whole_seconds = range.end() / 1_000;
                vec![
                    format!("{}ms", range.start().max(&1)),
                    format!("{whole_seconds}s"),
                ]
            }
            Kind::Switch(_) | Kind::Rate(_) | Kind::Text { .. } | Kind::List { .. } => {
                texts.split(' ').map(str::to_owned).collect()
            }
            Kind::Path { .. } | Kind::Paths { .. } | Kind::Cpus { .. } => vec!["7".into()],
        };
        let from = Settings::default();
        let put = |text: &String| {
            let mut settings = from.clone();
            let is_put = key.put(&mut settings, &[text]).is_ok();
            (is_put && key.differs(&from, &settings)).then_some(settings)
        };
        let found = texts.iter().find_map(put);
        found.unwrap_or_else(|| panic!("{}: name another value for it here", key.path))
    }

    /// A key that is changed is either applied as declared or listed as requiring a restart. None is ignored.
    #[test]
    fn a_change_of_any_key_is_applied_or_needs_a_restart() {
        let running = Settings::default();
        for key in KEYS {
            let file = changed(key);
            let (next, changes) = running.updated(&file);
            let named = vec![key.path.to_owned()];
            let (applied, restart) = match key.applied() {
                Applied::OnSighup => (named, vec![]),
                // A table that was absent at startup is never read again.
                Applied::AtStart | Applied::WhenChanged => (vec![], named),
            };
            assert_eq!(changes, SettingChanges { applied, restart }, "{}", key.path);
            let is_applied = key.applied() == Applied::OnSighup;
            assert_eq!(!key.differs(&file, &next), is_applied, "{}", key.path);
            assert_eq!(key.differs(&running, &next), is_applied, "{}", key.path);
            assert!(next.updated(&next).1.is_empty());
            if key.applied() == Applied::WhenChanged {
                let (_, changes) = file.updated(&with_other_claim(&file));
                assert!(changes.is_empty(), "{}: {changes:?}", key.path);
            }
        }
    }

    fn with_other_claim(settings: &Settings) -> Settings {
        let mut other = settings.clone();
        if let Some(oidc) = &mut other.admin.oidc {
            oidc.claim = "groups".into();
        }
        other
    }

    /// The keys that SIGHUP applies, as listed at the top of `deploy/broker.toml`.
    #[test]
    fn these_keys_are_applied_on_sighup() {
        let applied = KEYS.iter().filter(|key| key.applied() == Applied::OnSighup);
        let names = applied.map(|key| match key.table() {
            "quotas" => "quotas",
            _ => key.path,
        });
        let mut names: Vec<_> = names.collect();
        names.dedup();
        #[rustfmt::skip] // a list
        let expected = [
            "log_level", "limits.payload_bytes", "limits.message_bytes", "limits.wss_message_bytes", "quotas",
        ];
        assert_eq!(names, expected);
        let unset = |key: &&Key| matches!(&key.kind, Kind::Text { get, .. } if get(&Settings::default()).is_none());
        let on_sighup = KEYS.iter().filter(|key| key.applied() == Applied::OnSighup);
        let found = on_sighup.filter(unset).count();
        assert_eq!(found, 0, "what is unset cannot be copied");
    }

    fn hook(name: &str, url: &str) -> crate::settings::Hook {
        crate::settings::Hook {
            url: url.into(),
            ..crate::settings::Hook::bare(name)
        }
    }

    #[test]
    fn lists_of_tables_keep_their_places_and_what_is_gone_waits() {
        let running = Settings {
            hooks: vec![hook("one", "a"), hook("two", "a")],
            ..Settings::default()
        };
        let mut file = running.clone();
        file.hooks = vec![hook("three", "a"), hook("two", "b")];
        file.clients.insert(0, Client::new("mine", "Mine/*"));
        file.clients.retain(|row| row.name != "android");
        file.clients[1].go_away = true;
        file.ice = vec![Ice {
            urls: vec!["stun:stun.example".into()],
            credential: IceCredential::None,
            ttl_seconds: 300,
        }];
        let (next, changes) = running.updated(&file);
        let names = |settings: &Settings| {
            let hooks = settings
                .hooks
                .iter()
                .map(|hook| format!("{}{}", hook.name, hook.url));
            hooks
                .chain(settings.clients.iter().map(|row| row.name.clone()))
                .collect::<Vec<_>>()
        };
        #[rustfmt::skip] // a list
        let expected = [
            "onea", "twob", "threea", "c-sdk", "linux-reference", "esp32", "android", "mine",
        ];
        assert_eq!(names(&next), expected);
        #[rustfmt::skip] // a list
        let wanted = [
            "ice", "clients.mine", "clients.c-sdk", "hook.three", "hook.two",
        ];
        assert_eq!(changes.applied, wanted);
        assert_eq!(changes.restart, ["clients.android", "hook.one"]);
        assert_eq!(next.ice, file.ice);
        // Changes that are pending remain pending when the update is repeated.
        let (same, changes) = next.updated(&file);
        assert_eq!(same, next);
        assert_eq!((changes.applied.len(), changes.restart.len()), (0, 2));
        // The first hook requires a restart, which also starts the thread that delivers events.
        let (_, changes) = Settings::default().updated(&running);
        assert_eq!(changes.restart, ["hook.one", "hook.two"]);
    }

    #[test]
    fn under_another_profile_all_waits() {
        let running = Settings::default();
        let file = Settings::new(crate::settings::Profile::Strict, false);
        let (next, changes) = running.updated(&file);
        assert_eq!(next, running);
        assert!(changes.applied.is_empty());
        for path in ["profile", "limits.payload_bytes", "quotas.account_create"] {
            assert!(changes.restart.iter().any(|named| named == path), "{path}");
        }
    }
}
