import unittest

from backend.auth import hash_password, may_manage, sign_in
from tests.helpers import store_with


class SignIn(unittest.TestCase):
    def setUp(self):
        self.store = store_with(admin="correct horse", mira="battery staple")

    def test_right_password(self):
        self.assertEqual(sign_in(self.store, "mira", "battery staple").name, "mira")
        self.assertEqual(sign_in(self.store, "admin", "correct horse").name, "admin")

    def test_wrong_password(self):
        self.assertIsNone(sign_in(self.store, "mira", "correct horse"))

    def test_unknown_name(self):
        self.assertIsNone(sign_in(self.store, "nobody", "battery staple"))

    def test_admin_needs_the_password_too(self):
        self.assertIsNone(sign_in(self.store, "admin", "a guess"))

    def test_admin_with_an_empty_password(self):
        self.assertIsNone(sign_in(self.store, "admin", ""))


class Passwords(unittest.TestCase):
    def test_every_hash_has_its_own_salt(self):
        self.assertNotEqual(hash_password("same"), hash_password("same"))

    def test_a_salt_makes_the_hash_repeatable(self):
        salt, password_hash = hash_password("same")
        self.assertEqual(hash_password("same", salt), (salt, password_hash))


class Rights(unittest.TestCase):
    def test_only_administrators_manage(self):
        store = store_with(admin="a", mira="b")
        self.assertTrue(may_manage(store["admin"]))
        self.assertFalse(may_manage(store["mira"]))
        self.assertFalse(may_manage(None))


if __name__ == "__main__":
    unittest.main()
