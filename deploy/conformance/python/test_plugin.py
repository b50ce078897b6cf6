"""The pytest plugin: its README as printed, its errors, many workers, and the end of its broker."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SECONDS = 60
PYTEST = Path(sys.executable).with_name("pytest")
PLUGIN = Path(__file__).resolve().parents[2] / "testing" / "python"
PATH = ["-p", "heliograph_testing"]

TOKEN = '''
import os, urllib.error, urllib.request, heliograph_testing, pytest

def test_token():
    with heliograph_testing.start("--config", "broker.toml") as heliograph:
        assert heliograph.clock.now()["wallSkew"] == "0s"
        assert os.path.samefile(heliograph.environment["HELIOGRAPH_ADMIN_TOKEN_FILE"], "admin.token")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(heliograph.admin + "/dev/clock")
'''

# What a test leaves behind is gone in the next one of its worker.
TIDY = '''
import asyncio, boto3, pytest, ssl
from websockets.asyncio.client import connect

# All on one thread: before Python 3.13 a TLS connection may lose what one thread sends while another one receives.
LOOP = asyncio.new_event_loop()

async def viewer_that_sends(url, trust, text):
    viewer = await connect(url, ssl=trust, proxy=None)
    await viewer.send(text)
    return viewer

def send(heliograph, name, text):
    arn = boto3.client("kinesisvideo").create_signaling_channel(ChannelName=heliograph.channel(name))["ChannelARN"]
    url = heliograph.endpoint.replace("https", "wss") + f"/?X-Amz-ChannelARN={arn}&X-Amz-ClientId=v1"
    trust = ssl.create_default_context(cafile=heliograph.environment["AWS_CA_BUNDLE"])
    return LOOP.run_until_complete(viewer_that_sends(url, trust, text))

@pytest.mark.parametrize("number", range(32))
def test_leaves_much_behind(heliograph, number, worker_id):
    with open(f"{worker_id}.admin", "a") as file:
        print(heliograph.admin, file=file)
    assert heliograph.clock.now()["wallSkew"] == "0s"
    assert heliograph.request("GET", "/dev/faults")["faults"] == []
    assert boto3.client("kinesisvideo").list_signaling_channels()["ChannelInfoList"] == []
    assert heliograph.connections().now() == heliograph.messages().now() == heliograph.parity.findings() == []
    heliograph.parity.assert_none()
    viewer = send(heliograph, "cam", '{"action":"SDP_OFFER","messagePayload":"%s"}' % ("A" * 12_000))
    [message] = heliograph.messages("cam", action="SDP_OFFER", sender="v?", to="MASTER").wait(1)
    assert message["outcome"] == "kept"
    with pytest.raises(AssertionError, match="(?s)1 of 2 messages within 10ms .*cam.*SDP_OFFER"):
        heliograph.messages("cam").wait(2, "10ms")
    with pytest.raises(AssertionError, match="payload_over_10240"):
        heliograph.parity.assert_none()
    heliograph.faults.hang(times="always")
    heliograph.faults.refuse(status=503, channel=None, operation="ListSignalingChannels", times="always")
    heliograph.faults.stall(role="viewer")
    heliograph.faults.send(role="master")
'''

# What the broker saw is in the report of a test that fails, and only there.
FAILS = TIDY.split("@pytest.mark")[0] + '''
def test_fails(heliograph):
    viewer = send(heliograph, "cam", '{"action":"SDP_OFFER","messagePayload":"e30="}')
    heliograph.messages("cam").wait(1)
    [name] = heliograph.sessions("svg")
    assert heliograph.sessions("svg")[name].startswith("<svg ") and "log" in heliograph.sessions("har")[name]
    assert False

def test_passes(heliograph):
    viewer = send(heliograph, "other", '{"action":"SDP_OFFER","messagePayload":"e30="}')
'''

# Each test has the broker that its marker wants, with the keys of that one.
MARKED = '''
import boto3, pytest
from botocore.exceptions import ClientError
from heliograph_testing import HeliographError

keys, admins = set(), {}

def kinesis():
    keys.add(boto3.DEFAULT_SESSION.get_credentials().access_key if boto3.DEFAULT_SESSION else None)
    return boto3.client("kinesisvideo")

@pytest.mark.parametrize("number", range(2))
@pytest.mark.heliograph(auth="sigv4")
def test_signatures_are_checked(heliograph, number, monkeypatch):
    admins.setdefault("sigv4", set()).add(heliograph.admin)
    assert heliograph.auth == "sigv4" and heliograph.request("GET", "/dev/parity")["findings"] == []
    assert kinesis().list_signaling_channels()["ChannelInfoList"] == []
    heliograph.clock.skew("-10m")
    with pytest.raises(ClientError, match="InvalidSignatureException") as caught:
        kinesis().list_signaling_channels()
    assert heliograph.why(caught.value.response["ResponseMetadata"]["RequestId"])["check"] == "signature_early"

@pytest.mark.parametrize("number", range(2))
def test_without_a_marker_they_are_not(heliograph, number):
    admins.setdefault("none", set()).add(heliograph.admin)
    assert heliograph.auth == "none"
    assert kinesis().list_signaling_channels()["ChannelInfoList"] == []
    with pytest.raises(HeliographError, match="checks no signatures, .*auth=.sigv4"):
        heliograph.clock.skew("-10m")

@pytest.mark.heliograph("--region", "eu-west-1", profile="strict")
class TestStrict:
    def test_limits_and_arguments(self, heliograph):
        assert heliograph.environment["AWS_REGION"] == "eu-west-1"
        arns = [kinesis().create_signaling_channel(ChannelName=heliograph.channel("a"))["ChannelARN"]]
        assert ":eu-west-1:" in arns[0]
        with pytest.raises(ClientError, match="ClientLimitExceeded"):
            while True:
                kinesis().describe_signaling_channel(ChannelARN=arns[0])

    @pytest.mark.heliograph(auth="sigv4")
    def test_markers_add_up(self, heliograph):
        assert (heliograph.auth, heliograph.environment["AWS_REGION"]) == ("sigv4", "eu-west-1")

def test_brokers_are_started_once_and_keys_are_not_mixed():
    assert [len(admins[auth]) for auth in ("sigv4", "none")] == [1, 1] and admins["sigv4"] != admins["none"]
    assert boto3.DEFAULT_SESSION is None
'''

WRONG = '''
import pytest
@pytest.mark.heliograph(profil="strict")
def test_option(heliograph): pass
@pytest.mark.heliograph(auth="sigv5")
def test_value(heliograph): pass
def test_fault(heliograph): heliograph.faults.throttle(on="connct")
def test_span(heliograph): heliograph.messages().wait(1, "5 s")
def test_number(heliograph): heliograph.messages().wait(1, 5)
def test_count(heliograph): heliograph.messages().wait("1")
def test_place(heliograph): heliograph.faults.corrupt(on="message")
def test_keyword(heliograph): heliograph.faults.drop(clientId="phone-1")
@pytest.mark.heliograph("--auth", "sigv4")
def test_flag(heliograph): pass
def test_ended(heliograph):
    fault = heliograph.faults.hang()
    fault.end()
    fault.hits
def test_waits(heliograph, monkeypatch):
    monkeypatch.setenv("HELIOGRAPH_WAIT", "3")
    heliograph.messages("cam").wait(1, "10ms")
def test_factor(heliograph, monkeypatch):
    monkeypatch.setenv("HELIOGRAPH_WAIT", "many")
    heliograph.messages("cam").wait(1, "10ms")
'''

WAITS = '''
import os, time
def test_waits(heliograph):
    with open("half", "w") as file:
        print(heliograph.admin, heliograph.environment["AWS_CA_BUNDLE"], file=file)
    os.rename("half", "ready")
    time.sleep(600)
'''


class Plugin(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *arguments, path=PLUGIN, **environment):
        # Only what the plugin sets may tell a test where its broker is.
        others = ("AWS_", "NODE_", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return subprocess.Popen(
            [PYTEST, "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pytest(self, *arguments, **options):
        """The exit code and the output."""
        process = self.start(*arguments, **options)
        output, _ = process.communicate(timeout=SECONDS)
        return process.returncode, output

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def write_readme(self):
        """Writes the files that the README shows."""
        text = (PLUGIN / "README.md").read_text()
        files = dict(re.findall(r"^`(\w+\.py)`[^`]*\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        self.assertEqual(sorted(files), ["camera.py", "test_camera.py", "test_signed.py"])
        for name, content in files.items():
            self.write(name, content)
        # The page above shows one test of the same kind.
        page = (PLUGIN.parent / "README.md").read_text()
        [example] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.write("test_example.py", "from test_camera import camera\n\n" + example)

    def test_the_readme_works_as_printed(self):
        installed = self.folder / "installed"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        copy = self.folder / "copy"
        shutil.copytree(PLUGIN, copy)
        subprocess.run([*pip, "--target", installed, copy], check=True, timeout=SECONDS)
        self.write_readme()
        code, output = self.pytest("test_camera.py", "test_example.py", "test_signed.py", path=installed)
        self.assertEqual(code, 0, output)
        self.assertIn("4 passed", output)
        self.assertIn("plugins: ", output)
        self.assertIn("heliograph-testing-0.1.0", output)

    def test_the_app_that_comes_from_aws(self):
        shutil.copytree(PLUGIN.parent / "from-aws" / "python", self.folder, dirs_exist_ok=True)
        code, output = self.pytest(*PATH)
        self.assertEqual(code, 0, output)
        self.assertIn("10 passed", output)

    def test_it_works_without_installation(self):
        self.write_readme()
        code, output = self.pytest(*PATH, "test_camera.py")
        self.assertEqual(code, 0, output)
        self.assertIn("2 passed", output)

    def test_what_is_missing_is_named(self):
        self.write("test_it.py", "def test_with(heliograph): pass\ndef test_without(): pass\n")
        code, output = self.pytest(*PATH, HELIOGRAPH_BROKER="/nowhere/broker")
        self.assertEqual(code, 1, output)
        self.assertIn("no program '/nowhere/broker': set HELIOGRAPH_BROKER to the path", output)
        self.assertIn("1 passed, 1 error", output)
        self.assertNotIn("Traceback", output)

    def test_a_broker_that_does_not_start_is_quoted(self):
        self.write("test_it.py", "def test_with(heliograph): pass\n")
        self.write("broker", "#!/bin/sh\necho 'the disk is full' >&2\nexit 7\n")
        (self.folder / "broker").chmod(0o755)
        code, output = self.pytest(*PATH, HELIOGRAPH_BROKER=str(self.folder / "broker"))
        self.assertEqual(code, 1, output)
        self.assertIn("the broker ended with exit code 7 at its start: ", output)
        self.assertIn("the disk is full", output)

    def test_a_fault_that_is_wrong_is_quoted(self):
        self.write("test_it.py", 'def test_wrong(heliograph): heliograph.faults.refuse("Nope")\n')
        code, output = self.pytest(*PATH)
        self.assertEqual(code, 1, output)
        self.assertIn('HeliographError: POST /dev/faults: do.refuse.error = "Nope": expected AccessDenied', output)

    def test_a_failure_shows_what_the_broker_saw(self):
        self.write("test_it.py", FAILS)
        code, output = self.pytest(*PATH)
        self.assertEqual(code, 1, output)
        self.assertRegex(output, r"-- Heliograph: sessions of t\w+-cam -")
        self.assertRegex(output, r"No camera is connected, and 1 viewer waits for it\.\n\nviewer v1 ")
        self.assertRegex(output, r"SDP_OFFER +to the master +\d+ B +kept")
        self.assertNotIn("-other", output)

    def test_a_marker_says_which_broker_a_test_has(self):
        self.write("test_it.py", MARKED)
        others = {"AWS_SESSION_TOKEN": "of another account", "AWS_PROFILE": "nowhere"}
        code, output = self.pytest(*PATH, "--strict-markers", **others)
        self.assertEqual(code, 0, output)
        self.assertIn("7 passed", output)

    def test_what_is_wrong_says_what_is_allowed(self):
        self.write("test_it.py", WRONG)
        code, output = self.pytest(*PATH)
        self.assertEqual(code, 1, output)
        for text in (
            "{'profil': 'strict'}: must be arguments of `heliograph serve`, auth and profile",
            "invalid value 'sigv5' for '--auth",
            'on = "connct": expected connect, api, message, delivery, session; the nearest is connect',
            "within = '5 s': must be a number with ms, s or m",
            "within = 5: must be a number with ms, s or m",
            "count = '1': must be a whole number",
            'do.corrupt: not with this "on"; expected drop, ',
            "faults: clientId: no such argument; expected channel, role, client_id, ",
            '--auth: say auth="…"',
            "was ended: read `hits` before end()",
            "0 of 1 messages within 10ms times 3 (HELIOGRAPH_WAIT) with channel t",
            "HELIOGRAPH_WAIT = 'many': must be a number from 0.1 to 100",
        ):
            self.assertIn(text, output)

    def test_eight_workers_have_a_broker_each_and_leave_nothing_behind(self):
        self.write("test_it.py", TIDY)
        code, output = self.pytest(*PATH, "-n", "8")
        self.assertEqual(code, 0, output)
        self.assertIn("32 passed", output)
        brokers = [set(file.read_text().split()) for file in self.folder.glob("*.admin")]
        self.assertEqual(len(brokers), 8)
        self.assertEqual([len(of_worker) for of_worker in brokers], [1] * 8)
        self.assertEqual(len(set.union(*brokers)), 8)

    def test_a_configured_token_is_sent(self):
        self.write("admin.token", "a-token-of-32-characters-or-more\n")
        self.write("broker.toml", '[admin]\ntoken_file = "admin.token"\n')
        self.write("test_it.py", TOKEN)
        code, output = self.pytest(*PATH)
        self.assertEqual(code, 0, output)

    def test_the_broker_ends_with_the_session(self):
        self.write("test_it.py", WAITS)
        for name in ("SIGINT", "SIGTERM", "SIGKILL"):
            with self.subTest(name):
                process = self.start(*PATH)
                try:
                    self.until(lambda: (self.folder / "ready").exists() or process.poll() is not None)
                    admin, authority = (self.folder / "ready").read_text().split()
                    (self.folder / "ready").unlink()
                    self.assertTrue(self.answers(admin) and os.path.exists(authority))
                    process.send_signal(getattr(signal, name))
                    output, _ = process.communicate(timeout=SECONDS)
                finally:
                    process.kill()
                self.assertNotEqual(process.returncode, 0, output)
                self.until(lambda: not self.answers(admin) and not os.path.exists(authority))

    def answers(self, admin):
        host, port = admin.removeprefix("http://").split(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            return False
        return True

    def until(self, met):
        end = time.monotonic() + SECONDS
        while not met():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


if __name__ == "__main__":
    unittest.main()
