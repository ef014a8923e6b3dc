//! The tests of the whole package, in one crate so that they are linked once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may do so in the plainest way, and so may its helpers"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a long table of cases is easier to read than two short ones"
)]

mod access_tokens;
mod alerts;
mod ambiguous_inserts;
mod api;
mod bad_leads;
mod bisection;
mod break_list;
mod breakers;
mod cli;
mod cluster;
mod connections;
mod contact_matching;
mod dashboard;
mod docs;
mod drafts;
mod edits_during_sync;
mod fake_bigin;
mod fake_sanity;
mod field_metadata;
mod house_rules;
mod late_read;
mod lead_reads;
mod leases;
mod metrics;
mod observability;
mod operator;
mod peers;
mod pooler;
mod postgres;
mod privacy;
mod process;
mod reconciliation;
mod recovery;
mod replicas;
mod retention;
mod schema;
mod settings;
mod simulator;
mod slow_bigin;
mod store_contract;
mod store_model;
mod studio;
mod sync;
mod tag;
mod tag_delay;
mod terminal;
mod upsert;
mod webhook_intake;
mod world;
mod write_back;
