//! Processes messages that need extra checks. These are messages that may be late and, with `--dev`, all messages,
//! because faults, findings and copies for tests may apply to them. All other steps are the same as in [`road::pass`].

use crate::shard::dev::{message_faults, observations};
use crate::shard::road::{self, Aside, delivery};
use crate::shard::sockets::outboxes::Frames;
use crate::shard::state::State;
use codec::ws::Item;

/// Processes one frame like [`road::pass`], but also checks whether the message is late, and runs the `--dev`
/// interposer.
///
/// # Errors
/// Fails like [`road::pass`].
#[cold]
#[inline(never)]
pub(crate) fn pass(shard: &mut State, frame: Item<'_>, reader: &mut Frames) -> Result<(), Aside> {
    let (from, may_be_late) = (reader.from, reader.may_be_late);
    let text = road::text(&mut shard.sockets, &mut shard.cx, frame, reader)?;
    let rules = &shard.sockets.message_bounds().at(reader.bounds).messages;
    let request = match reader.parser.parse(text, reader.role, rules) {
        Ok(request) => request,
        Err(fault) => {
            observations::copy_refused(shard, from, None);
            return Err(road::refuse(shard, from, &fault));
        }
    };
    let (sender, within_rate) = delivery::admit(&mut shard.sockets, &mut shard.cx, from, &request)?;
    if !within_rate {
        observations::copy_refused(shard, from, Some(&request));
        return Err(delivery::throttle(shard, &sender, &request));
    }
    if may_be_late && let Some(outcome) = delivery::late_outcome(shard, &sender) {
        delivery::end_late(&mut shard.cx, &sender, &request, outcome);
        return Err(Aside::Handled);
    }
    let (route, transit, waited) =
        delivery::route(&mut shard.directory, &mut shard.cx, &sender, &request)?;
    if !message_faults::on_message(shard, &transit, route) {
        delivery::hand_on(shard, route, &transit);
    }
    delivery::follow(&mut shard.cx, sender.channel, waited);
    Ok(())
}
