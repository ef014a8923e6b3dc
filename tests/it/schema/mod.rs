//! The schema for life: released steps are pinned, a schema that was changed is refused at the start, and a database of every
//! schema is carried forward. `update` beside this file writes what the tests compare with.

use std::path::{Path, PathBuf};

use bigin_sync::store::Migration;

mod databases;
mod made;
mod readings;
pub mod start;
mod story;

/// What to do with the files that the tests compare with.
#[derive(Clone, Copy, PartialEq)]
enum Update {
    /// Compare.
    No,
    /// Write those that there are none of yet.
    Add,
    /// Write all of them.
    Rewrite,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of `update` beside this file, not a setting"
)]
fn update() -> Update {
    match std::env::var("UPDATE_SCHEMA").as_deref() {
        Err(_) => Update::No,
        Ok("add") => Update::Add,
        Ok("rewrite") => Update::Rewrite,
        Ok(other) => panic!("UPDATE_SCHEMA={other}"),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn steps_folder() -> PathBuf {
    root().join("src/store/migrations")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; see tests/it/schema/update", path.display()))
}

/// Compares a file with what it has to be, or writes it.
fn expect_file(path: &Path, text: &str) {
    if update() != Update::No {
        std::fs::write(path, text).unwrap();
    }
    let found = read(path);
    let differs = found.lines().zip(text.lines()).find(|(found, text)| found != text);
    assert!(
        found == text,
        "{} is out of date: {differs:#?}; see tests/it/schema/update",
        path.display()
    );
}

/// The two engines, as files are named for them.
const ENGINES: [&str; 2] = ["postgres", "sqlite"];

/// The SQL of an engine's steps, the first one first.
fn steps(engine: &str) -> Vec<String> {
    let path = |number: &usize| steps_folder().join(format!("{engine}-{number}.sql"));
    let paths = (1..).map(|number| path(&number)).take_while(|path| path.exists());
    paths.map(|path| read(&path)).collect()
}

/// How many steps there are.
pub fn newest() -> usize {
    steps("sqlite").len()
}

/// The steps that there are on PostgreSQL, and a further one.
pub fn postgres_steps_with(step: Migration) -> Vec<Migration> {
    [bigin_sync::store::POSTGRES_STEPS, &[step]].concat()
}
