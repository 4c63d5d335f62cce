"""The commands, one file each: arguments in, one call into a room, one result out."""

from flows.commands.agreements import agreements
from flows.commands.audit import audit
from flows.commands.backfill import backfill
from flows.commands.close import close
from flows.commands.database import db
from flows.commands.demo import demo
from flows.commands.evaluate import evaluate
from flows.commands.exports import export
from flows.commands.index import attribute, index
from flows.commands.init import init
from flows.commands.intake import reconcile, retention
from flows.commands.methods import methods
from flows.commands.nightly import ingest, nightly
from flows.commands.payout import payout
from flows.commands.plan_sample import plan_sample
from flows.commands.quarantine import quarantine, sample
from flows.commands.report import report
from flows.commands.schedule import schedule
from flows.commands.settle import settle
from flows.commands.statement import statement, statements
from flows.commands.trace import trace
from flows.commands.worker import worker, workers
from flows.commands.works import works

COMMANDS = [
    agreements,
    attribute,
    audit,
    backfill,
    close,
    db,
    demo,
    evaluate,
    export,
    index,
    ingest,
    init,
    methods,
    nightly,
    payout,
    plan_sample,
    quarantine,
    reconcile,
    report,
    retention,
    sample,
    schedule,
    settle,
    statement,
    statements,
    trace,
    worker,
    workers,
    works,
]
