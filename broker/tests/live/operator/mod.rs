//! The views of operators: channels, events, logs and refusals.
//!
//! * [`inspector`], [`trace`]: channels and connections, the story of a session.
//! * [`events`], [`watched`], [`watchers`]: pages that watch, their bounds, and what they cost clients.
//! * [`forgets`]: what is remembered of somebody, erased.
//! * [`history`]: figures, marks and archives that outlive a process.
//! * [`problems`]: what is wrong, by cause; [`night`]: the same over a restart; [`presence`]: who is there, read and
//!   followed; [`screens`]: commands on a terminal.
//! * [`logs`], [`refusals`], [`turned_away`]: lines by their schema, and every refusal found again.
//! * [`wild_texts`]: what clients name with markup and control characters.

pub(crate) mod events;
mod forgets;
mod history;
mod inspector;
mod logs;
pub(crate) mod night;
mod presence;
mod problems;
mod refusals;
mod screens;
mod trace;
mod turned_away;
mod watched;
mod watchers;
mod wild_texts;
