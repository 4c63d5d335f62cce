"""The database's own rules on the rows of parties, works and agreements: versioned text.

1. Rows are only inserted. UPDATE, DELETE and TRUNCATE are refused on every table of contracts, on
   SQLite `INSERT OR REPLACE` of an existing key too, since it deletes without asking.
2. Who prepared an agreement version does not approve it, and nothing is approved that nobody
   prepared.

A message starts with `byline:` and a code, as those of the ledger do.
"""

from __future__ import annotations

# Every table of contracts with its key.
KEYS = {
    "agreement": ("agreement_id", "version"),
    "agreement_draft": ("draft_id",),
    "agreement_step": ("agreement_id", "version", "step"),
    "dispute": ("dispute_id", "step"),
    "fx_rate": ("from_code", "to_code", "rate_on", "source"),
    "import_evidence": ("evidence_id",),
    "party": ("party_id",),
    "party_identifier": ("party_id", "scheme", "value"),
    "source": ("source_id",),
    "work": ("work_id",),
    "work_decision": ("work_id", "version"),
    "work_document": ("document_id", "version"),
    "work_identifier": ("work_id", "scheme", "value"),
    "work_split": ("work_id", "right_id", "version", "effective_from", "party_id"),
}
_REFUSED = "is append-only"
_SECOND = "byline:second_person an agreement is approved by somebody else than who prepared it"

# Fixed texts: no value of anybody's stands in any statement of this module.
_SQLITE_APPROVAL = f"""CREATE TRIGGER agreement_step_second_person BEFORE INSERT ON agreement_step
WHEN NEW.step = 'approved' AND NOT EXISTS (SELECT 1 FROM agreement_step
    WHERE agreement_id = NEW.agreement_id AND version = NEW.version AND step = 'prepared'
    AND party_id <> NEW.party_id)
BEGIN
    SELECT RAISE(ABORT, '{_SECOND}');
END"""  # noqa: S608

_POSTGRESQL_REFUSE = f"""CREATE FUNCTION contracts_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $byline$
BEGIN
    RAISE EXCEPTION USING MESSAGE = 'byline:append_only ' || TG_TABLE_NAME
        || ' {_REFUSED}: ' || TG_OP || ' refused';
END
$byline$"""

_POSTGRESQL_APPROVAL = f"""CREATE FUNCTION contracts_second_person() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $byline$
BEGIN
    IF NEW.step = 'approved' AND NOT EXISTS (SELECT 1 FROM agreement_step
        WHERE agreement_id = NEW.agreement_id AND version = NEW.version AND step = 'prepared'
        AND party_id <> NEW.party_id)
    THEN
        RAISE EXCEPTION USING MESSAGE = '{_SECOND}';
    END IF;
    RETURN NEW;
END
$byline$"""  # noqa: S608


def create_statements(dialect: str) -> list[str]:
    """Return the statements that create every trigger.

    Args:
        dialect: "sqlite" or "postgresql".
    """
    if dialect == "sqlite":
        found = [_SQLITE_APPROVAL]
        for table, keys in KEYS.items():
            found += [_sqlite_refusal(table, verb) for verb in ("update", "delete")]
            same = " AND ".join(f"{key} = NEW.{key}" for key in keys)
            found.append(
                f"CREATE TRIGGER {table}_refuse_replace BEFORE INSERT ON {table}\n"  # noqa: S608
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})\n"
                f"BEGIN\n    SELECT RAISE(ABORT, 'byline:append_only {table} {_REFUSED}: this row "
                f"is stored already');\nEND"
            )
        return found
    found = [_POSTGRESQL_REFUSE, _POSTGRESQL_APPROVAL]
    for table in KEYS:
        name = f"{table}_refuse_change"
        found += [
            (
                f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION contracts_refuse_change()"
            ),
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
        ]
    return [
        *found,
        (
            "CREATE TRIGGER agreement_step_second_person BEFORE INSERT ON agreement_step "
            "FOR EACH ROW EXECUTE FUNCTION contracts_second_person()"
        ),
        "ALTER TABLE agreement_step ENABLE ALWAYS TRIGGER agreement_step_second_person",
    ]


def drop_statements(dialect: str) -> list[str]:
    """Return the statements that drop every trigger again.

    Args:
        dialect: "sqlite" or "postgresql".
    """
    if dialect == "sqlite":
        verbs = ("update", "delete", "replace")
        found = [f"DROP TRIGGER {table}_refuse_{verb}" for table in KEYS for verb in verbs]
        return ["DROP TRIGGER agreement_step_second_person", *found]
    found = [f"DROP TRIGGER {table}_refuse_change ON {table}" for table in KEYS]
    return [
        "DROP TRIGGER agreement_step_second_person ON agreement_step",
        *found,
        "DROP FUNCTION contracts_second_person()",
        "DROP FUNCTION contracts_refuse_change()",
    ]


def _sqlite_refusal(table: str, verb: str) -> str:
    """Write the trigger that refuses one kind of change."""
    return (
        f"CREATE TRIGGER {table}_refuse_{verb} BEFORE {verb.upper()} ON {table}\n"
        f"BEGIN\n    SELECT RAISE(ABORT, 'byline:append_only {table} {_REFUSED}: {verb.upper()} "
        f"refused');\nEND"
    )
