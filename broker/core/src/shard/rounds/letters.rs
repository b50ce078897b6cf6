//! A letter of another shard, or of the side thread: what it changes, and what it leaves.

use crate::shard::Shard;
use crate::shard::calls::letter::Letter;
use crate::shard::calls::wake;
use crate::shard::end::drain;
use crate::shard::todo::Todo;
use crate::time::Moment;

impl Shard {
    pub(crate) fn take_in(&mut self, letter: Letter, at: Moment) {
        let (sockets, directory, books, gate, todo) = self.parts();
        match letter {
            Letter::Query(caller, query) => todo.push(Todo::Query(caller, query)),
            Letter::Answer(from, caller, answer) => {
                sockets.heard_from(from, caller);
                todo.push(Todo::Answer(caller, answer));
            }
            Letter::CallTaken(from, caller) => {
                sockets.heard_from(from, caller);
                sockets.offer_taken(from, caller);
            }
            Letter::CallAnswer(from, caller, answer) => {
                sockets.offer_answered(todo, from, caller, answer);
            }
            Letter::CallWithdrawn(caller) => directory.withdraw_offer(books, todo, caller),
            Letter::CallOver(caller) => directory.free_call_place(caller),
            Letter::Committed(key, result) => directory.committed(books, todo, key, result, at),
            Letter::Slots => {
                if let Some(slots) = directory.slots_mut() {
                    slots.orders_came();
                }
            }
            Letter::Credentials(credentials) => {
                let asks_again = sockets.settings().auth_recheck;
                if gate.replace_credentials(credentials, asks_again, at.now) {
                    directory.forget_account_rates();
                    wake::rules_changed(sockets, directory.polls().sessions(), at);
                }
            }
            Letter::Keyring(keyring) => gate.replace_keyring(keyring),
            Letter::Drain(within_ms) => drain::begin_drain(sockets, books, todo, within_ms, at),
        }
    }
}
