"""The stand-alone `verify.py` of every pack, made from the very modules that verify a pack here.

1. It is one file that needs the standard library and `cryptography`, and nothing of ours.
2. Its code is the code of `MODULES`, in this order, with their imports of each other taken out;
   so its verdicts are the same, and a test runs both on every kind of damage.
3. It is the same text on every machine, so an auditor can compare it with the published one.
"""

from __future__ import annotations

import re
import textwrap
from functools import cache
from pathlib import Path

MODULES = (
    "audit_errors",
    "canonical",
    "merkle",
    "note",
    "checkpoint",
    "pack_format",
    "audit_leaf",
    "proof",
    "audit_statement",
    "audit_reversals",
    "audit_book",
    "audit_parallel",
    "audit_tables",
    "audit_frame",
    "audit_checks",
    "audit_draws",
    "audit_population",
    "audit_report",
    "audit",
)
_IMPORT = re.compile(r"^(?:from [^\n(]+ import (?:\([^)]*\)|[^\n]+)|import [^\n]+)\n", re.MULTILINE)
_FROM = re.compile(r"from (\S+) import ([^(]+)")
_HEADER = '''#!/usr/bin/env python3
"""Verify a Byline audit pack: python3 verify.py PACK --key KEY [--against CHECKPOINT] [--json]
Prove a statement: python3 verify.py STATEMENT.json --key KEY [--against EARLIER.json]

Needs Python 3.11 or newer and the package `cryptography`; no network, no database. Made from the
modules of the same names in the folder ledger/ of Byline, unchanged but for their imports:

{names}

{steps}
"""

from __future__ import annotations

{imports}


class LedgerError(Exception):
    """A caller asked for something the books do not allow."""
'''
_FOOTER = '''

# --- the command ------------------------------------------------------------------------------


def main() -> int:
    """Verify one pack or statement; the exit code is 0 only when every step held."""
    parser = argparse.ArgumentParser(description="Verify a Byline audit pack, offline.")
    parser.add_argument("pack", type=Path, help="the pack (.byline.zip), or a statement's JSON")
    parser.add_argument("--key", required=True, help="public key of the log, or a file of keys")
    parser.add_argument(
        "--against", action="append", default=[], type=Path, help="what you kept: see above"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes to use"
    )
    arguments = parser.parse_args()
    try:
        if is_statement(arguments.pack):
            lines = prove_statement(arguments.pack, arguments.key, arguments.against)
            sys.stdout.write("\\n".join(lines) + "\\n")
            return 0
        report = run_verify(
            arguments.pack, arguments.key, arguments.against, workers=arguments.workers
        )
    except (NoteError, VerificationError) as error:
        sys.stderr.write(f"NOT VERIFIED: {error}\\n")
        return 1
    except LedgerError as error:
        sys.stderr.write(f"{error}\\n")
        return 2
    if arguments.json:
        sys.stdout.write(json.dumps(report.as_json(), sort_keys=True) + "\\n")
    else:
        sys.stdout.write("\\n".join(report.lines()) + "\\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
'''


@cache
def standalone_source() -> str:
    """Return the text of verify.py."""
    folder = Path(__file__).parent
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    plain = {"import argparse", "import sys"}
    named: dict[str, set[str]] = {}
    bodies = []
    for name, source in sources.items():
        for line in _IMPORT.findall(source):
            if line.startswith(("from ledger", "from __future__")):
                continue
            found = _FROM.fullmatch(line.strip())
            if found is None:
                plain.add(line.strip())
            else:
                named.setdefault(found[1], set()).update(found[2].split(", "))
        body = _IMPORT.sub("", source).strip("\n")
        title = f"# --- ledger/{name}.py "
        bodies.append(f"\n\n{title.ljust(96, '-')}\n\n{body}\n")
    steps = sources["audit"].split('"""')[1].partition("\n\n")[2].strip()
    head = _HEADER.format(
        names=textwrap.fill(", ".join(MODULES), 96),
        steps=steps,
        imports="\n".join(
            sorted(plain) + [_from(module, named[module]) for module in sorted(named)]
        ),
    )
    return head + "".join(bodies) + _FOOTER


def _from(module: str, names: set[str]) -> str:
    return f"from {module} import {', '.join(sorted(names))}"
