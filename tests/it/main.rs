//! The tests of the whole package, in one crate so that they are linked once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may do so in the plainest way, and so may its helpers"
)]

mod alerts;
mod api;
mod auth;
mod bad_leads;
mod bounds;
mod break_list;
mod breakers;
mod browser;
mod cli;
mod clocks;
mod cluster;
mod database_trouble;
mod demo;
mod docs;
mod doctor;
mod edges;
mod events;
mod fake_bigin;
mod fake_sanity;
mod guards;
mod house_rules;
mod intake;
mod journey;
mod metrics;
mod observability;
mod openapi;
mod pages;
mod peers;
mod pooler;
mod postgres;
mod process;
mod promises;
mod reads;
mod recovery;
mod security;
mod send;
mod setup;
mod simulator;
mod slow_bigin;
mod status;
mod steering;
mod store_contract;
mod store_model;
mod studio;
mod terminal;
mod trouble;
mod truth;
mod world;
