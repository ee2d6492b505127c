"""A small HTTP service over the standard library: GET /health and POST /sign-in."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backend.auth import hash_password, may_manage, sign_in
from backend.users import User, add_user

BODY_BYTES_MAX = 4096


def handler_for(store):
    """Returns a request handler class over a store of users."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/health":
                self.answer(200, {"status": "ok", "users": len(store)})
            else:
                self.answer(404, {"error": "not found"})

        def do_POST(self):
            if self.path != "/sign-in":
                self.answer(404, {"error": "not found"})
                return
            given = self.credentials()
            if given is None:
                self.answer(400, {"error": "expected JSON with name and password"})
                return
            user = sign_in(store, *given)
            if user is None:
                self.answer(401, {"error": "wrong name or password"})
            else:
                self.answer(200, {"name": user.name, "may_manage": may_manage(user)})

        def credentials(self):
            try:
                length = int(self.headers.get("Content-Length", "0"))
                if not 0 < length <= BODY_BYTES_MAX:
                    return None
                body = json.loads(self.rfile.read(length))
                name, password = body["name"], body["password"]
            except (ValueError, KeyError, TypeError):
                return None
            return (name, password) if isinstance(name, str) and isinstance(password, str) else None

        def answer(self, status, body):
            data = json.dumps(body).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Says nothing: a request may name a user."""

    return Handler


def make_server(store, port=0):
    """Returns a server on this machine; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), handler_for(store))


def main():
    store = {}
    salt, password_hash = hash_password(os.environ["ADMIN_PASSWORD"])
    add_user(store, User("admin", "administrator", salt, password_hash))
    server = make_server(store, int(os.environ.get("PORT", "8080")))
    print(f"listening on http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    main()
