"""Commands are documented: every one has help, the README names it, and README commands run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from flows.cli import cli
from flows.settings import render_settings

ROOT = Path(__file__).parents[2]


def command_paths(group: click.Command, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return every command under a group as its words: ("audit", "verify")."""
    if not isinstance(group, click.Group):
        return [prefix]
    return [
        path
        for name, command in sorted(group.commands.items())
        for path in command_paths(command, (*prefix, name))
    ]


def find_command(words: tuple[str, ...]) -> click.Command:
    """Return the command its words name."""
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group), words
        command = command.commands[word]
    return command


def readme_commands() -> list[str]:
    """Return the `byline ...` and `make ...` lines of the README's shell blocks."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", readme, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("byline ", "make ", ".venv/bin/byline "))]


@pytest.mark.parametrize("words", command_paths(cli), ids=" ".join)
def test_every_command_has_help_and_json(words):
    """A command says in one sentence what comes out, and speaks JSON to machines."""
    command = find_command(words)
    assert command.help, f"byline {' '.join(words)} has no help text"
    assert command.help.strip().splitlines()[0].endswith("."), command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{words}: option {parameter.name} has no help text"
    assert any(parameter.name == "as_json" for parameter in command.params), words


@pytest.mark.parametrize("words", command_paths(cli), ids=" ".join)
def test_every_command_is_in_the_readme(words):
    """A command nobody can read about does not exist."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"byline {' '.join(words)}" in readme


@pytest.mark.parametrize("line", readme_commands())
def test_readme_commands_are_real(line):
    """Each command line of the README parses: its words, its options, its make target."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, line
        return
    command: click.Command = cli
    context = click.Context(cli, info_name="byline")
    rest = words[1:]
    while isinstance(command, click.Group):
        assert rest, line
        assert rest[0] in command.commands, line
        command = command.commands[rest[0]]
        context = click.Context(command, info_name=rest[0], parent=context)
        rest = rest[1:]
    known = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"{line}: {unknown} is not an option of the command"


def test_help_lists_every_command():
    """`byline --help` names each command once, from a real process."""
    shown = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    for name in cli.commands:
        assert re.search(rf"^\s+{name}\b", shown, re.MULTILINE), f"{name} is not in --help"


def test_make_help_names_every_target_and_the_readme_targets_would_run():
    """The targets a newcomer is told to run exist, and make can plan them."""
    shown = subprocess.run(
        ["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for line in readme_commands():
        if line.startswith("make "):
            target = shlex.split(line, comments=True)[1]
            assert re.search(rf"^\s+{target}\s", shown, re.MULTILINE), f"{target} is not in help"
            subprocess.run(["make", "-n", target], capture_output=True, check=True, cwd=ROOT)


def test_the_example_settings_are_the_defaults():
    """`byline.toml` in the root lists every key with the value it has when nobody sets it."""
    shown = (ROOT / "byline.toml").read_text(encoding="utf-8")
    assert shown == render_settings({}), "write it anew from flows.settings.render_settings({})"
