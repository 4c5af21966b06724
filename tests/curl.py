"""As much of curl as README uses, for a machine that has none: -s -S -N, -H, -d, -F file, -X and an address."""

import argparse
import sys
from pathlib import Path

import httpx2


def main() -> None:
    """Send one request and write the answer's body to stdout as it comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "-S", "-N", "-sS", "-sSN", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("-F", dest="form")
    parser.add_argument("url")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.headers)
    files = None
    if options.form:
        field, path = options.form.split("=@", 1)
        files = {field: (Path(path).name, Path(path).read_bytes(), "text/csv")}
    method = options.method or ("POST" if options.data or options.form else "GET")
    content = options.data.encode() if options.data else None
    with httpx2.stream(method, options.url, headers=headers, content=content, files=files, timeout=60) as answer:
        for piece in answer.iter_bytes():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
