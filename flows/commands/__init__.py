"""The commands, one file each: arguments in, one call into a room, one result out."""

from flows.commands.audit import audit, statement
from flows.commands.backfill import backfill
from flows.commands.close import close, report
from flows.commands.database import db
from flows.commands.demo import demo
from flows.commands.evaluate import evaluate
from flows.commands.index import attribute, index
from flows.commands.init import init
from flows.commands.intake import reconcile, retention
from flows.commands.methods import methods
from flows.commands.nightly import ingest, nightly
from flows.commands.plan_sample import plan_sample
from flows.commands.quarantine import quarantine, sample
from flows.commands.schedule import schedule
from flows.commands.trace import trace
from flows.commands.worker import worker

COMMANDS = [
    attribute,
    audit,
    backfill,
    close,
    db,
    demo,
    evaluate,
    index,
    ingest,
    init,
    methods,
    nightly,
    plan_sample,
    quarantine,
    reconcile,
    report,
    retention,
    sample,
    schedule,
    statement,
    trace,
    worker,
]
