//! Which syncs a worker gets: what is due, as far as the breakers of the stage's services let it.
//!
//! Two kinds travel apart. Fresh syncs fill a batch. Suspects, which were in a batch call that ended ambiguously, travel with
//! suspects of the same limit only, so that bisection isolates the poison item while fresh syncs go on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::db::{Arg, Result, args};
use super::leases::{self, ClaimRow, ClaimToken};
use super::rows::Stored;
use super::txn::Txn;
use super::{Answer, Stage, Store, StoreSettings, counters, rows, turns};
use crate::clock::after;
use crate::domain::breaker::{Breaker, FRESH_PROBE_INTERVAL, Open};
use crate::domain::failure::Remote;
use crate::domain::lead_link::LeadLink;
use crate::domain::sync::{SyncId, SyncJob};
use crate::random;

/// A sync that this worker, and no other, works on until it records an outcome or the lease runs out.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The sync as it was when claimed.
    pub sync: SyncJob,
    /// Proof of the claim.
    pub token: ClaimToken,
    /// What is remembered of the lead.
    pub link: LeadLink,
    /// Of the row, as it was when claimed.
    pub(crate) version: i64,
    pub(crate) changed_at: Timestamp,
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

    /// Renews the lease of a claim, from now on; `false` where it was lost or is over.
    pub async fn renew(&self, token: ClaimToken) -> Answer<bool> {
        let lasting = self.settings.lease;
        self.writer
            .write(move |txn| leases::renew(txn.db, token, txn.now, lasting))
            .await
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
            Self::Suspects => "AND bisect_limit = ?3",
            Self::Any => "",
        }
    }
}

fn claim(
    txn: &mut Txn<'_>,
    stage: Stage,
    (limit, prefer): (usize, Prefer),
    settings: &StoreSettings,
    token: ClaimToken,
) -> Result<Claim> {
    let expiring: &[Stage] = match stage {
        // An upsert that was lost moves tags, and so before any tag is claimed. A lost tag moves nothing.
        Stage::Tag => &[Stage::Upsert, Stage::Tag],
        _ => &[stage],
    };
    let leases = leases::expire(txn.db, expiring, txn.now, settings)?;
    if txn.is_paused {
        return Ok(nothing(None, BTreeMap::new()));
    }
    if let Some(until) = turns::others(txn, stage, &leases)? {
        return Ok(nothing(Some(until), BTreeMap::new()));
    }
    let check = check_breakers(txn, stage, &leases, (limit, prefer), settings.lease)?;
    if check.paused_until.is_some() {
        return Ok(nothing(check.paused_until, check.breakers));
    }
    let mut found = Vec::new();
    for kind in &check.kinds {
        found = due(txn, stage, &leases, *kind, check.limit)?;
        if !found.is_empty() {
            let ids: Vec<_> = found.iter().map(|stored| stored.sync.id).collect();
            leases::insert(txn.db, token, stage, &ids, after(txn.now, settings.lease))?;
            turns::taken(txn, stage)?;
            break;
        }
    }
    let next_due = if found.is_empty() {
        next_due(txn, stage, &leases, Kind::Any)?
    } else {
        None
    };
    let syncs = found.into_iter().map(|stored| Claimed {
        sync: stored.sync,
        link: stored.link,
        version: stored.version,
        changed_at: stored.changed_at,
        token,
    });
    Ok(Claim {
        accepted: counters::accepted(txn.db, stage)?,
        syncs: syncs.collect(),
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

/// How many syncs of a stage are claimed.
fn claimed_in(leases: &[ClaimRow], stage: Stage) -> usize {
    let of_stage = leases.iter().filter(|lease| lease.stage == stage);
    of_stage.map(|lease| lease.syncs.len()).sum()
}

/// The syncs of a kind that have been due longest and that no worker has claimed.
fn due(txn: &Txn<'_>, stage: Stage, leases: &[ClaimRow], kind: Kind, limit: usize) -> Result<Vec<Stored>> {
    let bisect_limit = match kind {
        Kind::Suspects => longest_due_suspect(txn, stage, leases)?,
        _ => None,
    };
    let limit = match (kind, bisect_limit) {
        (Kind::Suspects, None) => return Ok(Vec::new()),
        (_, Some(bisect_limit)) => limit.min(usize::try_from(bisect_limit).unwrap_or(1)),
        _ => limit,
    };
    let mut args: Vec<Arg<'_>> = vec![txn.now.into(), (limit + claimed_in(leases, stage)).into()];
    args.extend(bisect_limit.map(Arg::from));
    let sql = format!(
        "-- due()
        SELECT * FROM ({}) AS due ORDER BY next_attempt_at, id LIMIT ?2",
        due_sql(stage, "*", kind.condition(), "?1", "?2")
    );
    let mut found = txn.db.query(&sql, &args, rows::stored_of)?;
    found.retain(|stored| is_free(leases, stored.sync.id));
    found.truncate(limit);
    Ok(found)
}

fn is_free(leases: &[ClaimRow], sync: SyncId) -> bool {
    !leases.iter().any(|lease| lease.syncs.contains(&sync))
}

/// The columns of the `limit` syncs of each of the stage's states that have been due longest. Each state by itself, so that the
/// index gives the longest due first and a long queue is not sorted.
fn due_sql(stage: Stage, columns: &str, condition: &str, now: &str, limit: &str) -> String {
    let due = |state: &&str| {
        format!(
            "SELECT * FROM (SELECT {columns} FROM sync
                WHERE finished_at IS NULL AND state = '{state}' AND next_attempt_at <= {now} {condition}
                ORDER BY next_attempt_at, id LIMIT {limit}) AS due"
        )
    };
    let due: Vec<String> = stage.states().iter().map(due).collect();
    due.join(" UNION ALL ")
}

fn longest_due_suspect(txn: &Txn<'_>, stage: Stage, leases: &[ClaimRow]) -> Result<Option<u32>> {
    let condition = "AND bisect_limit IS NOT NULL";
    let sql = format!(
        "-- longest_due_suspect()
        SELECT id, bisect_limit FROM ({}) AS due ORDER BY next_attempt_at, id LIMIT ?2",
        due_sql(stage, "id, next_attempt_at, bisect_limit", condition, "?1", "?2")
    );
    let suspects = txn
        .db
        .query(&sql, args![txn.now, 1 + claimed_in(leases, stage)], |row| {
            Ok((SyncId(row.get("id")?), row.get("bisect_limit")?))
        })?;
    let free = suspects.into_iter().find(|(id, _)| is_free(leases, *id));
    Ok(free.map(|(_, limit)| limit))
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
    leases: &[ClaimRow],
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
    let next_unfailed = next_due(txn, stage, leases, Kind::Unfailed)?;
    let is_fresh = next_unfailed.is_some_and(|due| due <= txn.now) && fresh_from <= txn.now;
    if check.paused_until.is_some() && !is_fresh {
        let early = next_unfailed.map(|due| due.max(fresh_from)).filter(|at| *at > txn.now);
        check.paused_until = [check.paused_until, early].into_iter().flatten().min();
        return Ok(check);
    }
    check.paused_until = None;
    if !is_fresh {
        if let Some(twin) = twin(stage)
            && next_due(txn, twin, leases, Kind::Unfailed)?.is_some_and(|due| due <= txn.now)
        {
            check.paused_until = Some(after(txn.now, lease));
            return Ok(check);
        }
        check.kinds = vec![Kind::Any];
    }
    if is_fresh || next_due(txn, stage, leases, Kind::Any)?.is_some_and(|due| due <= txn.now) {
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

/// When the next sync of a stage is due that no worker has claimed, or the first lease of the others expires.
fn next_due(txn: &Txn<'_>, stage: Stage, leases: &[ClaimRow], kind: Kind) -> Result<Option<Timestamp>> {
    let condition = kind.condition();
    let of_stage = leases.iter().filter(|lease| lease.stage == stage);
    let mut next = of_stage.map(|lease| lease.expires_at).min();
    for state in stage.states() {
        // The state is written out, here and wherever syncs that are due are looked for: PostgreSQL has an index of these
        // states alone, and keeps plans that are to hold for every value of a parameter.
        let sql = format!(
            "-- next_due()
            SELECT id, next_attempt_at FROM sync WHERE finished_at IS NULL AND state = '{state}' {condition} ORDER BY next_attempt_at, id LIMIT ?1"
        );
        let waiting = txn.db.query(&sql, args![1 + claimed_in(leases, stage)], |row| {
            Ok((SyncId(row.get("id")?), row.get("next_attempt_at")?))
        })?;
        let free = waiting.into_iter().find(|(id, _)| is_free(leases, *id));
        next = [next, free.map(|(_, at)| at)].into_iter().flatten().min();
    }
    Ok(next)
}
