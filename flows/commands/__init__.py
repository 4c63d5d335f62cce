"""The commands, one file each: arguments in, one call into a room, one result out."""

from flows.commands.demo import demo
from flows.commands.init import init
from flows.commands.nightly import ingest, nightly
from flows.commands.worker import worker

COMMANDS = [demo, init, ingest, nightly, worker]
