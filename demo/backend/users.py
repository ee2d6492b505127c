"""The users of the service, in memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    name: str
    role: str
    salt: bytes
    password_hash: bytes


def add_user(store, user):
    """Adds a user; a name is taken once."""
    if user.name in store:
        raise ValueError(f"the name {user.name!r} is taken")
    store[user.name] = user


def find_user(store, name):
    """Returns the user of that name, or None."""
    return store.get(name)
