"""The erasable side table of personal data; `personal` states the rules."""

from __future__ import annotations

from sqlalchemy import Connection, text

from ledger.personal import PersonalDatum, check_commitment


def insert_personal(connection: Connection, datum: PersonalDatum) -> str:
    """Store a personal fact and its commitment inside a writing transaction.

    Returns:
        The commitment in hex.
    """
    commitment = datum.commitment()
    values = {
        "commitment": commitment,
        "party": datum.party_id,
        "field": datum.field,
        "value": datum.value,
        "salt": datum.salt,
    }
    connection.execute(
        text(
            "INSERT INTO personal_commitment (commitment, party_id, field) "
            "VALUES (:commitment, :party, :field)"
        ),
        values,
    )
    connection.execute(
        text(
            "INSERT INTO personal_datum (commitment, party_id, field, value, salt) "
            "VALUES (:commitment, :party, :field, :value, :salt)"
        ),
        values,
    )
    return commitment


def select_personal(connection: Connection, party_id: str) -> dict[str, PersonalDatum]:
    """Return what is still known of a party: commitment -> fact, each checked against it."""
    rows = connection.execute(
        text(
            "SELECT d.commitment, d.field, d.value, d.salt FROM personal_datum AS d "
            "JOIN personal_commitment AS c ON c.commitment = d.commitment "
            "WHERE d.party_id = :party ORDER BY c.recorded_at, d.commitment"
        ),
        {"party": party_id},
    ).fetchall()
    found = {
        row.commitment: PersonalDatum(party_id, row.field, row.value, bytes(row.salt))
        for row in rows
    }
    for commitment, datum in found.items():
        check_commitment(datum, commitment)
    return found


def delete_personal(connection: Connection, party_id: str) -> int:
    """Erase values and salts of a party inside a writing transaction; commitments stay.

    Returns:
        How many facts were erased.
    """
    result = connection.execute(
        text("DELETE FROM personal_datum WHERE party_id = :party"), {"party": party_id}
    )
    return result.rowcount


def select_commitments(connection: Connection, party_id: str) -> list[str]:
    """Return every commitment ever made for a party, erased or not."""
    rows = connection.execute(
        text(
            "SELECT commitment FROM personal_commitment WHERE party_id = :party "
            "ORDER BY recorded_at, commitment"
        ),
        {"party": party_id},
    )
    return [row.commitment for row in rows]
