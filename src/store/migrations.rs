//! The schema, as the steps that led to it. A step that has been released is never changed; a new one is added.

use rusqlite::Connection;

/// The steps for SQLite. `PRAGMA user_version` says how many of them a file has had.
const SQLITE: [&str; 1] = [include_str!("migrations/sqlite-1.sql")];

/// Brings a file to the newest schema, each step in a transaction of its own.
///
/// # Errors
/// What SQLite says; or that the file was written by a newer version, whose schema this one does not know.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), String> {
    let applied: usize = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if applied > SQLITE.len() {
        return Err(format!(
            "it was written by a newer version of bigin-sync (schema {applied}, this one knows {}): start that version, or restore the backup made before the upgrade",
            SQLITE.len()
        ));
    }
    for (number, step) in SQLITE.iter().enumerate().skip(applied) {
        let mut apply = || -> rusqlite::Result<()> {
            let txn = conn.transaction()?;
            txn.execute_batch(step)?;
            txn.pragma_update(None, "user_version", number + 1)?;
            txn.commit()
        };
        apply().map_err(|error| format!("schema step {}: {error}", number + 1))?;
    }
    Ok(())
}
