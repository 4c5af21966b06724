"""Which key does what: one table for the pages, which carry the keys, and for the help, which lists them. PURE."""

from dataclasses import dataclass
from typing import Final

GO: Final = {  # by page: the letter that leads there after G
    "console:overview": "o",
    "console:live": "l",
    "console:task_list": "t",
    "console:approval_list": "a",
    "console:permissions": "p",
    "console:cost": "c",
    "console:event_list": "u",
    "console:agent_list": "g",
    "console:skill_list": "k",
    "console:system": "s",
}


@dataclass(frozen=True, slots=True)
class Key:
    """Keys that are pressed, one after the other or as alternatives, and what they do."""

    keys: tuple[str, ...]
    does: str


EVERYWHERE: Final = (
    Key(("Ctrl K", "⌘ K"), "find a page, a task, an agent, a rule …"),
    Key(("?",), "this help"),
    Key(("/",), "to the filters of a list"),
    Key(("J", "K"), "to the next, to the last row of a list"),
    Key(("Enter",), "open the row"),
)
_PEEK: Final = (
    Key(("Enter",), "open the row beside the list; once more, on its page"),
    Key(("J", "K"), "with it open: show the next, the last"),
    Key(("Esc",), "close the panel"),
)
_ANSWER: Final = (
    Key(("A",), "to the button that approves; Enter presses it"),
    Key(("R",), "to the button that refuses"),
)
_ALONG: Final = Key(("J", "K"), "show the next, the last request")
BY_PAGE: Final[dict[str, tuple[Key, ...]]] = {
    "live": (Key(("P",), "pause, and go on"),),
    "task_list": _PEEK,
    "event_list": _PEEK,
    "task": _ANSWER,
    "approval_list": (_ALONG, *_ANSWER),
    "approval": (_ALONG, *_ANSWER),
    "permissions": (
        Key(("←", "→", "↑", "↓"), "move in the grid"),
        Key(("Home", "End"), "to the ends of a row; with Ctrl, of the grid"),
        Key(("Enter",), "open the cell"),
    ),
}
