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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_leads_to_the_newest_schema_and_none_is_taken_twice() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        conn.execute("INSERT INTO counter (name, value) VALUES ('sent', 1)", [])
            .unwrap();
        migrate(&mut conn).unwrap();
        let version: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        let kept: u64 = conn
            .query_row("SELECT value FROM counter", [], |row| row.get(0))
            .unwrap();
        assert_eq!((version, kept), (SQLITE.len(), 1));
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(&mut conn).unwrap_err();
        assert!(
            refused.contains("newer version") && refused.contains("schema 99"),
            "{refused}"
        );
        let version: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }
}
