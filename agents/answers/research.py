"""Market research: what is said of a page was fetched from it, in this run."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from agents.answers.facts import SOURCE_FETCH, Facts, Output
from agents.schemas import cut
from agents.types import Constraints

Fetch = Mapping[str, Any]
Pages = Mapping[str, list[Fetch]]

_URL = re.compile(r"https?://[^\s<>\"`\[\]|\\^{}]+", re.IGNORECASE)
_BEHIND = ".,;:!?'*_)"  # stands behind a URL in a sentence more often than in it
_FIRST_ERROR = 400
_ENOUGH = 2


def set_times(output: Output, facts: Facts) -> Output:
    """Put the time of the fetch into every finding that one bears out."""
    pages = _list_pages(facts)
    return {**output, "findings": [_set_time(finding, pages) for finding in output["findings"]]}


def _set_time(finding: Output, pages: Pages) -> Output:
    fetch = _find_fetch(finding, pages)
    return finding if fetch is None else {**finding, "fetchedAt": fetch["fetchedAt"]}


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield every finding, citation and degree of confidence that the run's fetches do not bear out."""
    pages = _list_pages(facts)
    tried = {same_page(call.arguments.get("url")) for call in facts.of(SOURCE_FETCH)}
    for number, finding in enumerate(output["findings"]):
        yield from _check_finding(f"findings[{number}]", finding, pages, tried)
    yield from _check_all_reported(output, facts)
    yield from _check_synthesis(output, pages)
    sources = {
        fetch["finalUrl"]
        for finding in output["findings"]
        if (fetch := _find_fetch(finding, pages)) and _is_good(fetch)
    }
    if output["confidence"] == "high" and len(sources) < _ENOUGH:
        yield f"confidence is high with {len(sources)} fetched pages; high takes two. Fetch more, or lower it."


def _check_finding(place: str, finding: Output, pages: Pages, tried: set[str]) -> Iterator[str]:
    url, page = cut(finding["url"]), same_page(finding["url"])
    fetches = pages.get(page, [])
    if "error" in finding:
        if any(_is_good(fetch) for fetch in fetches):
            yield f"{place}: an error is reported for {url}, but it was fetched. Report what it says."
        elif page not in tried:
            yield f"{place}: an error is reported for {url}, which was never called. Call sourceFetch, or leave it out."
    elif not fetches:
        yield f"{place}: {url} was not fetched in this run. Fetch it, or report it with its error."
    elif _find_fetch(finding, pages) is None:
        real = fetches[-1]
        yield f"{place}: {url} came with statusCode {real['statusCode']} and contentSize {real['sizeBytes']}."


def _check_all_reported(output: Output, facts: Facts) -> Iterator[str]:
    reported = {same_page(finding["url"]) for finding in output["findings"]}
    for url in facts.input.get("urls", ()):
        if same_page(url) not in reported:
            yield f"{cut(url)} was asked for and is in no finding. Report what it says, or its error."


def _check_synthesis(output: Output, pages: Pages) -> Iterator[str]:
    cited = list(dict.fromkeys(_URL.findall(output["synthesis"])))
    for url in cited:
        if not pages.keys() & {same_page(url), same_page(url.rstrip(_BEHIND))}:
            yield f"synthesis cites {cut(url.rstrip(_BEHIND))}, which was not fetched. Fetch it, or leave it out."
    has_source = any(_is_good(fetch) for finding in output["findings"] if (fetch := _find_fetch(finding, pages)))
    if has_source and not cited:
        yield "synthesis cites no page. Put the URL of a fetched page behind each claim."


# --- the fetches ----------------------------------------------------------------------------------------------
def _list_pages(facts: Facts) -> Pages:
    """Return what was fetched, by the address asked for and by the one it came from."""
    pages: dict[str, list[Fetch]] = defaultdict(list)
    for call in facts.done(SOURCE_FETCH):
        for page in {same_page(call.result.get("url")), same_page(call.result.get("finalUrl"))}:
            pages[page].append(call.result)
    return dict(pages)


def _find_fetch(finding: Output, pages: Pages) -> Fetch | None:
    for fetch in pages.get(same_page(finding["url"]), []):
        if (fetch["statusCode"], fetch["sizeBytes"]) == (finding.get("statusCode"), finding.get("contentSize")):
            return fetch
    return None


def _is_good(fetch: Fetch) -> bool:
    return bool(fetch["statusCode"] < _FIRST_ERROR)


def same_page(url: Any) -> str:
    """Return an address for comparing: without fragment and last slash, host in lower case."""
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return str(url)
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/"), fragment=""
    ).geturl()
