"""Organisations, by the legal form at the end of their names; a name without one is not told from other words."""

from itertools import dropwhile

_FORMS = (
    r"GmbH & Co\. ?KG(?:aA)?|AG & Co\. ?KG(?:aA)?|gGmbH|GmbH|mbH|KGaA|OHG|e\.V\.|(?:Pty |Pvt )?Ltd\.?|Limited|LLC|LLP"
    r"|L\.L\.C\.|Incorporated|Inc\.?|Corporation|Corp\.?|PLC|plc|S\.A\.S\.|S\.A\.|S\.r\.l\.|S\.p\.A\.|SARL|B\.V\.|N\.V\."
    r"|Oyj|Oy|ApS|A/S|sp\. z o\.o\.|s\.r\.o\.|K\.K\.|AG|KG|SE|BV|NV"
)
LEGAL_FORM = rf",? (?P<form>{_FORMS})"

MAX_WORDS = 8
MAX_NAME_CHARACTERS = 120
_LONGEST_SHORT_FORM = 4  # "Co." and "St." go on, "Bremen." ends a sentence
_JOINING = frozenset({"&", "and", "und", "et", "of", "de"})
_MARKS = frozenset("'\u2019&.,-")
_LEADING = frozenset(
    {"a", "an", "and", "as", "at", "attn", "between", "both", "buyer", "by", "client", "contact", "contractor",
     "customer", "dear", "for", "from", "if", "in", "invoice", "its", "messrs", "of", "on", "our", "payee",
     "recipient", "re", "seller", "since", "ship", "sold", "subsidiary", "supplier", "that", "the", "their", "this",
     "to", "vendor", "when", "where", "while", "with"}
)  # fmt: skip
_FORM_WORDS = frozenset(
    {"GmbH", "Ltd", "Limited", "LLC", "LLP", "Inc", "Corp", "PLC", "plc", "AG", "KG", "SE", "BV", "NV"}
)


def find_name(left: str, form: str) -> str | None:
    """Return the name that ends where a legal form begins, without the words of the sentence before it."""
    words = left[-MAX_NAME_CHARACTERS:].split(" ")
    if len(left) > MAX_NAME_CHARACTERS:
        words = words[1:]  # cut through
    name: list[str] = []
    for word in reversed(words[-MAX_WORDS:]):
        if not _goes_on(word, name):
            break
        name.insert(0, word)
    name = list(dropwhile(lambda word: word in _JOINING or word.strip(".,").lower() in _LEADING, name))
    return " ".join(name) if name and not _is_no_name(name, form) else None


def _goes_on(word: str, name: list[str]) -> bool:
    """Say whether the name may have this word before those that were found."""
    if word in _JOINING or word.isdigit():
        return bool(name)
    if name and (word.strip(".,") in _FORM_WORDS or (word.endswith(".") and len(word) > _LONGEST_SHORT_FORM)):
        return False
    if word.endswith(",") and "&" not in name:  # "Hartmann, Voss & Co." is one, "Bremen, Voss" are two
        return False
    return word[:1].isupper() and all(sign.isalnum() or sign in _MARKS for sign in word)


def _is_no_name(name: list[str], form: str) -> bool:
    """Say whether it is a unit or a class after all: "NET 25 KG", "TYPE B NV"."""
    last = name[-1]
    return last.isdigit() or (
        form in ("AG", "KG", "SE", "BV", "NV") and last.isupper() and (form == "KG" or len(last) < 3)
    )
