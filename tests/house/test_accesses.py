"""Every command either records who asked, or is listed here with the reason why it need not."""

import inspect

import pytest

from flows.cli import cli
from tests.house.test_commands import command_paths, find_command

# A command that shows or hands out nothing about a creator, an output or the books.
NO_ACCESS = {
    ("agreements", "approve"): "puts a text into force; who approved it is a row of its own",
    ("agreements", "import"): "stores texts; who prepared them is a row of its own",
    ("agreements", "lint"): "checks files that the caller has",
    ("attribute",): "research: reads files that the caller names, outside the books",
    ("audit", "reperform"): "reads a pack its holder already has",
    ("audit", "verify"): "reads a file its holder already has; needs no books",
    ("audit", "witness"): "run by a second party, who has no books",
    ("backfill",): "writes entries, which are leaves themselves",
    ("close",): "writes to the books; the close is itself a leaf",
    ("db", "check"): "says what is broken, and nothing of what is booked",
    ("db", "roles"): "changes permissions; shows nothing that is booked",
    ("db", "upgrade"): "changes the schema; shows nothing that is booked",
    ("demo",): "its own books, made from public documentation",
    ("evaluate", "build"): "retrains a model; shows losses of no one's outputs in the books",
    ("evaluate", "run"): "research: a table over files that the caller names",
    ("index", "append"): "changes the index; shows nothing of a text",
    ("index", "build"): "makes the index; shows nothing of a text",
    ("index", "compact"): "changes the index; shows nothing of a text",
    ("index", "info"): "sizes and digests of the index",
    ("index", "prefilter"): "makes a file of the index; shows its recall",
    ("index", "refit"): "changes the index; shows nothing of a text",
    ("index", "remove"): "changes the index; leaves a removal record",
    ("index", "verify"): "says whether the files are whole",
    ("ingest",): "writes outputs; shows counts by reason",
    ("init",): "an empty book",
    ("methods",): "names of methods",
    ("nightly",): "writes entries, which are leaves themselves",
    ("payout", "approve"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "bank"): "stores personal data; the storing is a leaf of its own",
    ("payout", "export"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "hold"): "changes who is paid; the change is a leaf of its own",
    ("payout", "prepare"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "read"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "reconcile"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "reissue"): "changes a batch or books it; the change is a leaf of its own",
    ("payout", "release"): "changes who is paid; the change is a leaf of its own",
    ("payout", "void"): "changes a batch or books it; the change is a leaf of its own",
    ("report", "disclosure"): "a draft of what is to be public; nothing of a creator",
    ("quarantine", "appeal"): "changes what is payable; who decided and why is kept",
    ("quarantine", "accept-revision"): "changes what is payable; who decided and why is kept",
    ("quarantine", "replay"): "writes a log; shows counts and reasons",
    ("reconcile",): "counts of calls and their value",
    ("retention",): "removes texts; shows names of nights",
    ("quarantine", "list"): "counts by reason; `quarantine show` shows a line and records it",
    ("schedule",): "serves the nightly flow",
    ("statement", "verify"): "reads a file its holder already has",
    ("worker",): "measures shards; shows nothing",
    ("works", "match"): "gives a work its owners; who decided is a row of its own",
    ("workers", "status"): "counts of the queue and names of workers",
}


@pytest.mark.parametrize("words", command_paths(cli), ids=" ".join)
def test_a_command_that_shows_something_records_it(words):
    """The source of the command's module calls the record, or the command is excused above."""
    command = find_command(words)
    module = inspect.getmodule(command.callback)
    assert module is not None
    source = inspect.getsource(inspect.unwrap(command.callback))
    helpers = [
        inspect.getsource(thing)
        for name, thing in vars(module).items()
        if inspect.isfunction(thing) and thing.__module__ == module.__name__ and name in source
    ]
    records = any("record_access(" in text for text in (source, *helpers))
    excused = words in NO_ACCESS
    assert records != excused, f"byline {' '.join(words)} " + (
        "records an access and is excused all the same" if records else "records no access"
    )


def test_nobody_is_excused_who_does_not_exist():
    """A command that was renamed leaves no excuse behind."""
    assert set(NO_ACCESS) <= set(command_paths(cli))
