"""Write the golden files anew: `python -m tests.golden.regenerate`; review the diff like code."""

from pathlib import Path

from tests.golden.cases import golden_files

FOLDER = Path(__file__).parent


def main():
    """Write every golden file and remove those that no case makes any more."""
    files = golden_files()
    for folder in {Path(name).parts[0] for name in files}:
        (FOLDER / folder).mkdir(exist_ok=True)
        for path in (FOLDER / folder).iterdir():
            if str(path.relative_to(FOLDER)) not in files:
                path.unlink()
    for name, data in files.items():
        path = FOLDER / name
        path.write_bytes(data)
        print(f"{name}  {len(data)} bytes")  # noqa: T201 - a command says what it did.


if __name__ == "__main__":
    main()
