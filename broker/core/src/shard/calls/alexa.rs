//! Alexa calls on their channel's shard: offered to the master, answered, expired, withdrawn. See codec/PROTOCOL.md,
//! ALEXA.
//!
//! In the books a call is one SDP_OFFER: received when its letter is taken in; in the pending gauge until some master's
//! outbox has it; delivered when that master got it. Giving it again to the next master counts nothing.

mod ends;

use crate::check::Check;
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, SessionKey};
use crate::limits::WAITING_CALLS_PER_CHANNEL_MAX;
use crate::session::NEVER;
use crate::session::outbox::Launch;
use crate::shard::books::Books;
use crate::shard::calls::refusals::too_busy;
use crate::shard::directory::Directory;
use crate::shard::directory::waits::{Call, Room};
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault};
use crate::time::Moment;
use codec::control::ErrorKind;
use codec::signal::Action;

const OFFER: Kind = Kind::Known(Action::SdpOffer);

/// Sends the current master the waiting offers that it has not got, oldest first: those accepted before `before`.
pub(crate) fn give_offers(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    before: u64,
) {
    let Some((master, calls)) = directory.give_calls(key, before) else {
        return;
    };
    if sockets.web_socket(master).is_none() {
        return;
    }
    for call in calls {
        let launch = Launch {
            action: Action::SdpOffer,
            expires: NEVER,
            order: call.order,
            sender_bytes: u16::try_from(call.sender.len()).unwrap_or(u16::MAX),
            call: true,
            counted: !call.delivered,
            accepted_us: None,
        };
        let Some(pushed) = sockets.push_kept(master, launch, &call.frame) else {
            return;
        };
        if call.delivered {
            books.count_copy_queued(pushed);
        } else {
            books.count_unkept();
            books.count_queued(pushed);
        }
    }
    sockets.touch(master);
}

/// The offer of a call that arrives.
pub(crate) struct Offer<'a> {
    pub(crate) caller: CallRef,
    /// Its channel.
    pub(crate) channel: ChannelKey,
    /// The id that the master answers to.
    pub(crate) sender: &'a str,
    /// The offer itself, base64.
    pub(crate) payload: &'a str,
}

impl Directory {
    /// A call arrives at its channel. Only when it is certain that it fits, an older one of the same sender is answered
    /// with nothing, or one of an account or channel with more than its share makes room.
    pub(crate) fn take_offer(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        offer: &Offer<'_>,
        at: Moment,
    ) {
        let &Offer {
            caller,
            channel: key,
            sender,
            payload,
        } = offer;
        match self.room_for_offer(caller, key, sender) {
            Err(refused) => return todo.answer(caller, refused),
            Ok(Some(other)) => self.end_for_another(books, todo, other),
            Ok(None) => drop(self.end_call(books, todo, key, sender, None)),
        }
        if !self.add_call(caller, key, (sender, payload), at) {
            return;
        }
        books.count_received(OFFER);
        books.count_call_waiting();
        books.count_kept(1);
        if caller.shard != self.shard() {
            todo.push(Todo::OfferTaken(caller));
        }
        todo.push(Todo::GiveOffers(key));
        todo.push(Todo::Arm(key));
    }

    /// Whether a call fits, and in place of which one of somebody else. In place of an older one of its sender it
    /// always does.
    fn room_for_offer(
        &self,
        caller: CallRef,
        key: ChannelKey,
        sender: &str,
    ) -> Result<Option<Call>, Answer> {
        if !self.has_call_place(caller) {
            return Err(too_busy().into());
        }
        let Some(channel) = self.channel(key) else {
            return Ok(None);
        };
        let calls = channel.live().map(|live| &live.calls);
        if calls.is_some_and(|calls| calls.of(sender).is_some()) {
            return Ok(None);
        }
        if calls.is_some_and(|calls| calls.len() >= WAITING_CALLS_PER_CHANNEL_MAX) {
            return Err(over_limit(CHANNEL_FULL));
        }
        match self.room_for_call(channel.record.arn.account(), key) {
            Room::Free => Ok(None),
            Room::InPlaceOf(other) => Ok(Some(other)),
            Room::None => Err(over_limit(SHARD_FULL)),
        }
    }

    /// The last bytes of offers of this channel were handed over to `master`.
    pub(crate) fn offers_delivered(
        &mut self,
        todo: &mut TodoList,
        key: ChannelKey,
        master: SessionKey,
        orders: &[u64],
    ) {
        let sent = |order: &&u64| self.offer_was_sent(key, master, **order);
        if orders.iter().filter(sent).count() > 0 {
            todo.push(Todo::GiveOffers(key));
        }
    }

    /// An offer came back from the outbox of `master`. While its call waits it is for the next one.
    pub(crate) fn offer_came_back(
        &mut self,
        books: &mut Books,
        key: ChannelKey,
        master: SessionKey,
        launch: &Launch,
    ) {
        let waits = self.offer_returned(key, master, launch.order);
        if launch.counted && waits {
            books.count_kept(1);
        } else if launch.counted {
            books.count_ended(OFFER, Outcome::Withdrawn);
        }
    }
}

fn over_limit(message: &'static str) -> Answer {
    let kind = ErrorKind::ClientLimitExceeded;
    Fault::new(Check::AlexaCallsFull, kind, message).into()
}

const CHANNEL_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for this channel. Try again later.";
const SHARD_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for channels of this account. Try again later.";
