"""What the tests of bundles share: a log that is signed, and the auditor's program in an environment of its own."""

import contextlib
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import cryptography

from audit.bundles import verify_trail as program
from audit.bundles.bundle import Bundle, prepare_bundle, write_bundle
from audit.proof.keys import load_verifier
from audit.sequencer import Sequencer
from tests.running import ROOT

PROGRAM = ROOT / "audit" / "bundles" / "verify_trail.py"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the verifier ended and what it said."""

    code: int
    output: str

    @property
    def problems(self) -> list[str]:
        """The words in which its findings are named."""
        lines = self.output.splitlines()
        return [line.rpartition("(")[2].rstrip(")") for line in lines if line.startswith("BROKEN: ")]


class Auditor:
    """Somebody with Python, `cryptography` and the verifier's one file; nothing else of this program."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        packages = next(folder.glob("lib/python*/site-packages"))
        source = Path(cryptography.__file__).parents[1]
        wanted = ["cryptography", "cffi", "pycparser", *(path.name for path in source.glob("_cffi_backend*"))]
        for name in wanted:
            if (source / name).exists():
                (packages / name).symlink_to(source / name)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.program = folder / PROGRAM.name
        self.program.write_bytes(PROGRAM.read_bytes())

    def run(self, *arguments: object) -> Verdict:
        """Run the program. Raises: AssertionError if it ends in any but its three ways."""
        command = [str(self.python), "-I", str(self.program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in {0, 1, 2}, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return Verdict(done.returncode, done.stdout + done.stderr)

    def check(self, content: bytes, *, known: Sequence[str] = (), key: str | None = None) -> Verdict:
        """Check a file of this content, against the notes that are known."""
        file = self.folder / "given"
        file.write_bytes(content)
        arguments: list[object] = [file, "--key", key or load_verifier()]
        if known:
            (self.folder / "known").write_text("\n".join(known))
            arguments += ["--known", self.folder / "known"]
        return self.run(*arguments)


def judge(content: bytes, folder: Path, *, known: Sequence[str] = (), key: str | None = None) -> Verdict:
    """Return what the program says of a file of this content; as `Auditor.check`, but in this process: for many."""
    file, kept = folder / "judged", folder / "judged-known"
    file.write_bytes(content)
    kept.write_text("\n".join(known))
    arguments = ["verify_trail.py", str(file), "--key", key or str(load_verifier())]
    before, out = sys.argv, StringIO()
    sys.argv = [*arguments, "--known", str(kept)] if known else arguments
    try:
        with contextlib.redirect_stdout(out):
            code = program.main()
    finally:
        sys.argv = before
    return Verdict(code, out.getvalue())


def rejoin(lines: Sequence[bytes]) -> bytes:
    """Return lines, the last for the end, as a file that has the right digest: what somebody would make who can."""
    content = b"".join(lines[:-1])
    return pack(content + b'{"end":"%b"}\n' % sha256(content).hexdigest().encode())


def number_all() -> None:
    """Number and sign what is in the ledger, and ship it if there is a store."""
    sequencer = Sequencer("bundles", steal=True)
    while sequencer.step():
        pass
    sequencer.release()


def pack(lines: bytes) -> bytes:
    """Return lines as the file that they travel in."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(lines) + packer.flush()


def unpack(content: bytes) -> bytes:
    return zlib.decompress(content, wbits=31)


def export(**options: Any) -> bytes:
    """Return a bundle's bytes."""
    stream = BytesIO()
    bundle: Bundle = prepare_bundle(**{"made_by": "user:axel"} | options)
    write_bundle(stream, bundle)
    return stream.getvalue()
