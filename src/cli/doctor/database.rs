//! Whether syncs can be stored: the database exists, is writable, has free space, and a schema that this version supports.

use std::time::Duration;

use jiff::Timestamp;

use super::Installation;
use super::clock::difference;
use super::finding::{Check, Finding, Group};
use super::token_cache::blocking;
use crate::database::Database;
use crate::store::inspect::{self, Condition};

const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// Free bytes: below this, a day with many leads may fill the disk.
const WARNING_THRESHOLD: u64 = 1_000_000_000;
/// Free bytes: below this, the disk may be full at any moment.
const FAILED_THRESHOLD: u64 = 100_000_000;

pub(super) async fn check(installation: &Installation) -> Vec<Finding> {
    let check = Check(Group::Database, "database");
    if let Some(skipped) = installation.skipped(check, &["DATABASE_URL"]) {
        return vec![skipped];
    }
    let database = installation.settings.database.clone();
    match blocking(move || inspect::condition(&database)).await {
        Ok(condition) => judge(&installation.settings.database, &condition, installation.now()),
        Err(error) => vec![check.failed(
            format!("{} cannot be used: {error}", installation.settings.database),
            "webhooks cannot be stored",
            match installation.settings.database {
                Database::Sqlite(_) => {
                    "check that the folder exists, and that it and the file belong to the user that runs the service"
                }
                Database::Postgres(_) => "check DATABASE_URL, and that the server is running and accepts this user",
            },
        )],
    }
}

fn judge(database: &Database, condition: &Condition, now: Timestamp) -> Vec<Finding> {
    let check = Check(Group::Database, "write");
    let write = match &condition.write {
        None => check.skipped(
            "a service is using it",
            "`bigin-sync status --ready` checks that service",
        ),
        Some(Ok(())) if !condition.exists => check.ok("its folder is writable"),
        Some(Ok(())) => check.ok("a write was committed to disk"),
        Some(Err(error)) => check.failed(
            format!("it is not writable: {error}"),
            "webhooks are rejected, because they cannot be stored",
            "check that the disk is neither full nor read-only, and who owns the folder and the file",
        ),
    };
    let mut findings = vec![schema(database, condition), write];
    if let Some(fault) = &condition.not_durable {
        findings.push(Check(Group::Database, "durability").failed(
            fault,
            "an accepted webhook is lost if the power fails",
            "set fsync = on in the server's configuration, and restart the server",
        ));
    }
    findings.extend(condition.free.map(space));
    findings.extend(condition.clock.map(|theirs| clock(now, theirs)));
    findings
}

/// The service takes all times from the server's clock, also `lastSyncedAt`.
fn clock(ours: Timestamp, theirs: Timestamp) -> Finding {
    let check = Check(Group::Database, "clock");
    let (difference, what) = difference(theirs, ours);
    if difference <= CLOCK_TOLERANCE {
        return check.ok("the server's clock agrees with this machine's");
    }
    check.warning(
        format!("the server's clock is {what} this machine's"),
        "the service uses the server's clock: lastSyncedAt may be wrong, and a correction moves waiting tags and retries",
        "set the wrong clock from a time server; pause the service before, and wait until nothing is in progress",
    )
}

fn schema(database: &Database, condition: &Condition) -> Finding {
    let check = Check(Group::Database, "schema");
    let (applied, known) = condition.schema;
    if applied > known {
        return check.failed(
            format!("{database} was written by a newer version (schema {applied}, this version supports {known})"),
            "this version does not start with it",
            "start the newer version, or restore the backup from before the upgrade",
        );
    }
    if let Some(fault) = &condition.schema_fault {
        return check.failed(
            format!("{database}: {fault}"),
            "no service starts with it, and one that is running may reject webhooks",
            inspect::SCHEMA_REMEDY,
        );
    }
    check.ok(match (condition.exists, condition.in_use) {
        (false, _) => format!("{database} will be created at the first start"),
        (true, true) => format!("{database} is in use by a service, schema {applied}"),
        (true, false) if applied < known => {
            format!("{database} has schema {applied}, which the next start upgrades to {known}")
        }
        (true, false) => format!("{database}, schema {applied}"),
    })
}

fn space(free: u64) -> Finding {
    let check = Check(Group::Database, "space");
    let what = match free {
        ..WARNING_THRESHOLD => format!("{} MB free", free / 1_000_000),
        _ => format!("{} GB free", free / 1_000_000_000),
    };
    let why = "no webhook is stored when the disk is full, and Sanity retries for a minute only";
    let todo = "free disk space, or move the database to a larger disk";
    match free {
        ..FAILED_THRESHOLD => check.failed(what, why, todo),
        FAILED_THRESHOLD..WARNING_THRESHOLD => check.warning(what, why, todo),
        WARNING_THRESHOLD.. => check.ok(what),
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
            schema_fault: None,
            write: Some(Ok(())),
            not_durable: None,
            free: Some(WARNING_THRESHOLD),
            clock: None,
        };
        change(&mut condition);
        let now = Timestamp::UNIX_EPOCH;
        let found = judge(&Database::Sqlite(PathBuf::from("a.db")), &condition, now);
        let bad = found.iter().filter(|finding| finding.outcome != Outcome::Ok);
        bad.map(|finding| (finding.check, finding.outcome)).collect()
    }

    #[test]
    fn fails_if_webhooks_could_not_be_stored() {
        assert_eq!(outcomes(|_| {}), []);
        assert_eq!(outcomes(|condition| condition.exists = false), []);
        assert_eq!(outcomes(|condition| condition.schema = (0, 1)), []);
        assert_eq!(
            outcomes(|condition| condition.schema = (2, 1)),
            [("schema", Outcome::Failed)]
        );
        let changed = |condition: &mut Condition| condition.schema_fault = Some("it was changed".to_owned());
        assert_eq!(outcomes(changed), [("schema", Outcome::Failed)]);
        assert_eq!(
            outcomes(|condition| condition.write = None),
            [("write", Outcome::Skipped)]
        );
        let full = |condition: &mut Condition| condition.write = Some(Err("no space left on device".to_owned()));
        assert_eq!(outcomes(full), [("write", Outcome::Failed)]);
        let lossy = |condition: &mut Condition| condition.not_durable = Some("fsync = off".to_owned());
        assert_eq!(outcomes(lossy), [("durability", Outcome::Failed)]);
        assert_eq!(
            outcomes(|condition| condition.free = Some(WARNING_THRESHOLD - 1)),
            [("space", Outcome::Warning)]
        );
        let apart = |seconds| move |condition: &mut Condition| condition.clock = Timestamp::from_second(seconds).ok();
        assert_eq!(outcomes(apart(5)), []);
        assert_eq!(outcomes(apart(6)), [("clock", Outcome::Warning)]);
        assert_eq!(outcomes(apart(-6)), [("clock", Outcome::Warning)]);
        assert_eq!(
            outcomes(|condition| condition.free = Some(FAILED_THRESHOLD - 1)),
            [("space", Outcome::Failed)]
        );
    }
}
