//! The rules: states of a sync, decisions before each stage, retries and circuit breakers, mapping, alerts. Pure: no I/O, no
//! async, and `now` is an argument.

pub mod alert;
pub mod batch_size;
pub mod breaker;
pub mod conversation;
pub mod datetime;
pub mod decide;
pub mod failure;
pub mod lead;
pub mod lead_link;
pub mod mapping;
pub mod phone;
pub mod problem;
pub mod record;
pub mod reject_reason;
pub mod retry;
pub mod state;
pub mod sync;
pub mod text;

#[cfg(test)]
mod tests;
