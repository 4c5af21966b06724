"""Where a path lies, beside the folders and the globs that a rule names. PURE.

A glob covers what it matches. It touches that too, what lies below it (a name that matches may be a folder's), and a
folder in which something could match; only what is known to be a file is no folder.
"""

from collections.abc import Callable

from toolgate.patterns import base_of, compile_glob, is_glob


def compile_covers(places: tuple[str, ...]) -> Callable[[str], bool]:
    """Return the test whether a path lies in one of the folders or matches one of the globs of `places`."""
    folders = tuple(place for place in places if not is_glob(place))
    matches = [compile_glob(place).matches for place in places if is_glob(place)]
    return lambda path: is_inside(path, folders) or any(match(path) for match in matches)


def compile_touches(places: tuple[str, ...]) -> Callable[[str, bool], bool]:
    """Return the test whether a path, which is a file or may be a folder, has to do with one of `places`."""
    folders = tuple(place for place in places if not is_glob(place))
    exact, below, has_all = frozenset(folders), tuple(f"{folder}/" for folder in folders), "" in folders
    globs = [compile_glob(place) for place in places if is_glob(place)]

    def touches(path: str, is_file: bool) -> bool:
        if has_all or path in exact or path.startswith(below):
            return True
        if reaches_into(path, folders):  # a folder above a named one reaches into it
            return True
        return bool(globs) and touches_glob(path, is_file)

    def touches_glob(path: str, is_file: bool) -> bool:
        if any(glob.matches_around(path) for glob in globs):
            return True
        return (not is_file or not path) and any(glob.may_match_below(path) for glob in globs)

    return touches


def is_inside(path: str, folders: tuple[str, ...]) -> bool:
    """Say whether `path` is one of `folders` or below it, by whole path components."""
    return any(not folder or path == folder or path.startswith(folder + "/") for folder in folders)


def reaches_into(path: str, folders: tuple[str, ...]) -> bool:
    """Say whether one of `folders` is below the folder `path`."""
    return any(not path or folder.startswith(path + "/") for folder in folders)


def may_overlap(one: str, other: str) -> bool:
    """Say whether some path could lie in both places; of globs only the folder is looked at that they lie in."""
    ours, theirs = base_of(one), base_of(other)
    return is_inside(ours, (theirs,)) or is_inside(theirs, (ours,))
