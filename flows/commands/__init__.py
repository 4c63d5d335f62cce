"""The commands, one file each: arguments in, one call into a room, one result out."""

from flows.commands.init import init
from flows.commands.worker import worker

COMMANDS = [init, worker]
