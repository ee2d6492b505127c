import json
import threading
import unittest
import urllib.error
import urllib.request

from backend.server import make_server
from tests.helpers import store_with


class Server(unittest.TestCase):
    def setUp(self):
        self.server = make_server(store_with(admin="correct horse", mira="battery staple"))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def tearDown(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode("utf-8")
        url = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, data), timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def test_health(self):
        self.assertEqual(self.ask("/health"), (200, {"status": "ok", "users": 2}))

    def test_sign_in(self):
        given = {"name": "mira", "password": "battery staple"}
        self.assertEqual(self.ask("/sign-in", given), (200, {"name": "mira", "may_manage": False}))

    def test_nobody_manages_without_a_password(self):
        given = {"name": "admin", "password": ""}
        self.assertEqual(self.ask("/sign-in", given), (401, {"error": "wrong name or password"}))

    def test_bad_requests(self):
        self.assertEqual(self.ask("/sign-in", ["admin"])[0], 400)
        self.assertEqual(self.ask("/elsewhere")[0], 404)


if __name__ == "__main__":
    unittest.main()
