"""What the tests start from."""

from backend.auth import hash_password
from backend.users import User, add_user


def store_with(**passwords):
    """Returns a store of users with these passwords; `admin` is the administrator."""
    store = {}
    for name, password in passwords.items():
        salt, password_hash = hash_password(password)
        role = "administrator" if name == "admin" else "member"
        add_user(store, User(name, role, salt, password_hash))
    return store
