//! Lists of tables, which have no defaults: an entry of `[[hook]]`, an entry of `[[ice]]`.

pub(crate) mod hooks;
pub(crate) mod ice;
