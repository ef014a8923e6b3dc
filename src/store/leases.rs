//! What the workers have claimed: a row for each claim, with the ids of its syncs and when its lease expires.
//!
//! An outcome is recorded only while the row of its claim is there. A worker that claims deletes the rows that have expired first, in
//! the same transaction, so that a claim that has expired never wins over one that came after it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, Row, args, corrupt};
use super::rows::Stored;
use super::{Stage, StoreSettings, rows, tags};
use crate::clock::after;
use crate::domain::state::State;
use crate::domain::sync::SyncId;

/// Proof of a claim: changes with every claim, so that a late release of a lost lease changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimToken(pub i64);

/// A row of the table `claim`.
pub(super) struct ClaimRow {
    token: ClaimToken,
    pub(super) stage: Stage,
    pub(super) syncs: Vec<SyncId>,
    pub(super) expires_at: Timestamp,
}

fn claim_row_of(row: &Row<'_>) -> Result<ClaimRow> {
    let label: String = row.get("stage")?;
    let ids: String = row.get("syncs")?;
    let id = |word: &str| word.parse().map(SyncId).map_err(|_| corrupt("syncs", word));
    Ok(ClaimRow {
        token: ClaimToken(row.get("token")?),
        stage: Stage::ALL
            .into_iter()
            .find(|stage| stage.label() == label)
            .ok_or_else(|| corrupt("stage", &label))?,
        syncs: ids.split(' ').map(id).collect::<Result<_>>()?,
        expires_at: row.get("expires_at")?,
    })
}

fn in_words(syncs: &[SyncId]) -> String {
    let words: Vec<String> = syncs.iter().map(SyncId::to_string).collect();
    words.join(" ")
}

/// All of them; few, as a worker has one at most.
fn all(db: Db<'_>) -> Result<Vec<ClaimRow>> {
    db.query("SELECT * FROM claim ORDER BY token", &[], claim_row_of)
}

pub(super) fn insert(
    db: Db<'_>,
    token: ClaimToken,
    stage: Stage,
    syncs: &[SyncId],
    expires_at: Timestamp,
) -> Result<()> {
    let sql = "-- leases::insert()
        INSERT INTO claim (token, stage, syncs, expires_at) VALUES (?1, ?2, ?3, ?4)";
    db.send(sql, args![token.0, stage.label(), &in_words(syncs), expires_at])
}

/// Renews a lease from now on; `false` where it was lost, so that no outcome could be recorded, or is over: then another
/// replica may have had its turn, and have moved a tag.
pub(super) fn renew(db: Db<'_>, token: ClaimToken, now: Timestamp, lasting: Duration) -> Result<bool> {
    let sql = "-- renew()
        UPDATE claim SET expires_at = ?2 WHERE token = ?1 AND expires_at > ?3";
    Ok(db.execute(sql, args![token.0, after(now, lasting), now])? > 0)
}

/// The row of a claim; `None` where it was lost.
pub(super) fn find(db: Db<'_>, token: ClaimToken) -> Result<Option<ClaimRow>> {
    let sql = "-- leases::find()
        SELECT * FROM claim WHERE token = ?1";
    db.first(sql, args![token.0], claim_row_of)
}

/// Gives back some of the syncs of a claim, which mostly are all.
pub(super) fn give_back(db: Db<'_>, lease: ClaimRow, syncs: &BTreeSet<SyncId>) -> Result<()> {
    let mut kept = lease.syncs;
    kept.retain(|id| !syncs.contains(id));
    if kept.is_empty() {
        db.send("DELETE FROM claim WHERE token = ?1", args![lease.token.0])
    } else {
        let sql = "-- give_back()
            UPDATE claim SET syncs = ?2 WHERE token = ?1";
        db.send(sql, args![lease.token.0, &in_words(&kept)])
    }
}

/// Deletes what has expired of these stages, and returns all claims that have not. An upsert that expires unrecorded was cut off while it was sent, or its outcome
/// could not be stored. Which contacts it has changed is not known, so on PostgreSQL, where no replica has moved the tags
/// yet, every tag waits its delay again.
pub(super) fn expire(db: Db<'_>, stages: &[Stage], now: Timestamp, settings: &StoreSettings) -> Result<Vec<ClaimRow>> {
    let (valid, expired): (Vec<_>, Vec<_>) = all(db)?.into_iter().partition(|lease| lease.expires_at > now);
    let mut lost = Vec::new();
    for lease in expired.into_iter().filter(|lease| stages.contains(&lease.stage)) {
        db.send("DELETE FROM claim WHERE token = ?1", args![lease.token.0])?;
        if lease.stage == Stage::Upsert {
            let until = after(lease.expires_at, settings.ambiguity_delay);
            lost.extend(lease.syncs.into_iter().map(|id| (id, until)));
        }
    }
    if lost.is_empty() {
        return Ok(valid);
    }
    // One of them may be what the process died of: they come back in smaller batches.
    let bisect_limit = u32::try_from((lost.len() / 2).max(1)).ok();
    for (id, until) in lost {
        let Some(mut stored) = rows::find(db, id)? else {
            continue;
        };
        let Stored { sync, link, .. } = &mut stored;
        if matches!(sync.state, State::Requested { .. }) {
            // The insert may still be applied.
            link.expect_insert(sync, until);
            sync.bisect_limit = bisect_limit;
            rows::save(db, &stored, now)?;
        }
    }
    if matches!(db, Db::Postgres(_)) {
        tags::move_all(db, after(now, settings.tag_delay))?;
    }
    Ok(valid)
}

/// Takes over what the process before has left. Its leases expire at once, except those of upserts and tags: such a call may
/// still be in flight, so these leads are neither sent nor cancelled before their lease expires. Which contacts the upserts may
/// have changed is not known, so every tag waits its delay again. Its locks are released.
pub(super) fn take_over(db: Db<'_>, now: Timestamp, settings: &StoreSettings) -> Result<()> {
    if all(db)?.iter().any(|lease| lease.stage == Stage::Upsert) {
        tags::move_all(db, after(now, settings.tag_delay))?;
    }
    expire(db, &Stage::ALL, now, settings)?;
    db.send("DELETE FROM claim WHERE stage = ?1", args![Stage::WriteBack.label()])?;
    db.send("DELETE FROM lock", &[])
}
