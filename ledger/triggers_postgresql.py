"""The promises of the book as PostgreSQL triggers: versioned text, the same migrations run.

1. All triggers are ENABLE ALWAYS: they hold under session_replication_role = replica, where
   foreign keys and ordinary triggers do not.
2. Changes are refused by a statement trigger, which sees TRUNCATE and changes of no rows too.
3. Rows are accepted set by set (AFTER INSERT, transition table): one check for one COPY of a
   million lines. A place in the book is taken under the lock of the one row of ledger_head and
   that lock is kept until commit, so the order of places is the order of commits.
4. Postings claim places. A deferred trigger on ledger_head refuses a commit in which a claimed
   place was not sealed; with `entry -> seal` by foreign key nothing half-made can be committed.
5. The functions are SECURITY DEFINER with a fixed search_path: a role that may only insert can
   move the head by inserting a leaf, and in no other way. Their joins are nested loops by
   setting, because a plan made for one row is kept for a million and the reverse.

A message starts with `byline:` and a code; `store_errors` turns the code into an error.
"""

from __future__ import annotations

from ledger.triggers_postgresql_functions import FUNCTIONS

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


def triggers() -> dict[str, tuple[str, str]]:
    """Return every trigger: name -> (table, CREATE TRIGGER text as the catalogue writes it)."""
    found: dict[str, tuple[str, str]] = {}

    def add(name: str, table: str, when: str, level: str, function: str) -> None:
        found[name] = (
            table,
            f"CREATE TRIGGER {name} {when} ON public.{table} {level} EXECUTE FUNCTION {function}()",
        )

    for table in APPEND_ONLY:
        name = f"{table}_refuse_change"
        when = "BEFORE DELETE OR UPDATE OR TRUNCATE"
        add(name, table, when, "FOR EACH STATEMENT", "ledger_refuse_change")
    for table in ("posting", "seal", "access_log", "settlement_period"):
        level = "REFERENCING NEW TABLE AS added FOR EACH STATEMENT"
        add(f"{table}_accept", table, "AFTER INSERT", level, f"{table}_accept")
    for table in ("checkpoint", "balance_snapshot"):
        add(f"{table}_accept", table, "BEFORE INSERT", "FOR EACH ROW", f"{table}_accept")
    head = "ledger_head"
    add("ledger_head_guard", head, "BEFORE UPDATE", "FOR EACH ROW", "ledger_head_guard")
    when = "BEFORE INSERT OR DELETE OR TRUNCATE"
    add("ledger_head_single", head, when, "FOR EACH STATEMENT", "ledger_head_guard")
    found["ledger_head_settled"] = (
        head,
        (
            "CREATE CONSTRAINT TRIGGER ledger_head_settled AFTER UPDATE ON public.ledger_head "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_head_settled()"
        ),
    )
    return found


def create_statements() -> list[str]:
    """Return the statements that create every function and trigger of the ledger."""
    statements = [function.create() for function in FUNCTIONS]
    statements += [
        f"REVOKE ALL ON FUNCTION {function.name}({function.arguments}) FROM PUBLIC"
        for function in FUNCTIONS
    ]
    for name, (table, text) in triggers().items():
        statements += [text, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"]
    return statements


def drop_statements() -> list[str]:
    """Return the statements that drop every trigger and function of the ledger again."""
    drops = [f"DROP TRIGGER {name} ON {table}" for name, (table, _) in triggers().items()]
    return drops + [f"DROP FUNCTION {f.name}({f.arguments})" for f in reversed(FUNCTIONS)]
