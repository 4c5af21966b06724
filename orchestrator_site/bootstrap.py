"""What a fresh installation begins with: the roles as groups, two users, and the examples in the workspace."""

import secrets
import shutil
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from audit.context import SYSTEM, acting
from audit.transactions import write_transaction
from orchestrator_site.env import write_private
from orchestrator_site.exceptions import NameInvalid
from orchestrator_site.roles import Role

FIRST_USERS: Final = {"admin": Role.ADMIN, "approver": Role.APPROVER}
FOLDERS: Final = ("uploads", "artifacts", "research")  # of the workspace
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # none that are mistaken for another
_HEAD: Final = "# The first logins of the console. Change the passwords there; then this file is out of date.\n"

Logins = list[tuple[str, str]]  # user name, password


def logins_path() -> Path:
    """Return where the generated logins are kept, readable by their owner only."""
    return Path(settings.VAR) / "run" / "logins.txt"


def bootstrap_users(*, now: datetime) -> Logins:
    """Make the roles' groups and, where there is no user at all, the first two; return what the file of logins holds.

    The file is written before the users are made: if the process dies in between, the next start makes them with
    the passwords that the file promises.
    """
    for role in Role:
        Group.objects.get_or_create(name=role.value)
    if not User.objects.exists():
        logins = read_logins() or _write_logins()
        with write_transaction():
            for name, password in logins:
                if name in FIRST_USERS:
                    create_user(name, password=password, roles=[FIRST_USERS[name]], now=now)
    return read_logins()


def read_logins() -> Logins:
    """Return the generated logins, none if the file is gone."""
    try:
        lines = logins_path().read_text().splitlines()
    except FileNotFoundError:
        return []
    pairs = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _write_logins() -> Logins:
    logins = [(name, make_password()) for name in FIRST_USERS]
    logins_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(logins_path(), _HEAD + "".join(f"{name:<10} {password}\n" for name, password in logins))
    return logins


def make_password() -> str:
    """Return a password of about 99 bits that can be read aloud."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def create_user(name: str, *, password: str, roles: Collection[Role], now: datetime, created_by: str = SYSTEM) -> User:
    """Make a user with roles, audited.

    Raises: NameInvalid if the name is taken, in any case of its letters, or is none; also for a weak password.
    """
    if User.objects.filter(username__iexact=name).exists():
        raise NameInvalid(f"There is a user {ascii(name)[1:-1]} already. Nobody was made.")
    user = User(username=name, date_joined=now)
    try:
        user.clean_fields(exclude=["password"])
        validate_password(password, user)
    except ValidationError as error:
        raise NameInvalid(f"{' '.join(error.messages)} Nobody was made.") from error
    user.set_password(password)
    names = sorted(role.value for role in roles)
    with acting(actor=created_by), write_transaction():  # `user_audit` tells of both
        user.save(force_insert=True)
        user.groups.set([Group.objects.get_or_create(name=role)[0] for role in names])
    return user


def copy_examples() -> None:
    """Make the workspace's folders, and copy the examples into it unless they are there: edits are kept."""
    root: Path = settings.WORKSPACE_ROOT
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    target = root / "examples"
    if target.exists() or not settings.EXAMPLES_DIR.is_dir():
        return
    # Whole or not at all: a copy that was cut off is not taken for the examples.
    partial = root / f".examples.{secrets.token_hex(4)}"
    try:
        shutil.copytree(settings.EXAMPLES_DIR, partial, symlinks=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
