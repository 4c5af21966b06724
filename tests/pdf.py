"""PDF files for tests: pages of words and rules, each at its place in points from the lower left corner."""

from collections.abc import Iterable

# One blank page under the password "secret" (RC4-128), as another writer made it.
LOCKED = (
    "JVBERi0xLjMKJeLjz9MKMSAwIG9iago8PAovUHJvZHVjZXIgPGY4NTNkYmFlZjQ+Cj4+CmVuZG9iagoyIDAgb2JqCjw8Ci9UeXBlIC9QYWdlcw"
    "ovQ291bnQgMQovS2lkcyBbIDQgMCBSIF0KPj4KZW5kb2JqCjMgMCBvYmoKPDwKL1R5cGUgL0NhdGFsb2cKL1BhZ2VzIDIgMCBSCj4+CmVuZG9i"
    "ago0IDAgb2JqCjw8Ci9UeXBlIC9QYWdlCi9SZXNvdXJjZXMgPDwKPj4KL01lZGlhQm94IFsgMC4wIDAuMCA3MiA3MiBdCi9QYXJlbnQgMiAwIF"
    "IKPj4KZW5kb2JqCjUgMCBvYmoKPDwKL1YgMgovUiAzCi9MZW5ndGggMTI4Ci9QIDQyOTQ5NjcyOTIKL0ZpbHRlciAvU3RhbmRhcmQKL08gPDBl"
    "NTIyOTI1YTNlNGU4NzRjM2NmYWNiZWY1MTFhNzNhYzRlYzJiZDg2NWRjZDNkNDYyNzYxNDkxN2FiZmQ3ZTQ+Ci9VIDw5MjFhNGEwNzZkNWNiZD"
    "AyMzc3NjU5ODdkYWNmODhhNDI4YmY0ZTVlNGU3NThhNDE2NDAwNGU1NmZmZmEwMTA4Pgo+PgplbmRvYmoKeHJlZgowIDYKMDAwMDAwMDAwMCA2"
    "NTUzNSBmIAowMDAwMDAwMDE1IDAwMDAwIG4gCjAwMDAwMDAwNTkgMDAwMDAgbiAKMDAwMDAwMDExOCAwMDAwMCBuIAowMDAwMDAwMTY3IDAwMD"
    "AwIG4gCjAwMDAwMDAyNTkgMDAwMDAgbiAKdHJhaWxlcgo8PAovU2l6ZSA2Ci9Sb290IDMgMCBSCi9JbmZvIDEgMCBSCi9JRCBbIDw1MDM0MDY5"
    "ODM1YTYzOTg3YTAxMzM2ZDA3YTdkYWFiMT4gPDUwMzQwNjk4MzVhNjM5ODdhMDEzMzZkMDdhN2RhYWIxPiBdCi9FbmNyeXB0IDUgMCBSCj4+Cn"
    "N0YXJ0eHJlZgo0NzQKJSVFT0YK"
)


def write(x: float, y: float, text: str, *, size: float = 10, bold: bool = False) -> str:
    """Return the drawing of one line of text."""
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F{2 if bold else 1} {size} Tf {x} {y} Td ({escaped}) Tj ET"


def draw(x0: float, y0: float, x1: float, y1: float) -> str:
    """Return the drawing of one straight line."""
    return f"{x0} {y0} m {x1} {y1} l S"


def rule_table(x: float, y: float, rows: list[list[str]], *, width: float = 90, height: float = 20) -> list[str]:
    """Return the drawings of a ruled table whose upper left corner stands at `x`, `y`."""
    columns = len(rows[0])
    right, low = x + columns * width, y - len(rows) * height
    rules = [draw(x, y - height * row, right, y - height * row) for row in range(len(rows) + 1)]
    rules += [draw(x + width * column, y, x + width * column, low) for column in range(columns + 1)]
    cells = [
        write(x + 4 + width * column, y - height * (row + 1) + 6, text)
        for row, texts in enumerate(rows)
        for column, text in enumerate(texts)
    ]
    return [*rules, *cells]


def make_pdf(*pages: Iterable[str]) -> bytes:
    """Return a PDF of the given pages; each is the drawings on it."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >> "
        "/F2 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >> >>",
    ]
    for number, drawings in enumerate(pages):
        content = "\n".join(drawings)
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font 3 0 R >> "
            f"/Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(content.encode('cp1252'))} >>\nstream\n{content}\nendstream")
    return _assemble(objects)


def _assemble(objects: list[str]) -> bytes:
    data, places = bytearray(b"%PDF-1.7\n"), []
    for number, text in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{text}\nendobj\n".encode("cp1252")
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    data += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(data)
