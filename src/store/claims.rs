//! Which syncs a worker gets: what is due, as far as the breakers of the stage's services let it.
//!
//! Two kinds travel apart. Fresh syncs fill a batch. Suspects, which were in a batch call that ended ambiguously, travel with
//! suspects of the same limit only, so that bisection isolates the poison item while fresh syncs go on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::db::{Arg, Db, Result, args};
use super::writer::Txn;
use super::{Answer, Stage, Store, StoreSettings, counters, kv, rows, tags, turns};
use crate::clock::after;
use crate::domain::breaker::{Breaker, FRESH_PROBE_INTERVAL, Open};
use crate::domain::failure::Remote;
use crate::domain::lead_link::LeadLink;
use crate::domain::sync::SyncJob;
use crate::random;

/// Proof of a claim: changes with every claim, so that a late release of a lost lease changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimToken(pub i64);

/// A sync that this worker, and no other, works on until it records an outcome or the lease runs out.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The sync as it was when claimed.
    pub sync: SyncJob,
    /// Proof of the claim.
    pub token: ClaimToken,
    /// What is remembered of the lead.
    pub link: LeadLink,
}

/// What a claim brought.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The claimed syncs, longest due first; empty where nothing is due or the breaker of a remote service they need is open.
    pub syncs: Vec<Claimed>,
    /// Where nothing was claimed: when it is worth claiming again, if nothing wakes the worker before.
    pub next_due: Option<Timestamp>,
    /// The breakers of the stage's services as the claim found them.
    pub breakers: BTreeMap<Remote, Breaker>,
    /// The services whose breakers let this claim pass as their probe.
    pub probed: Vec<Remote>,
    /// How many records of the stage its service had accepted by then.
    pub accepted: i64,
}

/// Which syncs a claim takes where both kinds are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// Those that are no suspects.
    Fresh,
    /// Suspects of one limit, and of that limit at most: see [`SyncJob::bisect_limit`].
    Suspects,
}

impl Store {
    /// Claims up to `limit` due syncs of a stage, all of them suspects of one limit or none; one only where a breaker asks
    /// for a probe.
    pub async fn claim(&self, stage: Stage, limit: usize, prefer: Prefer) -> Answer<Claim> {
        let settings = self.settings;
        // By chance, since no replica knows the others' claims.
        let token = ClaimToken(i64::from_le_bytes(random::bytes()));
        self.writer
            .write(move |txn| claim(txn, stage, (limit, prefer), &settings, token))
            .await
    }

    /// Renews the lease of a claim of so many syncs, from now on; `false` where that of one of them was lost or is over.
    pub async fn renew(&self, token: ClaimToken, syncs: usize) -> Answer<bool> {
        let lasting = self.settings.lease;
        self.writer.write(move |txn| renew(txn, token, syncs, lasting)).await
    }
}

/// What the breakers of a stage allow at a moment.
struct BreakerCheck {
    limit: usize,
    kinds: Vec<Kind>,
    paused_until: Option<Timestamp>,
    breakers: BTreeMap<Remote, Breaker>,
    probed: Vec<Remote>,
}

/// Which of the due syncs will do.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Those that have never failed in their present round.
    Unfailed,
    /// All but suspects.
    Fresh,
    /// Suspects, with the limit of the one that has been due longest.
    Suspects,
    /// All.
    Any,
}

impl Kind {
    fn condition(self) -> &'static str {
        match self {
            Self::Unfailed => "AND bisect_limit IS NULL AND attempts = 0",
            Self::Fresh => "AND bisect_limit IS NULL",
            Self::Suspects => "AND bisect_limit = ?5",
            Self::Any => "",
        }
    }
}

pub(super) fn claim(
    txn: &mut Txn<'_>,
    stage: Stage,
    (limit, prefer): (usize, Prefer),
    settings: &StoreSettings,
    token: ClaimToken,
) -> Result<Claim> {
    if stage != Stage::WriteBack {
        turns::expire_upserts(txn.db, txn.now, settings)?;
    }
    if kv::paused_since(txn.db)?.is_some() {
        return Ok(nothing(None, BTreeMap::new()));
    }
    if let Some(until) = turns::others(txn, stage)? {
        return Ok(nothing(Some(until), BTreeMap::new()));
    }
    let check = check_breakers(txn, stage, (limit, prefer), settings.lease)?;
    if check.paused_until.is_some() {
        return Ok(nothing(check.paused_until, check.breakers));
    }
    let mut syncs = Vec::new();
    for kind in &check.kinds {
        syncs = claim_kind(txn, stage, *kind, check.limit, settings.lease, token)?;
        if !syncs.is_empty() {
            turns::taken(txn, stage)?;
            break;
        }
    }
    let next_due = if syncs.is_empty() {
        next_due(txn, stage, Kind::Any)?
    } else {
        None
    };
    Ok(Claim {
        accepted: counters::accepted(txn.db, stage)?,
        syncs,
        next_due,
        breakers: check.breakers,
        probed: check.probed,
    })
}

fn nothing(next_due: Option<Timestamp>, breakers: BTreeMap<Remote, Breaker>) -> Claim {
    Claim {
        syncs: Vec::new(),
        next_due,
        breakers,
        probed: Vec::new(),
        accepted: 0,
    }
}

fn claim_kind(
    txn: &Txn<'_>,
    stage: Stage,
    kind: Kind,
    limit: usize,
    lasting: Duration,
    token: ClaimToken,
) -> Result<Vec<Claimed>> {
    let until = after(txn.now, lasting);
    let mut args: Vec<Arg<'_>> = vec![token.0.into(), until.into(), txn.now.into(), limit.into()];
    if kind == Kind::Suspects {
        let Some(bisect_limit) = longest_due_suspect(txn, stage)? else {
            return Ok(Vec::new());
        };
        args[3] = Arg::from(limit.min(usize::try_from(bisect_limit).unwrap_or(1)));
        args.push(bisect_limit.into());
    }
    let mut syncs = txn.db.query(&claim_sql(stage, kind), &args, rows::sync_of)?;
    // RETURNING promises no order.
    syncs.sort_by_key(|sync| (sync.next_attempt_at, sync.id));
    let with_memory = |sync: SyncJob| {
        Ok(Claimed {
            link: rows::link(txn.db, &sync.lead)?,
            sync,
            token,
        })
    };
    syncs.into_iter().map(with_memory).collect()
}

/// Each state by itself, so that the index gives the longest due first and a long queue is not sorted.
fn claim_sql(stage: Stage, kind: Kind) -> String {
    format!(
        "-- claim()
        UPDATE sync SET claim_token = ?1, claim_expires_at = ?2
        WHERE id IN (SELECT id FROM ({}) AS due ORDER BY next_attempt_at, id LIMIT ?4)
        RETURNING *",
        due_sql(stage, "id, next_attempt_at", kind.condition(), "?3", "?4")
    )
}

/// The columns of the `limit` syncs of each of the stage's states that have been due longest and are not claimed.
fn due_sql(stage: Stage, columns: &str, condition: &str, now: &str, limit: &str) -> String {
    let due = |state: &&str| {
        format!(
            "SELECT * FROM (SELECT {columns} FROM sync
                WHERE finished_at IS NULL AND state = '{state}' AND next_attempt_at <= {now} AND (claim_token IS NULL OR claim_expires_at <= {now}) {condition}
                ORDER BY next_attempt_at, id LIMIT {limit}) AS due"
        )
    };
    let due: Vec<String> = stage.states().iter().map(due).collect();
    due.join(" UNION ALL ")
}

fn longest_due_suspect(txn: &Txn<'_>, stage: Stage) -> Result<Option<u32>> {
    let condition = "AND bisect_limit IS NOT NULL";
    let sql = format!(
        "-- longest_due_suspect()
        SELECT bisect_limit FROM ({}) AS due ORDER BY next_attempt_at, id LIMIT 1",
        due_sql(stage, "id, next_attempt_at, bisect_limit", condition, "?1", "1")
    );
    txn.db.first(&sql, args![txn.now], |row| row.get("bisect_limit"))
}

/// While a breaker is open nothing is claimed; once its pause is over, one sync is, as a probe, and the breaker is left
/// open for as long as the probe's lease, so that no other worker probes meanwhile. Where only syncs that
/// had failed opened it, a sync that has not failed may probe before.
///
/// A sync that has failed may be what the service chokes on, so it probes only where no other can: neither of its stage
/// nor of the other stage that needs the same services, which is left the probe then.
fn check_breakers(
    txn: &Txn<'_>,
    stage: Stage,
    (limit, prefer): (usize, Prefer),
    lease: Duration,
) -> Result<BreakerCheck> {
    let mut check = BreakerCheck {
        limit,
        kinds: match prefer {
            Prefer::Fresh => vec![Kind::Fresh, Kind::Suspects],
            Prefer::Suspects => vec![Kind::Suspects, Kind::Fresh],
        },
        paused_until: None,
        breakers: BTreeMap::new(),
        probed: Vec::new(),
    };
    let mut probed = Vec::new();
    // When a sync that has not failed may probe, where others have to wait for longer.
    let mut fresh_from = None;
    for remote in stage.remotes() {
        let breaker = rows::breaker(txn.db, *remote)?;
        check.breakers.insert(*remote, breaker.clone());
        let Some(open) = &breaker.open else {
            continue;
        };
        if open.until > txn.now {
            check.paused_until = check.paused_until.max(Some(open.until));
        }
        fresh_from = fresh_from.max(Some(open.fresh_from.unwrap_or(open.until).min(open.until)));
        probed.push(breaker);
    }
    let Some(fresh_from) = fresh_from else {
        return Ok(check);
    };
    check.limit = check.limit.min(1);
    check.kinds = vec![Kind::Unfailed];
    let next_unfailed = next_due(txn, stage, Kind::Unfailed)?;
    let is_fresh = next_unfailed.is_some_and(|due| due <= txn.now) && fresh_from <= txn.now;
    if check.paused_until.is_some() && !is_fresh {
        let early = next_unfailed.map(|due| due.max(fresh_from)).filter(|at| *at > txn.now);
        check.paused_until = [check.paused_until, early].into_iter().flatten().min();
        return Ok(check);
    }
    check.paused_until = None;
    if !is_fresh {
        if let Some(twin) = twin(stage)
            && next_due(txn, twin, Kind::Unfailed)?.is_some_and(|due| due <= txn.now)
        {
            check.paused_until = Some(after(txn.now, lease));
            return Ok(check);
        }
        check.kinds = vec![Kind::Any];
    }
    if is_fresh || next_due(txn, stage, Kind::Any)?.is_some_and(|due| due <= txn.now) {
        for breaker in probed {
            check.probed.push(breaker.remote);
            probe(txn, breaker, is_fresh, lease)?;
        }
    }
    Ok(check)
}

/// The other stage that needs the same services.
fn twin(stage: Stage) -> Option<Stage> {
    Stage::ALL
        .into_iter()
        .find(|other| *other != stage && other.remotes() == stage.remotes())
}

/// No other worker probes for as long as the lease, but for a fresh sync beside those that have failed.
fn probe(txn: &Txn<'_>, mut breaker: Breaker, is_fresh: bool, lease: Duration) -> Result<()> {
    if let Some(Open { until, fresh_from, .. }) = &mut breaker.open {
        *until = after(txn.now, lease);
        if is_fresh {
            *fresh_from = fresh_from.map(|_| after(txn.now, FRESH_PROBE_INTERVAL));
        }
    }
    rows::save_breaker(txn.db, &breaker)
}

/// When the next sync of a stage is due, or a lease that was lost runs out. The leased ones are few, and the planner does
/// not know it: with a hundred thousand that wait, a look at all of them after every batch would take longer than the batches.
fn next_due(txn: &Txn<'_>, stage: Stage, kind: Kind) -> Result<Option<Timestamp>> {
    let condition = kind.condition();
    let mut next = None;
    for state in stage.states() {
        // The state is written out, here and wherever syncs that are due are looked for: PostgreSQL has an index of these
        // states alone, and keeps plans that are to hold for every value of a parameter.
        let sql = format!(
            "-- next_due()
            SELECT next_attempt_at FROM sync WHERE finished_at IS NULL AND state = '{state}' AND claim_token IS NULL {condition} ORDER BY next_attempt_at LIMIT 1"
        );
        let due: Option<Timestamp> = txn.db.first(&sql, &[], |row| row.get("next_attempt_at"))?;
        let sql = format!(
            "-- next_due()
            SELECT min(CASE WHEN claim_expires_at > next_attempt_at THEN claim_expires_at ELSE next_attempt_at END) AS lost
            FROM sync INDEXED BY sync_leased WHERE claim_token IS NOT NULL AND finished_at IS NULL AND state = ?1 {condition}"
        );
        let lost: Option<Timestamp> = txn.db.one(&sql, args![*state], |row| row.get("lost"))?;
        next = [next, due, lost].into_iter().flatten().min();
    }
    Ok(next)
}

/// Renews the lease of a claim of so many syncs, from now on; `false` where that of one of them was lost, so that its
/// outcome could not be recorded, or is over: then another replica may have had its turn, and have moved a tag.
pub(super) fn renew(txn: &Txn<'_>, token: ClaimToken, syncs: usize, lasting: Duration) -> Result<bool> {
    let sql = "-- renew()
        UPDATE sync SET claim_expires_at = ?2 WHERE claim_token IS NOT NULL AND claim_token = ?1 AND claim_expires_at > ?3";
    Ok(txn.db.execute(sql, args![token.0, after(txn.now, lasting), txn.now])? == syncs)
}

/// Takes over what the process before has left. Its leases expire at once, except those of upserts and tags: such a call may
/// still be in flight, so these leads are neither sent nor cancelled before their lease expires. Which contacts the upserts may
/// have changed is not known, so every tag waits its delay again. Its locks are released.
pub(super) fn take_over(db: Db<'_>, now: Timestamp, settings: &StoreSettings) -> Result<()> {
    let sql = "-- take_over()
        SELECT 1 FROM sync WHERE finished_at IS NULL AND state = 'requested' AND claim_token IS NOT NULL";
    if db.exists(sql, &[])? {
        tags::move_all(db, after(now, settings.tag_delay))?;
    }
    // Only then, as it forgets the leases that were lost longer ago: those upserts were late, and may be later still.
    turns::expire_upserts(db, now, settings)?;
    let sql = "-- take_over()
        UPDATE sync SET claim_token = NULL, claim_expires_at = NULL
        WHERE finished_at IS NULL AND claim_token IS NOT NULL AND (state NOT IN ('requested', 'upserted') OR claim_expires_at <= ?1)";
    db.execute(sql, args![now])?;
    db.execute("DELETE FROM lock", &[])?;
    Ok(())
}
