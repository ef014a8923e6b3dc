-- Times are microseconds since 1970. No table holds anything of a lead but ids, states, times, codes and keyed hashes,
-- and reasons that name fields and never values.

CREATE TABLE sync (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lead_id TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Counts the changes of the row: who has read it saves it only if it is still this.
    version INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    finished_at INTEGER,
    -- Who asked for it first.
    source TEXT NOT NULL,
    requests INTEGER NOT NULL,
    is_manual INTEGER NOT NULL,
    is_retry INTEGER NOT NULL,
    requested_updated_at INTEGER,
    requested_rev TEXT,
    -- What tells its webhooks' repeats, as JSON: their signed revisions, and the keys of those without one. NULL where there is
    -- one webhook at most, and the revision it was signed for says all.
    webhook_marks TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    backoff_total INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    accepted_before INTEGER,
    edits INTEGER NOT NULL DEFAULT 0,
    contact_losses INTEGER NOT NULL DEFAULT 0,
    bisect_limit INTEGER,
    contact_id TEXT,
    contact_created INTEGER NOT NULL DEFAULT 0,
    force_create INTEGER NOT NULL DEFAULT 0,
    action TEXT,
    hash TEXT,
    -- Keyed hashes of the unique values that were sent, between spaces.
    unique_keys TEXT,
    seen_requests INTEGER,
    seen_updated_at INTEGER,
    seen_rev TEXT,
    tag_not_before INTEGER,
    synced_at INTEGER,
    -- JSON, and what failures are grouped by.
    reason TEXT,
    reason_code TEXT,
    reason_field TEXT,
    cancelled_by TEXT,
    -- An operator has dealt with this failure otherwise.
    dismissed_at INTEGER,
    -- What is known of the lead for good, as of its newest sync. NULL where the columns above say the same: see `rows.rs`.
    link_contact_id TEXT,
    link_sent_hash TEXT,
    link_synced_at INTEGER,
    link_seen_updated_at INTEGER,
    link_seen_rev TEXT,
    link_cancelled_at INTEGER,
    link_ambiguous_until INTEGER,
    link_created_from INTEGER
) STRICT;

-- A lead's syncs. That one at most is active is seen to by the one thread that writes: a unique index costs a page more a webhook.
CREATE INDEX sync_lead ON sync (lead_id);
-- What is due.
CREATE INDEX sync_due ON sync (state, next_attempt_at) WHERE finished_at IS NULL;
-- Suspects that are due.
CREATE INDEX sync_suspect ON sync (state, next_attempt_at) WHERE bisect_limit IS NOT NULL;
-- Who waits for a contact's tag, and whose a contact is.
CREATE INDEX sync_contact ON sync (contact_id) WHERE contact_id IS NOT NULL;
-- What may be deleted, and what ended when.
CREATE INDEX sync_finished ON sync (finished_at) WHERE finished_at IS NOT NULL;
-- The pages of the API.
CREATE INDEX sync_state ON sync (state) WHERE finished_at IS NOT NULL;

-- The syncs that a worker has in hand, until it records their outcome or the lease expires.
CREATE TABLE claim (
    -- Random: the proof of the claim.
    token INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    -- Their ids, between spaces.
    syncs TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- The history of each sync. Rows are only ever added, and go with their sync.
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- The sync's state after it; NULL where it is called like the event.
    state TEXT,
    -- JSON; NULL where there is nothing more to say, and where a request came by webhook.
    detail TEXT
) STRICT;
CREATE INDEX event_sync ON event (sync_id);

-- What outlives a lead's syncs: written when one of them is deleted. The newest sync, if there is one, knows better.
CREATE TABLE lead (
    lead_id TEXT PRIMARY KEY,
    contact_id TEXT,
    sent_hash TEXT,
    synced_at INTEGER,
    seen_updated_at INTEGER,
    seen_rev TEXT,
    cancelled_at INTEGER,
    ambiguous_until INTEGER,
    created_from INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX lead_contact ON lead (contact_id) WHERE contact_id IS NOT NULL;

CREATE TABLE breaker (
    remote TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    since INTEGER,
    until INTEGER,
    fresh_from INTEGER,
    kind TEXT,
    code TEXT,
    what TEXT,
    action TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
    name TEXT NOT NULL,
    -- Always 0: see postgres-1.sql.
    shard INTEGER NOT NULL,
    value INTEGER NOT NULL,
    -- When it was counted last.
    at INTEGER NOT NULL,
    PRIMARY KEY (name, shard)
) STRICT, WITHOUT ROWID;

-- The sealed access token, the organisation's fields, the mark of the last check, that the operator has paused sending, what
-- was told to the alert address.
CREATE TABLE kv (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What only one of several replicas may do at a time.
CREATE TABLE lock (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Access tokens granted: Zoho allows ten in ten minutes.
CREATE TABLE token_grant (
    at INTEGER NOT NULL
) STRICT;

-- Bigin's credits that calls have cost, by the hour (in hours since 1970).
CREATE TABLE credit (
    hour INTEGER PRIMARY KEY,
    used INTEGER NOT NULL
) STRICT;
