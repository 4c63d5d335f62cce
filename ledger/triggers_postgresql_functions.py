"""The functions behind the PostgreSQL triggers; `triggers_postgresql` states the rules.

The text of every body is compared with the catalogue at each connection, to the letter.
"""

from __future__ import annotations

from typing import NamedTuple

SETTINGS = {
    "search_path": "public, pg_temp",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Function(NamedTuple):
    """A function of the schema: its name, arguments, result and body as the catalogue keeps it."""

    name: str
    arguments: str
    returns: str
    body: str

    def create(self) -> str:
        """Return the CREATE FUNCTION statement."""
        settings = " ".join(f"SET {name} = {value}" for name, value in SETTINGS.items())
        return (
            f"CREATE FUNCTION {self.name}({self.arguments}) RETURNS {self.returns} "
            f"LANGUAGE plpgsql SECURITY DEFINER {settings} AS $byline${self.body}$byline$"
        )


REFUSE_CHANGE = Function(
    "ledger_refuse_change",
    "",
    "trigger",
    """
BEGIN
    RAISE EXCEPTION USING MESSAGE = 'byline:append_only ' || TG_TABLE_NAME
        || ' is append-only: ' || TG_OP || ' refused';
END
""",
)

# Called by a writer before he numbers his leaves; the lock is kept until commit.
LOCK_HEAD = Function(
    "ledger_lock_head",
    "",
    "bigint",
    """
DECLARE
    head_size bigint;
BEGIN
    SELECT size INTO STRICT head_size FROM ledger_head WHERE id = 1 FOR UPDATE;
    RETURN head_size;
END
""",
)

TAKE_PLACES = Function(
    "ledger_take_places",
    "lowest bigint, highest bigint, leaves bigint, earliest timestamptz, latest timestamptz",
    "bigint",
    """
DECLARE
    head_size bigint;
BEGIN
    SELECT size INTO STRICT head_size FROM ledger_head WHERE id = 1 FOR UPDATE;
    IF lowest <> head_size + 1 OR highest <> head_size + leaves THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:place leaves must take the next places: the book'
            || ' has ' || head_size || ', got ' || leaves || ' leaves from ' || lowest
            || ' to ' || highest;
    END IF;
    IF earliest < transaction_timestamp() OR latest > clock_timestamp() THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:recorded_at the database writes the time, not the caller';
    END IF;
    UPDATE ledger_head SET size = highest WHERE id = 1;
    RETURN head_size;
END
""",
)

POSTING_ACCEPT = Function(
    "posting_accept",
    "",
    "trigger",
    """
DECLARE
    head_size bigint;
    lowest bigint;
    highest bigint;
    unknown record;
BEGIN
    SELECT min(ledger_seq), max(ledger_seq) INTO lowest, highest FROM added;
    IF lowest IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT size INTO STRICT head_size FROM ledger_head WHERE id = 1 FOR UPDATE;
    IF lowest <= head_size THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:late_posting place ' || lowest
            || ' is sealed: the book has ' || head_size || ' leaves';
    END IF;
    UPDATE ledger_head SET claimed = greatest(claimed, highest) WHERE id = 1;
    SELECT a.account_id, a.currency INTO unknown FROM added AS a
        WHERE NOT EXISTS (SELECT 1 FROM account AS k
            WHERE k.account_id = a.account_id AND k.currency = a.currency)
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:account_unknown there is no account '
            || unknown.account_id || ' in ' || unknown.currency;
    END IF;
    RETURN NULL;
END
""",
)

SEAL_ACCEPT = Function(
    "seal_accept",
    "",
    "trigger",
    """
DECLARE
    head_size bigint;
    wrong record;
    back record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM added) THEN
        RETURN NULL;
    END IF;
    SELECT ledger_take_places(min(ledger_seq), max(ledger_seq), count(*), min(recorded_at),
        max(recorded_at)) INTO head_size FROM added;
    SELECT a.entry_id, e.entry_id IS NULL OR e.effective_on <> a.effective_on AS unknown,
            e.period, e.period NOT IN
                (SELECT period FROM settlement_period WHERE action = 'open') AS not_open,
            e.period IN (SELECT period FROM settlement_period WHERE action = 'close') AS closed,
            e.approved_by = e.prepared_by OR (e.approved_by IS NULL
                AND e.kind IN ('adjustment', 'reversal', 'close', 'payout')) AS approval,
            p.lines < 2 OR p.lines <> a.posting_count OR p.first_line <> 1
                OR p.last_line <> p.lines OR p.own <> p.lines AS counted
        INTO wrong
        FROM added AS a LEFT JOIN journal_entry AS e ON e.entry_id = a.entry_id
        CROSS JOIN LATERAL (SELECT count(*) AS lines, min(line_no) AS first_line,
                max(line_no) AS last_line, sum(units) AS total,
                min(currency) AS first_currency, max(currency) AS last_currency,
                count(*) FILTER (WHERE q.entry_id = a.entry_id) AS own
            FROM posting AS q WHERE q.ledger_seq = a.ledger_seq) AS p
        WHERE e.entry_id IS NULL OR e.effective_on <> a.effective_on
            OR p.lines < 2 OR p.lines <> a.posting_count OR p.first_line <> 1
            OR p.last_line <> p.lines OR p.own <> p.lines OR p.total <> 0
            OR (p.first_currency <> p.last_currency AND EXISTS (SELECT 1 FROM posting AS q
                WHERE q.ledger_seq = a.ledger_seq GROUP BY currency HAVING sum(units) <> 0))
            OR e.period NOT IN (SELECT period FROM settlement_period WHERE action = 'open')
            OR e.period IN (SELECT period FROM settlement_period WHERE action = 'close')
            OR e.approved_by = e.prepared_by OR (e.approved_by IS NULL
                AND e.kind IN ('adjustment', 'reversal', 'close', 'payout'))
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING MESSAGE = CASE
            WHEN wrong.unknown THEN 'byline:entry_unknown there is no entry to seal with this'
                || ' effective day: '
            WHEN wrong.counted THEN 'byline:posting_count the declared count of postings is wrong: '
            WHEN wrong.not_open THEN 'byline:period_not_open period ' || wrong.period
                || ' was never opened: '
            WHEN wrong.closed THEN 'byline:period_closed period ' || wrong.period || ' is closed: '
            WHEN wrong.approval THEN 'byline:approval an approver other than the preparer is'
                || ' needed: '
            ELSE 'byline:unbalanced the postings do not add up to zero in a currency: '
            END || wrong.entry_id;
    END IF;
    FOR back IN SELECT a.entry_id, a.ledger_seq, a.posting_count, e.kind, e.reverses
        FROM added AS a JOIN journal_entry AS e ON e.entry_id = a.entry_id
        WHERE e.reverses IS NOT NULL OR e.kind IN ('reversal', 'release')
    LOOP
        PERFORM ledger_check_taking_back(back.entry_id, back.ledger_seq, back.posting_count,
            back.kind, back.reverses);
    END LOOP;
    RETURN NULL;
END
""",
)

CHECK_TAKING_BACK = Function(
    "ledger_check_taking_back",
    "entry text, place bigint, lines integer, entry_kind text, original text",
    "void",
    """
DECLARE
    sealed record;
BEGIN
    IF original IS NULL OR entry_kind NOT IN ('reversal', 'release') THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:taking_back only a reversal or a release takes an entry back: ' || entry;
    END IF;
    SELECT s.ledger_seq, s.posting_count INTO sealed
        FROM seal AS s JOIN journal_entry AS o ON o.entry_id = s.entry_id
        WHERE s.entry_id = original AND (entry_kind <> 'release' OR o.kind = 'hold');
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:reversal_unknown the entry to take back is not sealed, or no hold: '
            || original;
    END IF;
    IF sealed.posting_count <> lines OR EXISTS (SELECT 1
        FROM posting AS n LEFT JOIN posting AS o
            ON o.ledger_seq = sealed.ledger_seq AND o.line_no = n.line_no
        WHERE n.ledger_seq = place AND (o.units IS DISTINCT FROM -n.units
            OR o.account_id <> n.account_id OR o.currency <> n.currency))
    THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:not_negation a reversal is the exact negation, line by line: ' || entry;
    END IF;
END
""",
)

ACCESS_LOG_ACCEPT = Function(
    "access_log_accept",
    "",
    "trigger",
    """
BEGIN
    IF EXISTS (SELECT 1 FROM added) THEN
        PERFORM ledger_take_places(min(ledger_seq), max(ledger_seq), count(*), min(recorded_at),
            max(recorded_at)) FROM added;
        IF EXISTS (SELECT 1 FROM added AS a JOIN posting AS p ON p.ledger_seq = a.ledger_seq) THEN
            RAISE EXCEPTION USING MESSAGE =
                'byline:late_posting postings stand at this place already';
        END IF;
    END IF;
    RETURN NULL;
END
""",
)

PERIOD_ACCEPT = Function(
    "settlement_period_accept",
    "",
    "trigger",
    """
DECLARE
    event record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM added) THEN
        RETURN NULL;
    END IF;
    PERFORM ledger_take_places(min(ledger_seq), max(ledger_seq), count(*), min(recorded_at),
        max(recorded_at)) FROM added;
    IF EXISTS (SELECT 1 FROM added AS a JOIN posting AS p ON p.ledger_seq = a.ledger_seq) THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:late_posting postings stand at this place already';
    END IF;
    FOR event IN SELECT * FROM added ORDER BY ledger_seq LOOP
        IF event.action = 'open' AND EXISTS (SELECT 1 FROM settlement_period AS s
            WHERE s.period >= event.period AND s.ledger_seq < event.ledger_seq)
        THEN
            RAISE EXCEPTION USING MESSAGE =
                'byline:period_order periods open once, in calendar order: ' || event.period;
        END IF;
        IF event.action = 'close' AND (
            NOT EXISTS (SELECT 1 FROM settlement_period AS s WHERE s.period = event.period
                AND s.action = 'open' AND s.ledger_seq < event.ledger_seq)
            OR EXISTS (SELECT 1 FROM settlement_period AS o
                WHERE o.period < event.period AND o.action = 'open'
                    AND NOT EXISTS (SELECT 1 FROM settlement_period AS c
                        WHERE c.period = o.period AND c.action = 'close'
                            AND c.ledger_seq < event.ledger_seq)))
        THEN
            RAISE EXCEPTION USING MESSAGE = 'byline:period_order only an open period closes,'
                || ' once and in order: ' || event.period;
        END IF;
    END LOOP;
    RETURN NULL;
END
""",
)

HEAD_GUARD = Function(
    "ledger_head_guard",
    "",
    "trigger",
    """
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:head the head of the book is one row';
    END IF;
    IF NEW.id <> OLD.id OR NEW.size < OLD.size OR NEW.claimed < OLD.claimed
        OR (NEW.size > OLD.size
            AND NOT EXISTS (SELECT 1 FROM seal WHERE ledger_seq = NEW.size)
            AND NOT EXISTS (SELECT 1 FROM access_log WHERE ledger_seq = NEW.size)
            AND NOT EXISTS (SELECT 1 FROM settlement_period WHERE ledger_seq = NEW.size))
    THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:head the head of the book moves only with a leaf';
    END IF;
    RETURN NEW;
END
""",
)

HEAD_SETTLED = Function(
    "ledger_head_settled",
    "",
    "trigger",
    """
DECLARE
    head record;
BEGIN
    SELECT size, claimed INTO STRICT head FROM ledger_head WHERE id = 1;
    IF head.claimed > head.size THEN
        RAISE EXCEPTION USING MESSAGE = 'byline:unsealed postings stand at place '
            || head.claimed || ' but the book has ' || head.size || ' leaves';
    END IF;
    RETURN NULL;
END
""",
)

CHECKPOINT_ACCEPT = Function(
    "checkpoint_accept",
    "",
    "trigger",
    """
BEGIN
    IF NEW.size > (SELECT size FROM ledger_head WHERE id = 1)
        OR NEW.size <= (SELECT coalesce(max(size), 0) FROM checkpoint)
    THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:checkpoint a checkpoint covers more than the last, not the future';
    END IF;
    IF NEW.recorded_at < transaction_timestamp() OR NEW.recorded_at > clock_timestamp() THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:recorded_at the database writes the time, not the caller';
    END IF;
    RETURN NEW;
END
""",
)

SNAPSHOT_ACCEPT = Function(
    "balance_snapshot_accept",
    "",
    "trigger",
    """
DECLARE
    before_seq bigint;
    before_units bigint;
BEGIN
    SELECT s.ledger_seq, s.units INTO before_seq, before_units FROM balance_snapshot AS s
        WHERE s.account_id = NEW.account_id AND s.currency = NEW.currency
        ORDER BY s.ledger_seq DESC LIMIT 1;
    IF NEW.ledger_seq > (SELECT size FROM ledger_head WHERE id = 1)
        OR NEW.ledger_seq <= coalesce(before_seq, 0)
    THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:snapshot snapshots are taken in order and never of the future';
    END IF;
    IF NEW.units <> coalesce(before_units, 0) + (SELECT coalesce(sum(p.units), 0)
        FROM posting AS p WHERE p.account_id = NEW.account_id AND p.currency = NEW.currency
            AND p.ledger_seq > coalesce(before_seq, 0) AND p.ledger_seq <= NEW.ledger_seq)
    THEN
        RAISE EXCEPTION USING MESSAGE =
            'byline:snapshot the snapshot is not the sum of the postings: ' || NEW.account_id;
    END IF;
    RETURN NEW;
END
""",
)

FUNCTIONS = (
    REFUSE_CHANGE,
    LOCK_HEAD,
    TAKE_PLACES,
    CHECK_TAKING_BACK,
    POSTING_ACCEPT,
    SEAL_ACCEPT,
    ACCESS_LOG_ACCEPT,
    PERIOD_ACCEPT,
    HEAD_GUARD,
    HEAD_SETTLED,
    CHECKPOINT_ACCEPT,
    SNAPSHOT_ACCEPT,
)
