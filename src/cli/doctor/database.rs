//! Whether syncs can be kept: the database is there, can be written, has room, and has the schema that this version knows.

use std::time::Duration;

use jiff::Timestamp;

use super::Patient;
use super::finding::{Finding, Group};
use super::token_cache::waiting;
use crate::clock::until;
use crate::database::Database;
use crate::store::inspect::{self, Condition};

/// Within which a difference of clocks is nobody's affair.
const CLOCK_WITHIN: Duration = Duration::from_secs(5);

/// Below which a day of busy leads may fill the disk.
const SCARCE: u64 = 1_000_000_000;
/// Below which it may be full any moment.
const NONE_LEFT: u64 = 100_000_000;

pub(super) async fn look(patient: &Patient) -> Vec<Finding> {
    if let Some(blocked) = patient.blocked(Group::Database, "database", &["DATABASE_URL"]) {
        return vec![blocked];
    }
    let database = patient.settings.database.clone();
    match waiting(move || inspect::condition(&database)).await {
        Ok(condition) => judge(&patient.settings.database, &condition, patient.now()),
        Err(error) => vec![Finding::failed(
            Group::Database,
            "database",
            format!("{} cannot be used: {error}", patient.settings.database),
            "without it no webhook is taken",
            match patient.settings.database {
                Database::Sqlite(_) => {
                    "see that the folder is there, and that it and the file belong to the user that runs the service"
                }
                Database::Postgres(_) => {
                    "see that DATABASE_URL is right, and that the server runs and lets this user in"
                }
            },
        )],
    }
}

fn judge(database: &Database, condition: &Condition, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![presence(database, condition)];
    findings.push(match &condition.write {
        None => Finding::skipped(
            Group::Database,
            "write",
            "not tried, since a service runs on it",
            "`bigin-sync status --ready` asks that service",
        ),
        Some(Ok(())) if !condition.exists => Finding::ok(
            Group::Database,
            "write",
            "its folder takes files, and puts them to disk",
        ),
        Some(Ok(())) => Finding::ok(Group::Database, "write", "a write was committed to disk"),
        Some(Err(error)) => Finding::failed(
            Group::Database,
            "write",
            format!("it cannot be written: {error}"),
            "no webhook is taken that cannot be stored",
            "see that the disk is neither full nor read-only, and whose the folder and the file are",
        ),
    });
    if let Some(fault) = &condition.not_durable {
        findings.push(Finding::failed(
            Group::Database,
            "durability",
            fault,
            "a webhook that was taken is lost where the power fails",
            "set fsync = on in the server's configuration, and start it again",
        ));
    }
    findings.extend(condition.free.map(space));
    findings.extend(condition.clock.map(|theirs| clock(now, theirs)));
    findings
}

/// Every time that the service waits for is by the server's clock; that of `lastSyncedAt` too.
fn clock(ours: Timestamp, theirs: Timestamp) -> Finding {
    let (apart, word) = match theirs < ours {
        true => (until(theirs, ours), "behind"),
        false => (until(ours, theirs), "ahead of"),
    };
    if apart <= CLOCK_WITHIN {
        return Finding::ok(Group::Database, "clock", "the server's agrees with this machine's");
    }
    Finding::warning(
        Group::Database,
        "clock",
        format!("the server's is {} s {word} this machine's", apart.as_secs()),
        "the service goes by the server's clock: lastSyncedAt is wrong by as much, and setting it moves tags and retries that wait",
        "find out which of the two is wrong and have a time server set it; pause the work before, and wait until nothing is in progress",
    )
}

fn presence(database: &Database, condition: &Condition) -> Finding {
    let (applied, known) = condition.schema;
    if applied > known {
        return Finding::failed(
            Group::Database,
            "schema",
            format!("{database} was written by a newer version (schema {applied}, this one knows {known})"),
            "this version does not start on it",
            "start the newer version, or restore the backup made before the upgrade",
        );
    }
    let text = match (condition.exists, condition.in_use) {
        (false, _) => format!("{database} is made by the first start"),
        (true, true) => format!("{database} is in use by a service, schema {applied}"),
        (true, false) if applied < known => {
            format!("{database} has schema {applied}, and is brought to {known} by the next start")
        }
        (true, false) => format!("{database}, schema {applied}"),
    };
    Finding::ok(Group::Database, "schema", text)
}

fn space(free: u64) -> Finding {
    let what = format!("{} MB are free", free / 1_000_000);
    let why = "where the disk is full no webhook is taken; Sanity tries again for a minute only";
    let todo = "make room, or move the database to a larger disk";
    match free {
        ..NONE_LEFT => Finding::failed(Group::Database, "space", what, why, todo),
        NONE_LEFT..SCARCE => Finding::warning(Group::Database, "space", what, why, todo),
        SCARCE.. => Finding::ok(Group::Database, "space", what),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::finding::Outcome;
    use super::*;

    fn outcomes(change: impl FnOnce(&mut Condition)) -> Vec<(&'static str, Outcome)> {
        let mut condition = Condition {
            exists: true,
            in_use: false,
            schema: (1, 1),
            write: Some(Ok(())),
            not_durable: None,
            free: Some(SCARCE),
            clock: None,
        };
        change(&mut condition);
        let now = Timestamp::UNIX_EPOCH;
        let found = judge(&Database::Sqlite(PathBuf::from("a.db")), &condition, now);
        let bad = found.iter().filter(|finding| finding.outcome != Outcome::Ok);
        bad.map(|finding| (finding.check, finding.outcome)).collect()
    }

    #[test]
    fn a_database_is_judged_by_what_would_keep_webhooks_from_being_stored() {
        assert_eq!(outcomes(|_| {}), []);
        assert_eq!(outcomes(|condition| condition.exists = false), []);
        assert_eq!(outcomes(|condition| condition.schema = (0, 1)), []);
        assert_eq!(
            outcomes(|condition| condition.schema = (2, 1)),
            [("schema", Outcome::Failed)]
        );
        assert_eq!(
            outcomes(|condition| condition.write = None),
            [("write", Outcome::Skipped)]
        );
        let full = |condition: &mut Condition| condition.write = Some(Err("no space left on device".to_owned()));
        assert_eq!(outcomes(full), [("write", Outcome::Failed)]);
        let lossy = |condition: &mut Condition| condition.not_durable = Some("fsync = off".to_owned());
        assert_eq!(outcomes(lossy), [("durability", Outcome::Failed)]);
        assert_eq!(
            outcomes(|condition| condition.free = Some(SCARCE - 1)),
            [("space", Outcome::Warning)]
        );
        let apart = |seconds| move |condition: &mut Condition| condition.clock = Timestamp::from_second(seconds).ok();
        assert_eq!(outcomes(apart(5)), []);
        assert_eq!(outcomes(apart(6)), [("clock", Outcome::Warning)]);
        assert_eq!(outcomes(apart(-6)), [("clock", Outcome::Warning)]);
        assert_eq!(
            outcomes(|condition| condition.free = Some(NONE_LEFT - 1)),
            [("space", Outcome::Failed)]
        );
    }
}
