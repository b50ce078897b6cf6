"""A receiver of hooks: verifies each event by the library of Standard Webhooks, and prints what came.

Its argument is the file of the secret. The first line is its port; then one a line: `verified TYPE CHANNEL`, or
`refused`. A request whose body was changed on the way must be refused: it tries that with each event.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="ascii") as file:
    WEBHOOK = Webhook(file.read().split()[0])


def is_right(body, headers):
    try:
        WEBHOOK.verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        right = is_right(body, headers) and not is_right(body.replace(b"type", b"kind"), headers)
        event = json.loads(body)
        channel = event["data"].get("channel", {}).get("name", "-")
        print("verified" if right else "refused", event["type"], channel, flush=True)
        self.send_response(204 if right else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_port, flush=True)
    server.serve_forever()
