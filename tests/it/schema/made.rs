//! What follows from the steps alone: their hashes, and the schema that they make.

use bigin_sync::database::Database;
use bigin_sync::store::inspect;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use super::{ENGINES, Update, expect_file, read, steps, steps_folder, update};
use crate::cluster::{self, Cluster};

/// `store::migrations::tests` compares the hashes with the steps.
#[test]
fn every_step_is_pinned_once() {
    let path = steps_folder().join("steps.sha256");
    let pinned = if path.exists() { read(&path) } else { String::new() };
    let mut pins = String::new();
    for engine in ENGINES {
        for (number, step) in (1..).zip(steps(engine)) {
            let name = format!("{engine}-{number}.sql");
            let kept = pinned.lines().find(|pin| pin.ends_with(&format!("  {name}")));
            let pin = match (kept, update()) {
                (Some(kept), Update::No | Update::Add) => kept.to_owned(),
                _ => format!("{}  {name}", hash(&step)),
            };
            pins += &format!("{pin}\n");
        }
    }
    expect_file(&path, &pins);
}

#[test]
fn sqlite_steps_make_the_expected_schema() {
    let folder = tempfile::tempdir().unwrap();
    let made = inspect::made_schema(&Database::Sqlite(folder.path().join("empty.db"))).unwrap();
    expect_file(&steps_folder().join("sqlite-schema.txt"), &made);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_steps_make_the_expected_schema() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let made = inspect::made_schema(&Database::parse(&SecretString::from(url)).unwrap()).unwrap();
    expect_file(&steps_folder().join("postgres-schema.txt"), &(head() + &made));
}

/// Without PostgreSQL it would not show that this file was forgotten.
#[test]
fn postgres_schema_is_of_these_steps() {
    if update() == Update::No {
        let schema = read(&steps_folder().join("postgres-schema.txt"));
        assert!(schema.starts_with(&head()), "see tests/it/schema/update");
    }
}

/// The first line of the schema that the steps make on PostgreSQL.
fn head() -> String {
    format!(
        "# made by steps with this SHA-256 {}\n",
        hash(&steps("postgres").concat())
    )
}

fn hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
