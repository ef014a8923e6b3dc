//! What is read of all syncs together: how things stand, what has happened, why leads failed.

use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Result, args};
use super::queries::{self, VIEW};
use super::txn::Txn;
use super::{Answer, FailureGroup, Flow, Overview, Store, WebhookLog, counters, kv, rows};
use crate::domain::reject_reason::RejectReason;

impl Store {
    /// Since when the operator has paused sending, if so.
    pub async fn paused_since(&self) -> Answer<Option<Timestamp>> {
        self.read(kv::paused_since).await
    }

    /// The reasons for which most leads have failed, the most frequent first.
    pub async fn failure_groups(&self, limit: usize) -> Answer<Vec<FailureGroup>> {
        self.read(move |db| failure_groups(db, limit)).await
    }

    /// How things stand.
    pub async fn overview(&self) -> Answer<Overview> {
        let now = self.now().await?;
        // So that all numbers are of one moment.
        self.read(move |db| db.snapshot(|db| overview(db, now))).await
    }

    /// How many syncs ended `SENT` or `FAILED` in each step of time since `since`; steps in which none did are left out.
    pub async fn flow(&self, since: Timestamp, step: Duration) -> Answer<Vec<Flow>> {
        self.read(move |db| flow(db, since, step)).await
    }
}

/// Failed syncs that wait for an operator: their lead has had none since, and they were not dismissed.
pub(super) const LAST_FAILED: &str = "finished_at IS NOT NULL AND state = 'failed' AND dismissed_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM sync AS newer WHERE newer.lead_id = sync.lead_id AND newer.id > sync.id)";

/// The name under which is kept how many webhooks in a row were missed: found by reconciliation, and none came meanwhile.
const MISSED: &str = "missed_webhooks";

pub(super) fn overview(db: Db<'_>, now: Timestamp) -> Result<Overview> {
    let sql = "-- overview()
        SELECT state, count(*) AS syncs FROM sync WHERE finished_at IS NULL GROUP BY state";
    let in_progress = db.query(sql, &[], |row| Ok((row.get("state")?, row.get("syncs")?)))?;
    // Those in progress are few beside all the others, and ids are given in the order of opening.
    let sql = format!(
        "-- overview()
        {VIEW} WHERE id = (SELECT min(id) FROM sync INDEXED BY sync_due WHERE finished_at IS NULL)"
    );
    let oldest = db.first(&sql, &[], queries::view_of)?;
    let sql = format!("SELECT count(*) AS leads FROM sync WHERE {LAST_FAILED}");
    let failed_leads = db.one(&sql, &[], |row| row.get("leads"))?;
    let sql = "-- overview()
        SELECT CAST(coalesce(sum(used), 0) AS BIGINT) AS used FROM credit WHERE hour > ?1";
    let credits = db.one(sql, args![now.as_second() / 3600 - 24], |row| row.get("used"))?;
    let sql = "-- overview()
        SELECT max(at) AS latest FROM token_grant";
    let token_granted_at = db.one(sql, &[], |row| row.get("latest"))?;
    Ok(Overview {
        at: now,
        in_progress: in_progress.into_iter().collect(),
        oldest,
        ledger: queries::ledger(db)?,
        breakers: queries::open_breakers(db)?,
        paused_since: kv::paused_since(db)?,
        failed_leads,
        credits,
        token_granted_at,
        webhooks: webhooks(db)?,
    })
}

fn webhooks(db: Db<'_>) -> Result<WebhookLog> {
    let last_received = counters::last_webhook(db)?;
    let missed = kv::get(db, MISSED)?.filter(|(_, at)| last_received.is_none_or(|received| received < *at));
    let count = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    Ok(WebhookLog {
        last_received,
        last_missed: missed.as_ref().map(|(_, at)| *at),
        missed: missed.and_then(|(bytes, _)| count(&bytes)).unwrap_or(0),
    })
}

/// Reconciliation has created a sync whose webhook never came.
pub(super) fn note_missed(txn: &Txn<'_>) -> Result<()> {
    let missed = webhooks(txn.db)?.missed + 1;
    kv::put(txn.db, MISSED, missed.to_string().as_bytes(), txn.now)
}

pub(super) fn failure_groups(db: Db<'_>, limit: usize) -> Result<Vec<FailureGroup>> {
    let sql = format!(
        "-- failure_groups()
        SELECT reason_code, reason_field, max(reason) AS reason, count(*) AS leads, max(finished_at) AS latest
        FROM sync WHERE {LAST_FAILED}
        GROUP BY reason_code, reason_field ORDER BY leads DESC, latest DESC, reason_code, reason_field LIMIT ?1"
    );
    db.query(&sql, args![limit], |row| {
        let reason = rows::reason_of(row, "reason")?;
        Ok(FailureGroup {
            code: row.get("reason_code")?,
            field: row.get("reason_field")?,
            advice: reason.as_ref().map_or("", RejectReason::advice).to_owned(),
            reason: reason.map(|reason| reason.to_string()).unwrap_or_default(),
            leads: row.get("leads")?,
            latest: row.get("latest")?,
        })
    })
}

pub(super) fn flow(db: Db<'_>, since: Timestamp, step: Duration) -> Result<Vec<Flow>> {
    let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
    let sql = "-- flow()
        SELECT finished_at / ?2 * ?2 AS begun, count(*) FILTER (WHERE state = 'sent') AS sent,
            count(*) FILTER (WHERE state = 'failed') AS failed
        FROM sync INDEXED BY sync_finished WHERE finished_at >= ?1 AND state IN ('sent', 'failed') GROUP BY begun ORDER BY begun";
    db.query(sql, args![since, step], |row| {
        Ok(Flow {
            from: row.get("begun")?,
            sent: row.get("sent")?,
            failed: row.get("failed")?,
        })
    })
}
