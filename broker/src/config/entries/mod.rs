//! Lists of tables, which have no defaults: an entry of `[[hook]]`, an entry of `[[ice]]`.

pub(super) mod hooks;
pub(super) mod ice;
