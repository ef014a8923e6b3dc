//! What a sync is and what follows from what. Pure: no I/O, no async, and `now` is an argument.

pub mod failure;
pub mod lead;
pub mod record;
