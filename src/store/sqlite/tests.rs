//! Tests of what cannot be seen from outside: how the file is opened, and what is answered where a commit fails.

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::domain::lead::LeadId;
use crate::domain::retry::RetryPolicy;
use crate::domain::sync::SyncId;
use crate::store::writer::Writer;
use crate::store::{Change, Stage, StoreError};

fn open(path: &Path) -> Result<Store, OpenError> {
    let retry = RetryPolicy {
        base_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(1),
        give_up_after: Duration::from_secs(1),
    };
    let settings = StoreSettings {
        lease: Duration::from_secs(60),
        tag_delay: Duration::from_secs(15),
        ambiguity_delay: Duration::from_secs(120),
        retry,
    };
    super::open(
        path,
        Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
        Arc::default(),
        settings,
    )
}

#[test]
fn a_commit_is_on_the_disk_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    File::create(&path).unwrap();
    let conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let number = |name: &str| -> i64 { conn.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
    let journal: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(number("synchronous"), 2, "FULL");
    assert_eq!(number("foreign_keys"), 1);
    assert_eq!(journal, "wal");
}

#[test]
fn a_file_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::InUse(_))));
    drop(first);
    assert!(open(&path).is_ok(), "the lock goes with the store");
}

#[test]
fn refuses_a_second_start_by_another_name() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/test.db");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let [link, folder_link] = ["link.db", "folder"].map(|name| folder.path().join(name));
    // The one leads to a file that is made by the first start.
    symlink(&path, &link).unwrap();
    symlink(folder.path().join("data"), &folder_link).unwrap();
    let depth = std::env::current_dir().unwrap().components().count() - 1;
    let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
    relative.push(path.strip_prefix("/").unwrap());
    let names = [link, path, folder_link.join("test.db"), relative];
    for first in &names {
        let _open = open(first).unwrap();
        for second in &names {
            let refused = open(second);
            assert!(
                matches!(refused, Err(OpenError::InUse(_))),
                "{first:?}, then {second:?}"
            );
        }
    }
}

#[test]
fn a_disk_that_takes_no_more_is_told_from_other_failures() {
    let error = |code: rusqlite::ErrorCode| {
        let failure = rusqlite::ffi::Error { code, extended_code: 0 };
        StoreError::from(&DbError::from(rusqlite::Error::SqliteFailure(failure, None)))
    };
    use rusqlite::ErrorCode::{DatabaseBusy, DiskFull, SystemIoFailure};
    assert!(matches!(error(DiskFull), StoreError::DiskFull(_)));
    assert!(
        matches!(error(SystemIoFailure), StoreError::DiskFull(_)),
        "a limit on the size of files"
    );
    assert!(matches!(error(DatabaseBusy), StoreError::Failed(_)));
}

#[tokio::test]
async fn transaction_that_could_not_begin_is_not_left_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.db");
    let (conn, other) = (Connection::open(&file).unwrap(), Connection::open(&file).unwrap());
    let clock: SharedClock = Arc::new(SystemClock::new());
    let writer = Writer::start(
        engine(conn, &clock),
        clock,
        Listeners::new(Arc::default()),
        Commits::Thread,
    )
    .unwrap();
    // Whether all work is paused cannot be read.
    assert!(writer.write(|_| Ok(())).await.is_err());
    migrations::migrate(Db::Sqlite(&other), migrations::SQLITE).unwrap();
    assert_eq!(writer.write(|_| Ok(())).await, Ok(()));
}

#[tokio::test]
async fn what_could_not_be_committed_is_not_answered_as_done() {
    let conn = Connection::open_in_memory().unwrap();
    migrations::migrate(Db::Sqlite(&conn), migrations::SQLITE).unwrap();
    // A child without a parent is noticed only by the commit, which fails.
    let schema = "PRAGMA foreign_keys = ON;
        CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);";
    conn.execute_batch(schema).unwrap();
    let listeners = Listeners::new(Arc::default());
    let mut watched = listeners.changes.subscribe();
    let metrics = Arc::clone(&listeners.metrics);
    let clock: SharedClock = Arc::new(SystemClock::new());
    let writer = Writer::start(engine(conn, &clock), clock, listeners, Commits::Thread).unwrap();
    let orphan = writer.write(|txn| {
        txn.wake(Stage::Upsert);
        txn.left("requested", Duration::from_secs(1));
        txn.changed(Change {
            sync: SyncId(1),
            lead: LeadId::parse("lead-1").unwrap(),
            state: "requested",
        });
        txn.db.execute("INSERT INTO child VALUES (7)", &[])
    });
    assert!(matches!(orphan.await, Err(StoreError::Failed(_))));
    assert!(watched.try_recv().is_err(), "nor is anybody told");
    let mut told = crate::metrics::Text::default();
    metrics.write(&mut told);
    let told = told.into_string();
    assert!(told.contains("commits_failed_total 1\n"), "{told}");
    for counted in ["requested", "commit_writes_count"] {
        assert!(!told.contains(counted), "nor is it counted as done: {told}");
    }

    let good = writer.write(|txn| txn.db.execute("INSERT INTO parent VALUES (7)", &[]));
    assert_eq!(good.await, Ok(1), "the next write is none the worse");
    let children = writer.write(|txn| {
        txn.db.one("SELECT count(*) AS children FROM child", &[], |row| {
            row.get::<i64>("children")
        })
    });
    assert_eq!(children.await, Ok(0));
}
