"""Heliograph in pytest: a broker for the session, faults, a clock that moves, and messages to wait for.

The fixture `heliograph` starts `$HELIOGRAPH_BROKER`, or `heliograph` on PATH, with everything in memory and on free ports
of loopback, and sets the environment by which boto3 and other clients find it. Each test has a prefix of its own for
its channels; what begins with it ends with the test. README.md shows it in use, ../README.md the pages behind it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest

START_SECONDS = 30  # a start takes some 50 ms
STOP_SECONDS = 10  # clients get a second to leave
LOG_SECONDS = 1  # the log is milliseconds behind
TOKEN_FILE = "HELIOGRAPH_ADMIN_TOKEN_FILE"  # in the environment of a broker whose configuration has a token
ANSWER_SECONDS = 40  # the admin listener answers within 25 s, even where it waits


class HeliographError(Exception):
    """What cannot be done, and why."""


@pytest.fixture(scope="session")
def heliograph():
    """A broker of this worker, in whose environment the tests run."""
    with contextlib.ExitStack() as stack:
        running = problem = None
        try:
            running = stack.enter_context(broker())
        except HeliographError as error:
            problem = str(error)
        if running is None:
            pytest.fail(problem, pytrace=False)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(autouse=True)
def _heliograph_reset(request):
    if "heliograph" not in request.fixturenames:
        yield
        return
    running = request.getfixturevalue("heliograph")
    yield
    running.reset()


@contextlib.contextmanager
def broker(*arguments):
    """Starts a broker and ends it, with further arguments of `heliograph serve`."""
    command = [_binary(), "serve", "--dev", "--data-dir", ":memory:", "--shards", "1", "--admin", "127.0.0.1:0"]
    command += ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0", *arguments]
    with tempfile.TemporaryDirectory(prefix="heliograph-") as directory:
        ready, log = os.path.join(directory, "ready.json"), os.path.join(directory, "log")
        with open(log, "wb") as stderr:
            process = subprocess.Popen(
                [*command, "--ready-file", ready],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the tests: the broker ends after them
                preexec_fn=_end_with_parent(),
            )
        try:
            found = _read_ready(process, ready, log, command)
            running = Heliograph(found["admin"], found["environment"].get(TOKEN_FILE))
        except BaseException:
            _end(process)
            raise
    try:
        yield running
    finally:
        _end(process)


def _end(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _binary():
    wanted = os.environ.get("HELIOGRAPH_BROKER") or "heliograph"
    found = shutil.which(wanted)
    if found is None:
        raise HeliographError(
            f"no program {wanted!r}: set HELIOGRAPH_BROKER to the path of the broker (target/release/heliograph after "
            "`cargo build --release -p broker`), or put `heliograph` on PATH"
        )
    return found


def _end_with_parent():
    """Has the kernel end the broker with the tests, also if these are killed. It would end with a thread as well."""
    if threading.current_thread() is not threading.main_thread():
        return None
    libc, set_death_signal = ctypes.CDLL(None), 1
    return lambda: libc.prctl(set_death_signal, signal.SIGTERM)


def _read_ready(process, ready, log, command):
    """The ready file, which is there, whole, once every listener accepts."""
    until = time.monotonic() + START_SECONDS
    while not os.path.exists(ready):
        code = process.poll()
        if code is not None or time.monotonic() > until:
            end = "is not ready in time" if code is None else f"ended with exit code {code} at its start"
            with open(log, encoding="utf-8", errors="replace") as text:
                raise HeliographError(f"the broker {end}: {' '.join(command)}\n{text.read()}")
        time.sleep(0.005)
    with open(ready, encoding="utf-8") as text:
        return json.load(text)


class Heliograph:
    """A running `heliograph serve --dev`, by its admin listener, and the prefix of one test."""

    def __init__(self, admin, token_file=None):
        self.admin = admin
        self.prefix = _new_prefix()
        self._headers = {"Content-Type": "application/json"}
        if token_file is not None:
            with open(token_file, encoding="ascii") as text:
                self._headers["Authorization"] = f"Bearer {text.read().strip()}"
        # By which clients find the broker: what `heliograph env` prints.
        self.environment = self.request("GET", "/dev/environment")
        if token_file is not None:
            self.environment[TOKEN_FILE] = token_file
        self.faults = Faults(self)
        self.clock = Clock(self)
        self.parity = Parity(self)

    @property
    def endpoint(self):
        """The URL of the API over TLS; `environment["AWS_CA_BUNDLE"]` is its authority."""
        return self.environment["AWS_ENDPOINT_URL_KINESIS_VIDEO"]

    def channel(self, name):
        """The name of a channel of this test."""
        return self.prefix + name

    def messages(self, channel="*", *, action=None, sender=None, to=None):
        """Messages on a channel of this test. All but the action may be a pattern; the master is `MASTER`."""
        return Query(self, "messages", channel, {"action": action, "from": sender, "to": to})

    def connections(self, channel="*", *, role=None, client_id=None):
        """Connections to a channel of this test."""
        return Query(self, "connections", channel, {"role": role, "clientId": client_id})

    def why(self, request_id):
        """Why a request was refused, by its id: `error.response["ResponseMetadata"]["RequestId"]` in boto3."""
        until = time.monotonic() + LOG_SECONDS
        while True:
            found = self.request("GET", "/refusals/" + urllib.parse.quote(request_id, safe=""))
            # What the id alone says is known at once; the rest comes by way of the log.
            if found["source"] == "kept" or time.monotonic() > until:
                return found
            time.sleep(0.005)

    def reset(self):
        """Ends everything of this test: connections, channels, faults, messages, skew. Another prefix begins."""
        done = self.request("POST", "/dev/reset", {"channelPrefix": self.prefix})
        self.faults._end_unprefixed()
        self.clock._end_skew()
        self.prefix = _new_prefix()
        return done

    def request(self, method, path, body=None):
        """A request to the admin listener; its answer, decoded."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.admin + path, data, self._headers, method=method)
        try:
            with _loopback.open(request, timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError, TypeError):
                text = json.loads(text)["error"]
            raise HeliographError(f"{method} {path}: {text}") from None
        except OSError as error:
            raise HeliographError(f"{method} {self.admin}{path}: no answer of the broker: {error}") from error


class Query:
    """Messages or connections to wait for."""

    def __init__(self, heliograph, page, channel, more):
        self._heliograph = heliograph
        self._page = page
        self._wanted = _without_none({"channel": heliograph.channel(channel), **more})

    def now(self):
        """Those that there are, without a wait."""
        return self._ask(0, "0s")

    def wait(self, count=1, within="5s"):
        """Returns as soon as there are `count`; an AssertionError after `within`, which is at most 25s."""
        found = self._ask(count, within)
        if len(found) < count:
            wanted = ", ".join(f"{name} {value}" for name, value in self._wanted.items())
            rows = "".join(f"\n  {json.dumps(row)}" for row in found) or " none"
            raise AssertionError(f"{len(found)} of {count} {self._page} within {within} with {wanted}:{rows}")
        return found

    def _ask(self, count, within):
        query = urllib.parse.urlencode({**self._wanted, "min": count, "wait": within})
        return self._heliograph.request("GET", f"/dev/{self._page}?{query}")[self._page]


class Faults:
    """Makes faults. What else each may name: `channel` (of this test, a pattern; None for calls that name none),
    `role`, `client_id`, `operation`, `action`; `skip`, `times`, `lasts`, `probability` with `seed`."""

    def __init__(self, heliograph):
        self._heliograph = heliograph
        self._unprefixed = []

    def refuse(self, error=None, *, status=None, message=None, on="api", **more):
        return self.make(on, {"refuse": _without_none({"error": error, "status": status, "message": message})}, **more)

    def throttle(self, *, message=None, on="api", **more):
        return self.make(on, {"throttle": _without_none({"message": message})}, **more)

    def delay(self, span, *, on, **more):
        return self.make(on, {"delay": span}, **more)

    def hang(self, *, on="api", **more):
        return self.make(on, "hang", **more)

    def reset(self, *, on="api", **more):
        return self.make(on, "reset", **more)

    def drop(self, *, on="message", **more):
        return self.make(on, "drop", **more)

    def expire(self, **more):
        return self.make("message", "expire", **more)

    def status(self, error=None, *, code=None, description=None, **more):
        how = {"errorType": error, "statusCode": code, "description": description}
        return self.make("message", {"status": _without_none(how)}, **more)

    def duplicate(self, **more):
        return self.make("delivery", "duplicate", **more)

    def reorder(self, **more):
        return self.make("delivery", "reorder", **more)

    def go_away(self, grace=None, **more):
        return self.make("session", {"goAway": _without_none({"grace": grace})}, **more)

    def close(self, code=None, *, reason=None, after=None, **more):
        return self.make("session", {"close": _without_none({"code": code, "reason": reason, "after": after})}, **more)

    def stall(self, span=None, **more):
        return self.make("session", {"stall": _without_none({"for": span})}, **more)

    def reconnect_ice(self, **more):
        return self.make("session", "reconnectIce", **more)

    def make(self, on, do, *, channel="*", role=None, client_id=None, operation=None, action=None, lasts=None, **more):
        """A fault as `POST /dev/faults` takes it."""
        pattern = None if channel is None else self._heliograph.channel(channel)
        match = {"channel": pattern, "role": role, "clientId": client_id, "operation": operation, "action": action}
        fault = {"on": on, "match": _without_none(match), "do": do, "for": lasts, **more}
        made = Fault(self._heliograph, self._heliograph.request("POST", "/dev/faults", fault)["id"])
        if channel is None:
            self._unprefixed.append(made)
        return made

    def _end_unprefixed(self):
        while self._unprefixed:
            with contextlib.suppress(HeliographError):  # the test has ended it
                self._unprefixed.pop().end()


class Fault:
    """A fault that was made."""

    def __init__(self, heliograph, id):
        self._heliograph = heliograph
        self.id = id

    @property
    def hits(self):
        """How often it has acted."""
        return self.shown()["hits"]

    def shown(self):
        """What `GET /dev/faults` shows of it."""
        faults = self._heliograph.request("GET", "/dev/faults")["faults"]
        return next(fault for fault in faults if fault["id"] == self.id)

    def end(self):
        """Ends it. What it holds back goes on when it is due."""
        self._heliograph.request("DELETE", f"/dev/faults/{self.id}")


class Clock:
    """The broker's clocks."""

    def __init__(self, heliograph):
        self._heliograph = heliograph
        self._skewed = False

    def now(self):
        return self._heliograph.request("GET", "/dev/clock")

    def advance(self, span):
        """Moves all clocks forward; returns when everything is done that is due by then."""
        return self._heliograph.request("POST", "/dev/clock", {"advance": span})

    def skew(self, span):
        """Moves the calendar alone, either way, until the end of the test."""
        self._skewed = True
        return self._heliograph.request("POST", "/dev/clock", {"wallSkew": span})

    def _end_skew(self):
        if self._skewed:
            self._heliograph.request("DELETE", "/dev/clock")
        self._skewed = False


class Parity:
    """What the cloud service would have refused, and this broker did not."""

    def __init__(self, heliograph):
        self._heliograph = heliograph

    def findings(self):
        query = urllib.parse.urlencode({"channel": self._heliograph.channel("*")})
        return self._heliograph.request("GET", f"/dev/parity?{query}")["findings"]

    def assert_none(self):
        """That this test did nothing that the cloud service refuses."""
        found = self.findings()
        if found:
            rows = "".join(f"\n  {row['rule']}, {row['channel']}, {row['count']} times: {row['says']}" for row in found)
            raise AssertionError(f"the cloud service would have refused:{rows}")


def _new_prefix():
    return f"t{uuid.uuid4().hex[:8]}-"


def _without_none(values):
    return {name: value for name, value in values.items() if value is not None}


# The broker is on this machine: no proxy is asked.
_loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))
