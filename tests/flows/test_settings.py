"""Settings are strict: what nobody reads is an error that names key, file and closest known key."""

import pytest

from flows import cli
from flows.errors import SettingsError, SettingValueError, UnknownSettingError
from flows.settings import FILE_NAME, known_keys, load_settings, render_settings


def write(folder, text):
    """Write a settings file."""
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def test_a_written_settings_file_reads_back_to_the_defaults(tmp_path):
    """`byline init` writes every key, and reading the file changes nothing."""
    write(tmp_path, render_settings())
    assert load_settings(tmp_path) == load_settings(tmp_path / "empty")


def test_every_key_is_in_the_written_file():
    """No setting is hidden."""
    text = render_settings()
    assert all(f"\n{key.partition('.')[2]} = " in text for key in known_keys())


def test_an_unknown_key_is_named_with_its_line_and_the_closest_known_one(tmp_path):
    """A typing mistake in the settings must not be silent."""
    write(tmp_path, '[ledger]\nulr = "sqlite://"\n')
    with pytest.raises(UnknownSettingError, match=r"line 2.*'ledger\.ulr'.*'ledger\.url'"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ["[legder]\nurl = 'x'\n", "[legder]\n", "legder = 1\n"])
def test_an_unknown_section_is_refused(tmp_path, text):
    """A whole section nobody reads is no better than a key."""
    write(tmp_path, text)
    with pytest.raises(UnknownSettingError, match="legder"):
        load_settings(tmp_path)


def test_an_unknown_environment_variable_is_refused(tmp_path):
    """The environment is held to the same rule as the file."""
    environ = {"BYLINE_NIGHT__SAMPEL_SIZE": "3"}
    with pytest.raises(UnknownSettingError, match=r"BYLINE_NIGHT__SAMPEL_SIZE.*night\.sample_size"):
        load_settings(tmp_path, environ=environ)


def test_variables_of_tests_are_no_settings(tmp_path):
    """Names without a section belong to somebody else."""
    load_settings(tmp_path, environ={"BYLINE_TEST_REDIS_URL": "redis://x", "BYLINE_DIR": "/x"})


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    """A deployment changes a setting without touching the file."""
    write(tmp_path, "[night]\nsample_size = 5\n")
    assert load_settings(tmp_path).night.sample_size == 5
    monkeypatch.setenv("BYLINE_NIGHT__SAMPLE_SIZE", "7")
    assert load_settings(tmp_path).night.sample_size == 7


def test_a_wrong_value_is_named_with_its_key_and_line(tmp_path):
    """The text says which key, where, what it was and what it may be."""
    write(tmp_path, "[night]\n\nsample_size = 0\n")
    with pytest.raises(SettingValueError, match=r"line 3.*'night\.sample_size'.*0"):
        load_settings(tmp_path)


def test_a_currency_without_a_scale_is_refused(tmp_path):
    """Money without a scale cannot be whole units."""
    write(tmp_path, '[pool]\ncurrency = "USD"\n')
    with pytest.raises(SettingValueError, match="CODE/SCALE"):
        load_settings(tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    """The parser's line and column reach the reader."""
    write(tmp_path, "[night\n")
    with pytest.raises(SettingsError, match=r"byline\.toml is not a TOML file.*line 1"):
        load_settings(tmp_path)


@pytest.mark.parametrize("root", ["s3://bucket/byline", "gs://b", "file:///var/lib/byline"])
def test_artefacts_on_a_url_are_refused_with_what_to_do(tmp_path, root):
    """A lock and a whole replacement need a folder; no folder of that name is made."""
    write(tmp_path, f'[store]\nroot = "{root}"\n')
    with pytest.raises(
        SettingValueError, match=r"store\.root.*name a mounted one instead of a URL"
    ):
        load_settings(tmp_path)


@pytest.mark.parametrize("command", [["init"], ["nightly", "--date", "2026-10-30"], ["report"]])
def test_a_workspace_on_a_url_is_refused_and_nothing_is_made(
    tmp_path, monkeypatch, capsys, command
):
    """Also where the shell or a library has taken a slash out of it."""
    monkeypatch.chdir(tmp_path)
    period = ["--period", "2026-10"] if command == ["report"] else []
    assert cli.run([*command, *period, "--dir", "s3://bucket/byline"]) == 1
    said = capsys.readouterr().err
    assert "is a URL, and a workspace is a folder" in said
    assert "mount it" in said
    assert not list(tmp_path.iterdir())
