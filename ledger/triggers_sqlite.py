"""The promises of the book as SQLite triggers: versioned text, the same that migrations run.

1. `seal_accept` closes an entry: the next place, the entry's own lines and no others, at least
   two, as many as declared, zero in every currency, an open period, a reversal that negates.
2. Nothing is changed or deleted. `INSERT OR REPLACE` deletes without asking the delete trigger
   unless recursive_triggers is on, so inserts are guarded too: an existing key is refused.
3. The checks that a raw client could switch off by pragma are repeated here: CHECK
   constraints (ignore_check_constraints) and the deferred foreign key (foreign_keys), the
   latter by numbering entries and seals without a gap: their last numbers must be equal at
   the next connection.

SQLite sums whole numbers in 64 bits and fails on overflow, so sums are taken in two halves.
A message starts with `byline:` and a code; `store_errors` turns the code into an error.
"""

from __future__ import annotations

APPEND_ONLY = (
    "account",
    "access_log",
    "balance_snapshot",
    "checkpoint",
    "journal_entry",
    "personal_commitment",
    "posting",
    "seal",
    "settlement_period",
)

_REFUSE_CHANGE = """CREATE TRIGGER {table}_refuse_{verb} BEFORE {VERB} ON {table}
BEGIN
    SELECT RAISE(ABORT, 'byline:append_only {table} is append-only: {VERB} refused');
END"""

_JOURNAL_ENTRY_GUARD = """CREATE TRIGGER journal_entry_guard BEFORE INSERT ON journal_entry
WHEN EXISTS (SELECT 1 FROM journal_entry WHERE entry_id = NEW.entry_id)
    OR EXISTS (SELECT 1 FROM journal_entry WHERE scope = NEW.scope AND "key" = NEW."key")
    OR EXISTS (SELECT 1 FROM journal_entry
        WHERE reverses IS NOT NULL AND reverses = NEW.reverses)
BEGIN
    SELECT RAISE(ABORT, 'byline:entry_exists this entry, key or reversal is in the book already');
END"""

_JOURNAL_ENTRY_COUNT = """CREATE TRIGGER journal_entry_count AFTER INSERT ON journal_entry
BEGIN
    SELECT RAISE(ABORT, 'byline:numbering rows of journal_entry are numbered without a gap')
        WHERE NEW.rowid IS NOT (SELECT coalesce(max(rowid), 0) + 1 FROM journal_entry
            WHERE rowid < NEW.rowid);
END"""

# The foreign keys of the table say the same about accounts; they can be switched off.
_POSTING_ACCEPT = """CREATE TRIGGER posting_accept BEFORE INSERT ON posting
BEGIN
    SELECT CASE
        WHEN NEW.ledger_seq <= (SELECT size FROM ledger_head WHERE id = 1)
        THEN RAISE(ABORT, 'byline:late_posting the entry at this place is sealed')
        WHEN typeof(NEW.units) <> 'integer' OR NEW.units = 0
            OR NEW.units NOT BETWEEN -10000000000000000 AND 10000000000000000
        THEN RAISE(ABORT, 'byline:units_bounded units must be whole, not zero and within 10^16')
        WHEN NOT EXISTS (SELECT 1 FROM account
            WHERE account_id = NEW.account_id AND currency = NEW.currency)
        THEN RAISE(ABORT, 'byline:account_unknown there is no such account in this currency')
    END;
END"""

_SEAL_ACCEPT = """CREATE TRIGGER seal_accept BEFORE INSERT ON seal
BEGIN
    SELECT CASE
        WHEN NEW.ledger_seq IS NOT (SELECT size + 1 FROM ledger_head WHERE id = 1)
        THEN RAISE(ABORT, 'byline:place the seal must take the next place of the book')
        WHEN EXISTS (SELECT 1 FROM seal WHERE entry_id = NEW.entry_id)
        THEN RAISE(ABORT, 'byline:seal_exists the entry is sealed already')
        WHEN typeof(NEW.leaf_hash) <> 'blob' OR length(NEW.leaf_hash) <> 32
        THEN RAISE(ABORT, 'byline:leaf_hash a leaf hash has 32 bytes')
        WHEN NEW.recorded_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        THEN RAISE(ABORT, 'byline:recorded_at the database writes the time, not the caller')
    END;
    SELECT CASE
        WHEN p.lines < 2 OR p.lines <> NEW.posting_count OR p.first_line <> 1
            OR p.last_line <> p.lines OR p.own <> p.lines
        THEN RAISE(ABORT, 'byline:posting_count the declared count of postings is wrong')
        WHEN p.low % 1000000000 <> 0 OR p.high + p.low / 1000000000 <> 0
            OR (p.first_currency <> p.last_currency AND EXISTS (SELECT 1 FROM posting
                WHERE ledger_seq = NEW.ledger_seq GROUP BY currency
                HAVING sum(units % 1000000000) % 1000000000 <> 0
                    OR sum(units / 1000000000) + sum(units % 1000000000) / 1000000000 <> 0))
        THEN RAISE(ABORT, 'byline:unbalanced the postings do not add up to zero in a currency')
    END
    FROM (SELECT count(*) AS lines, min(line_no) AS first_line, max(line_no) AS last_line,
            sum(entry_id = NEW.entry_id) AS own, min(currency) AS first_currency,
            max(currency) AS last_currency, sum(units / 1000000000) AS high,
            sum(units % 1000000000) AS low
        FROM posting WHERE ledger_seq = NEW.ledger_seq) AS p;
    SELECT CASE
        WHEN e.entry_id IS NULL OR e.effective_on <> NEW.effective_on
        THEN RAISE(ABORT, 'byline:entry_unknown there is no entry to seal with this effective day')
        WHEN NOT EXISTS (SELECT 1 FROM settlement_period
            WHERE period = e.period AND "action" = 'open')
        THEN RAISE(ABORT, 'byline:period_not_open the period was never opened')
        WHEN EXISTS (SELECT 1 FROM settlement_period
            WHERE period = e.period AND "action" = 'close')
        THEN RAISE(ABORT, 'byline:period_closed the period is closed')
        WHEN e.approved_by = e.prepared_by OR (e.approved_by IS NULL
            AND e.kind IN ('adjustment', 'reversal', 'close', 'payout'))
        THEN RAISE(ABORT, 'byline:approval an approver other than the preparer is needed')
        WHEN (e.kind IN ('reversal', 'release')) <> (e.reverses IS NOT NULL)
        THEN RAISE(ABORT, 'byline:taking_back only a reversal or a release takes an entry back')
        WHEN e.reverses IS NULL THEN NULL
        WHEN NOT EXISTS (SELECT 1 FROM seal JOIN journal_entry AS o USING (entry_id)
            WHERE o.entry_id = e.reverses AND (e.kind <> 'release' OR o.kind = 'hold'))
        THEN RAISE(ABORT,
            'byline:reversal_unknown the entry to take back is not sealed, or no hold')
        WHEN EXISTS (SELECT 1 FROM seal AS s WHERE s.entry_id = e.reverses
            AND (s.posting_count <> NEW.posting_count
                OR EXISTS (SELECT 1 FROM posting AS n LEFT JOIN posting AS o
                    ON o.ledger_seq = s.ledger_seq AND o.line_no = n.line_no
                    WHERE n.ledger_seq = NEW.ledger_seq AND (o.units IS NOT -n.units
                        OR o.account_id <> n.account_id OR o.currency <> n.currency))))
        THEN RAISE(ABORT, 'byline:not_negation a reversal is the exact negation, line by line')
    END
    FROM (SELECT 1) LEFT JOIN journal_entry AS e ON e.entry_id = NEW.entry_id;
END"""

_SEAL_COUNT = """CREATE TRIGGER seal_count AFTER INSERT ON seal
BEGIN
    UPDATE ledger_head SET size = NEW.ledger_seq WHERE id = 1;
    SELECT RAISE(ABORT, 'byline:numbering rows of seal are numbered without a gap')
        WHERE NEW.rowid IS NOT (SELECT coalesce(max(rowid), 0) + 1 FROM seal
            WHERE rowid < NEW.rowid);
END"""

_ACCESS_LOG_ACCEPT = """CREATE TRIGGER access_log_accept BEFORE INSERT ON access_log
BEGIN
    SELECT RAISE(ABORT, 'byline:place an access must take the next place of the book')
        WHERE NEW.ledger_seq IS NOT (SELECT size + 1 FROM ledger_head WHERE id = 1);
    SELECT RAISE(ABORT, 'byline:leaf_hash a leaf hash has 32 bytes')
        WHERE typeof(NEW.leaf_hash) <> 'blob' OR length(NEW.leaf_hash) <> 32;
    SELECT RAISE(ABORT, 'byline:recorded_at the database writes the time, not the caller')
        WHERE NEW.recorded_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ', 'now');
    SELECT RAISE(ABORT, 'byline:late_posting postings stand at this place already')
        WHERE EXISTS (SELECT 1 FROM posting WHERE ledger_seq = NEW.ledger_seq);
END"""

_ACCESS_LOG_COUNT = """CREATE TRIGGER access_log_count AFTER INSERT ON access_log
BEGIN
    UPDATE ledger_head SET size = NEW.ledger_seq WHERE id = 1;
END"""

_PERIOD_ACCEPT = """CREATE TRIGGER settlement_period_accept BEFORE INSERT ON settlement_period
BEGIN
    SELECT RAISE(ABORT, 'byline:place a period event must take the next place of the book')
        WHERE NEW.ledger_seq IS NOT (SELECT size + 1 FROM ledger_head WHERE id = 1);
    SELECT RAISE(ABORT, 'byline:leaf_hash a leaf hash has 32 bytes')
        WHERE typeof(NEW.leaf_hash) <> 'blob' OR length(NEW.leaf_hash) <> 32;
    SELECT RAISE(ABORT, 'byline:recorded_at the database writes the time, not the caller')
        WHERE NEW.recorded_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ', 'now');
    SELECT RAISE(ABORT, 'byline:late_posting postings stand at this place already')
        WHERE EXISTS (SELECT 1 FROM posting WHERE ledger_seq = NEW.ledger_seq);
    SELECT RAISE(ABORT, 'byline:period_order periods open once, in calendar order')
        WHERE NEW."action" = 'open'
            AND EXISTS (SELECT 1 FROM settlement_period WHERE period >= NEW.period);
    SELECT RAISE(ABORT, 'byline:period_order only an open period closes, once and in order')
        WHERE NEW."action" <> 'open' AND (NEW."action" <> 'close'
            OR EXISTS (SELECT 1 FROM settlement_period
                WHERE period = NEW.period AND "action" = 'close')
            OR NOT EXISTS (SELECT 1 FROM settlement_period
                WHERE period = NEW.period AND "action" = 'open')
            OR EXISTS (SELECT 1 FROM settlement_period AS o
                WHERE o.period < NEW.period AND o."action" = 'open'
                    AND NOT EXISTS (SELECT 1 FROM settlement_period AS c
                        WHERE c.period = o.period AND c."action" = 'close')));
    SELECT RAISE(ABORT, 'byline:approval an approver other than the preparer is needed')
        WHERE NEW."action" = 'close'
            AND (NEW.approved_by IS NULL OR NEW.approved_by = NEW.prepared_by);
END"""

_PERIOD_COUNT = """CREATE TRIGGER settlement_period_count AFTER INSERT ON settlement_period
BEGIN
    UPDATE ledger_head SET size = NEW.ledger_seq WHERE id = 1;
END"""

_HEAD_GUARD = """CREATE TRIGGER ledger_head_guard BEFORE UPDATE ON ledger_head
WHEN NEW.id <> OLD.id
    OR NOT (NEW.size = OLD.size OR (NEW.size = OLD.size + 1
        AND (EXISTS (SELECT 1 FROM seal WHERE ledger_seq = NEW.size)
            OR EXISTS (SELECT 1 FROM access_log WHERE ledger_seq = NEW.size)
            OR EXISTS (SELECT 1 FROM settlement_period WHERE ledger_seq = NEW.size))))
    OR NEW.claimed <> OLD.claimed
BEGIN
    SELECT RAISE(ABORT, 'byline:head the head of the book moves only with a leaf');
END"""

_HEAD_SINGLE = """CREATE TRIGGER ledger_head_single BEFORE INSERT ON ledger_head
WHEN EXISTS (SELECT 1 FROM ledger_head)
BEGIN
    SELECT RAISE(ABORT, 'byline:head the head of the book is one row');
END"""

_CHECKPOINT_ACCEPT = """CREATE TRIGGER checkpoint_accept BEFORE INSERT ON checkpoint
BEGIN
    SELECT RAISE(ABORT, 'byline:checkpoint a checkpoint covers more than the last, not the future')
        WHERE NEW.size > (SELECT size FROM ledger_head WHERE id = 1)
            OR NEW.size <= (SELECT coalesce(max(size), 0) FROM checkpoint)
            OR typeof(NEW.root) <> 'blob' OR length(NEW.root) <> 32;
    SELECT RAISE(ABORT, 'byline:recorded_at the database writes the time, not the caller')
        WHERE NEW.recorded_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ', 'now');
END"""

_SNAPSHOT_ACCEPT = """CREATE TRIGGER balance_snapshot_accept BEFORE INSERT ON balance_snapshot
BEGIN
    SELECT RAISE(ABORT, 'byline:snapshot snapshots are taken in order and never of the future')
        WHERE NEW.ledger_seq > (SELECT size FROM ledger_head WHERE id = 1)
            OR NEW.ledger_seq <= (SELECT coalesce(max(ledger_seq), 0) FROM balance_snapshot
                WHERE account_id = NEW.account_id AND currency = NEW.currency);
    SELECT RAISE(ABORT, 'byline:snapshot the snapshot is not the sum of the postings')
        WHERE NEW.units IS NOT coalesce((SELECT units FROM balance_snapshot
                WHERE account_id = NEW.account_id AND currency = NEW.currency
                ORDER BY ledger_seq DESC LIMIT 1), 0)
            + coalesce((SELECT sum(units) FROM posting
                WHERE account_id = NEW.account_id AND currency = NEW.currency
                    AND ledger_seq <= NEW.ledger_seq AND ledger_seq > coalesce(
                        (SELECT max(ledger_seq) FROM balance_snapshot WHERE
                            account_id = NEW.account_id AND currency = NEW.currency), 0)), 0);
END"""

_COMMITMENT_GUARD = """CREATE TRIGGER personal_commitment_guard BEFORE INSERT ON personal_commitment
WHEN EXISTS (SELECT 1 FROM personal_commitment WHERE commitment = NEW.commitment)
BEGIN
    SELECT RAISE(ABORT, 'byline:append_only this commitment exists already');
END"""


def refuse_changes(table: str) -> list[str]:
    """Return the triggers that make one table append-only."""
    return [
        _REFUSE_CHANGE.format(table=table, verb=verb.lower(), VERB=verb)
        for verb in ("UPDATE", "DELETE")
    ]


def create_statements() -> list[str]:
    """Return every trigger of the ledger, one CREATE TRIGGER statement each."""
    changes = [text for table in APPEND_ONLY for text in refuse_changes(table)]
    head = _REFUSE_CHANGE.format(table="ledger_head", verb="delete", VERB="DELETE")
    return [
        *changes,
        head,
        _JOURNAL_ENTRY_GUARD,
        _JOURNAL_ENTRY_COUNT,
        _POSTING_ACCEPT,
        _SEAL_ACCEPT,
        _SEAL_COUNT,
        _ACCESS_LOG_ACCEPT,
        _ACCESS_LOG_COUNT,
        _PERIOD_ACCEPT,
        _PERIOD_COUNT,
        _HEAD_GUARD,
        _HEAD_SINGLE,
        _CHECKPOINT_ACCEPT,
        _SNAPSHOT_ACCEPT,
        _COMMITMENT_GUARD,
    ]


def trigger_name(create_statement: str) -> str:
    """Return the name of the trigger that a CREATE TRIGGER statement makes."""
    return create_statement.split(maxsplit=3)[2]


def drop_statements() -> list[str]:
    """Return the statements that drop every trigger of the ledger again."""
    return [f"DROP TRIGGER {trigger_name(text)}" for text in create_statements()]
