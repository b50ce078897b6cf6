#!/usr/bin/env python3
"""Calls of a wake hook, published to mosquitto: topic wake/CHANNEL, QoS 1. See ../WAKE.md.

mosquitto-bridge.py SECRET_FILE PORT [OPTION OF mosquitto_pub]...
"""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="ascii") as file:
    WEBHOOKS = [Webhook(secret) for secret in file.read().split()]  # two during a rotation


def publish(data):
    message = json.dumps({"attempt": data["attempt"], "until": data["offerExpiresAt"]})
    topic = "wake/" + data["channel"]["name"]  # a name has no character that topics give a meaning
    command = ["mosquitto_pub", *sys.argv[3:], "-q", "1", "-t", topic, "-m", message]
    try:
        return subprocess.run(command, timeout=4, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Bridge(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(self.status(body, headers))
        self.send_header("content-length", "0")
        self.end_headers()

    def status(self, body, headers):
        for webhook in WEBHOOKS:
            try:
                event = webhook.verify(body, headers)
            except WebhookVerificationError:
                continue
            if event["type"] != "channel.wake" or publish(event["data"]):
                return 204
            return 503  # the broker tries again
        return 401


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Bridge)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
