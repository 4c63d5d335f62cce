"""Every error the flows raise on purpose. Bugs are assertions and are not listed here.

Each text says what happened, where, both values, the consequence and the next step, because
the command line prints it as it is, without a traceback.
"""

from __future__ import annotations


class FlowError(Exception):
    """A run cannot go on as asked; nothing half-written stays behind."""


class SettingsError(FlowError):
    """A settings file or an environment variable says something Byline does not understand."""


class UnknownSettingError(SettingsError):
    """A settings key nobody reads; a typing mistake there must not be silent."""

    def __init__(self, key: str, where: str, closest: str | None) -> None:
        self.key = key
        self.where = where
        self.closest = closest
        hint = f"did you mean {closest!r}?" if closest else "no known key is close to it;"
        super().__init__(
            f"{where}: unknown settings key {key!r}; {hint} "
            f"Correct or remove it (`byline init` prints every key); nothing was run"
        )


class SettingValueError(SettingsError):
    """A known settings key with a value it cannot have."""

    def __init__(self, key: str, where: str, value: object, reason: str) -> None:
        self.key = key
        self.where = where
        self.value = value
        super().__init__(
            f"{where}: settings key {key!r} has the value {value!r}: {reason}; nothing was run"
        )


class WorkspaceError(FlowError):
    """The workspace folder lacks something a step needs."""


class LockHeldError(FlowError):
    """Another process is already doing this; two at once would do the same work twice."""

    def __init__(self, name: str, path: str, holder: str) -> None:
        self.name = name
        self.path = path
        self.holder = holder
        super().__init__(
            f"{name} is already running: {path} is held by {holder}; "
            f"wait for it to end or stop that process, then give the same command again"
        )


class DiskFullError(FlowError):
    """The disk has no room for what a step writes."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"no space left on the disk while writing {where}; the unfinished file was removed "
            f"and nothing was posted from it. Free some space and give the same command again"
        )


class DatabaseUnavailableError(FlowError):
    """The ledger's database cannot be reached or is locked by somebody else."""


class NightError(FlowError):
    """A night cannot be finished with what it was given."""


class ShardError(FlowError):
    """A shard of the sample failed more often than it may."""


class BrokerError(FlowError):
    """The message broker named in the settings cannot be used."""


class CloseError(FlowError):
    """A period cannot be closed as asked."""


class AgreementDeskError(FlowError):
    """An agreement, an offer or a work's shares cannot be taken in or decided as asked."""


class DemoError(FlowError):
    """The demonstration found something that is not as it promises."""
