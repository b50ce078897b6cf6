"""Heliograph in pytest: a broker for each worker, faults, a clock that moves, and messages to wait for.

The fixture `heliograph` starts `$HELIOGRAPH_BROKER`, or `heliograph` of this installation or on PATH, with everything in
memory and on free ports of loopback, and sets the environment by which boto3 and other clients find it. Each test has a
prefix of its own for its channels; what begins with it ends with the test. README.md shows it in use, ../README.md the pages behind it.
"""

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
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
STS = "AWS_ENDPOINT_URL_STS"  # in the environment of a broker that checks signatures
ASK_SECONDS = 20  # the admin listener waits for messages for at most 25 s a request
ANSWER_SECONDS = 40
ROWS_MAX = 1000  # messages or connections in one answer
BROKERS_MAX = 4  # at the same time in one worker; the one that was not used for longest ends

# The arguments of faults by name, beside those of each kind; and those that are passed on as they are.
FAULT_MORE = {"skip", "times", "probability", "seed"}
FAULT_ARGUMENTS = "channel, role, client_id, operation, action, lasts, " + ", ".join(sorted(FAULT_MORE))

# What would win over the keys of the broker, or be sent beside them.
OTHER_KEYS = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]

CREDENTIALS = """
[[principal]]
name = "tests"
access_key_id = "{}"
secret_access_key = "{}"
policies = ["everything"]

[policy.everything]
document = '{{ "Version": "2012-10-17", "Statement": [{{ "Effect": "Allow", "Action": "*", "Resource": "*" }}] }}'
"""


class HeliographError(Exception):
    """What cannot be done, and why."""


def pytest_configure(config):
    marker = 'heliograph(*arguments, auth="none", profile="default"): the broker of this test, as start() takes it'
    config.addinivalue_line("markers", marker)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Adds to the report of a test that failed what its broker saw."""
    report = (yield).get_result()
    running = getattr(item, "funcargs", {}).get("heliograph")
    if report.failed and isinstance(running, Heliograph):
        with contextlib.suppress(HeliographError):
            found = running.sessions().items()
            report.sections += [(f"Heliograph: sessions of {name}", text) for name, text in found]


@pytest.fixture
def heliograph(request, _heliograph_brokers):
    """The broker that this test wants, in whose environment it runs."""
    running = problem = None
    try:
        running = _heliograph_brokers.of(request.node)
    except HeliographError as error:
        problem = str(error)
    if running is None:
        pytest.fail(problem, pytrace=False)
    with pytest.MonkeyPatch.context() as patch, _own_default_session():
        for name in OTHER_KEYS:
            patch.delenv(name, raising=False)
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running
        running.reset()


@pytest.fixture(scope="session")
def _heliograph_brokers():
    brokers = _Brokers()
    yield brokers
    brokers.stop()


class _Brokers:
    """The brokers of this worker, by what markers say of them; the one that was used last is the last one."""

    def __init__(self):
        self._running = {}

    def of(self, node):
        """The broker of a test, started if there is none like it."""
        arguments, options = (), {}
        for marker in node.iter_markers("heliograph"):  # the closest one first
            arguments += marker.args
            options = {**marker.kwargs, **options}
        wanted = (arguments, tuple(sorted(options.items())))
        if wanted not in self._running:
            if len(self._running) >= BROKERS_MAX:
                self._running.pop(next(iter(self._running)))[1].close()
            stack = contextlib.ExitStack()
            try:
                self._running[wanted] = (stack.enter_context(start(*arguments, **options)), stack)
            except TypeError:
                text = f"@pytest.mark.heliograph: {options}: must be arguments of `heliograph serve`, auth and profile"
                raise HeliographError(text) from None
        self._running[wanted] = self._running.pop(wanted)
        return self._running[wanted][0]

    def stop(self):
        for _, stack in self._running.values():
            stack.close()


@contextlib.contextmanager
def _own_default_session():
    """boto3's default session keeps the keys that it found first: each test has one of its own."""
    before = getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None)
    _set_default_session(None)
    try:
        yield
    finally:
        _set_default_session(before)


def _set_default_session(session):
    if "boto3" in sys.modules:
        sys.modules["boto3"].DEFAULT_SESSION = session


@contextlib.contextmanager
def start(*arguments, auth="none", profile="default"):
    """Starts a broker and ends it, with further arguments of `heliograph serve`.

    `auth="sigv4"`: it checks signatures, and knows one pair of keys, which its environment has. `profile="strict"`: it
    enforces the limits of the cloud service.
    """
    for flag, name in (("--auth", "auth"), ("--profile", "profile")):
        if flag in arguments:
            raise HeliographError(f'{flag}: say {name}="…", which also makes what belongs to it')
    command = [_binary(), "serve", "--dev", "--data-dir", ":memory:", "--shards", "1", "--admin", "127.0.0.1:0"]
    command += ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]
    command += ["--auth", auth, "--profile", profile, *arguments]
    keys = {}
    with tempfile.TemporaryDirectory(prefix="heliograph-") as directory:
        if auth == "sigv4" and "--credentials" not in arguments:
            access, secret = "AKID" + secrets.token_hex(8).upper(), secrets.token_hex(20)
            keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
            credentials = os.path.join(directory, "credentials.toml")
            with open(os.open(credentials, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write(CREDENTIALS.format(access, secret))
            command += ["--credentials", credentials]
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
            yield Heliograph(found["admin"], found["environment"].get(TOKEN_FILE), keys)
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
    # That of the same installation comes first, which a virtual environment has on PATH only while it is activated.
    own = sysconfig.get_path("scripts")
    path = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
    wanted = os.environ.get("HELIOGRAPH_BROKER")
    found = shutil.which(wanted) if wanted else shutil.which("heliograph", path=path)
    if found is None:
        raise HeliographError(
            f"no program {wanted or 'heliograph'!r}: set HELIOGRAPH_BROKER to the path of the broker "
            "(target/release/heliograph after `cargo build --release -p broker`), install the package `heliograph`, or put "
            "`heliograph` on PATH"
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
    until = time.monotonic() + START_SECONDS * wait_factor()
    while not os.path.exists(ready):
        code = process.poll()
        if code is not None or time.monotonic() > until:
            end = "is not ready in time" if code is None else f"ended with exit code {code} at its start"
            with open(log, encoding="utf-8", errors="replace") as text:
                raise HeliographError(f"the broker {end}: {' '.join(command)}\n{text.read()}")
        time.sleep(0.005)
    with open(ready, encoding="utf-8") as text:
        return json.load(text)


def wait_factor():
    """The factor of all waits, for machines under load: `HELIOGRAPH_WAIT`."""
    text = os.environ.get("HELIOGRAPH_WAIT") or "1"
    with contextlib.suppress(ValueError):
        if 0.1 <= float(text) <= 100:
            return float(text)
    raise HeliographError(f"HELIOGRAPH_WAIT = {text!r}: must be a number from 0.1 to 100, the factor of all waits")


def _seconds(within):
    found = re.fullmatch(r"(\d{1,9})(ms|s|m)", within) if isinstance(within, str) else None
    if found is None:
        raise HeliographError(f'within = {within!r}: must be a number with ms, s or m, such as "500ms" or "5s"')
    return int(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]]


class Heliograph:
    """A running `heliograph serve --dev`, by its admin listener, and the prefix of one test."""

    def __init__(self, admin, token_file=None, keys=None):
        self.admin = admin
        self.prefix = _new_prefix()
        self._headers = {"Content-Type": "application/json"}
        if token_file is not None:
            with open(token_file, encoding="ascii") as text:
                self._headers["Authorization"] = f"Bearer {text.read().strip()}"
        # By which clients find the broker: what `heliograph env` prints, and the keys of start().
        self.environment = {**self.request("GET", "/dev/environment"), **(keys or {})}
        if token_file is not None:
            self.environment[TOKEN_FILE] = token_file
        self.faults = Faults(self)
        self.clock = Clock(self)
        self.parity = Parity(self)

    @property
    def auth(self):
        """Whether signatures are checked: `sigv4`, or `none`."""
        return "sigv4" if STS in self.environment else "none"

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
        until = time.monotonic() + LOG_SECONDS * wait_factor()
        while True:
            found = self.request("GET", "/refusals/" + urllib.parse.quote(request_id, safe=""))
            # What the id alone says is known at once; the rest comes by way of the log.
            if found["source"] == "kept" or time.monotonic() > until:
                return found
            time.sleep(0.005)

    def sessions(self, form="text"):
        """What the broker saw on each channel of this test, by name: as `text`, as a picture (`svg`) or as `har`."""
        found = self.request("GET", "/channels?" + urllib.parse.urlencode({"prefix": self.prefix}))["channels"]
        path = "/channels/{}/trace?format=" + form
        return {one["name"]: self.request("GET", path.format(one["name"])) for one in found}

    def reset(self):
        """Ends everything of this test: connections, channels, faults, messages, skew. Another prefix begins."""
        done = self.request("POST", "/dev/reset", {"channelPrefix": self.prefix})
        self.faults._end_unprefixed()
        self.clock._end_skew()
        self.prefix = _new_prefix()
        return done

    def request(self, method, path, body=None):
        """A request to the admin listener; its answer: a text, or decoded JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.admin + path, data, self._headers, method=method)
        try:
            with _loopback.open(request, timeout=ANSWER_SECONDS) as answer:
                is_json = answer.headers.get_content_type() == "application/json"
                return json.load(answer) if is_json else answer.read().decode()
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
        """Returns as soon as there are `count`; an AssertionError after `within`, times `HELIOGRAPH_WAIT`."""
        if not isinstance(count, int):
            raise HeliographError(f"count = {count!r}: must be a whole number")
        factor = wait_factor()
        until = time.monotonic() + _seconds(within) * factor
        while True:
            left = until - time.monotonic()
            found = self._ask(count, f"{max(0, int(1000 * min(left, ASK_SECONDS)))}ms")
            if len(found) >= count:
                return found
            if left <= ASK_SECONDS:
                break
        wanted = ", ".join(f"{name} {value}" for name, value in self._wanted.items())
        rows = "".join(f"\n  {json.dumps(row)}" for row in found) or " none"
        times = "" if factor == 1 else f" times {factor:g} (HELIOGRAPH_WAIT)"
        raise AssertionError(f"{len(found)} of {count} {self._page} within {within}{times} with {wanted}:{rows}")

    def _ask(self, count, within):
        query = urllib.parse.urlencode({**self._wanted, "min": count, "wait": within, "limit": ROWS_MAX})
        return self._heliograph.request("GET", f"/dev/{self._page}?{query}")[self._page]


class Faults:
    """Makes faults. What else each may name: `channel` (of this test, a pattern; None for calls that name none),
    `role`, `client_id`, `operation`, `action`; `skip`, `times`, `lasts`, `probability` with `seed`. Those that end or
    change a session act with a message, too: `on="message"` on its sender's, `on="delivery"` on its recipient's."""

    def __init__(self, heliograph):
        self._heliograph = heliograph
        self._unprefixed = []

    def refuse(self, error=None, *, status=None, message=None, on="api", **more):
        return self.make(on, {"refuse": _without_none({"error": error, "status": status, "message": message})}, **more)

    def throttle(self, *, message=None, on="api", **more):
        """ClientLimitExceededException, which SDKs do not try again; `refuse("ThrottlingException")` they do."""
        return self.make(on, {"throttle": _without_none({"message": message})}, **more)

    def delay(self, span, *, on, **more):
        return self.make(on, {"delay": span}, **more)

    def hang(self, *, on="api", **more):
        return self.make(on, "hang", **more)

    def reset(self, *, on="api", **more):
        """A TCP reset, for which clients report 1006 where a WebSocket was open: `on="session"`."""
        return self.make(on, "reset", **more)

    def drop(self, *, on="message", **more):
        return self.make(on, "drop", **more)

    def expire(self, *, on="message", **more):
        return self.make(on, "expire", **more)

    def status(self, error=None, *, code=None, description=None, on="message", **more):
        how = {"errorType": error, "statusCode": code, "description": description}
        return self.make(on, {"status": _without_none(how)}, **more)

    def misdirect(self, viewer, *, on="message", **more):
        """A master's message goes to this viewer instead; a viewer's message comes from this one."""
        return self.make(on, {"misdirect": viewer}, **more)

    def corrupt(self, part="payload", *, on="delivery", **more):
        """Spoils the `payload` (no JSON), its `base64`, or the `message` (no JSON)."""
        return self.make(on, {"corrupt": part}, **more)

    def duplicate(self, *, on="delivery", **more):
        return self.make(on, "duplicate", **more)

    def reorder(self, *, on="delivery", **more):
        return self.make(on, "reorder", **more)

    def go_away(self, grace=None, *, on="session", **more):
        return self.make(on, {"goAway": _without_none({"grace": grace})}, **more)

    def close(self, code=None, *, reason=None, after=None, on="session", **more):
        return self.make(on, {"close": _without_none({"code": code, "reason": reason, "after": after})}, **more)

    def stall(self, span=None, *, on="session", **more):
        return self.make(on, {"stall": _without_none({"for": span})}, **more)

    def half_open(self, span=None, *, on="session", **more):
        return self.make(on, {"halfOpen": _without_none({"for": span})}, **more)

    def reconnect_ice(self, *, on="session", **more):
        return self.make(on, "reconnectIce", **more)

    def send(self, what="empty", *, on="session", **more):
        """Sends a text message that is `empty`, as the cloud service is seen to do."""
        return self.make(on, {"send": what}, **more)

    def make(self, on, do, *, channel="*", role=None, client_id=None, operation=None, action=None, lasts=None, **more):
        """A fault as `POST /dev/faults` takes it."""
        unknown = ", ".join(sorted(set(more) - FAULT_MORE))
        if unknown:
            raise HeliographError(f"faults: {unknown}: no such argument; expected {FAULT_ARGUMENTS}")
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
        for fault in faults:
            if fault["id"] == self.id:
                return fault
        raise HeliographError(f"the fault {self.id} was ended: read `hits` before end(), or before the test ends")

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
        """Moves the calendar alone, either way, until the end of the test: signatures are compared with it."""
        if self._heliograph.auth == "none":
            raise HeliographError(
                f"clock.skew({span!r}): this broker checks no signatures, so no client would notice; mark the test "
                '@pytest.mark.heliograph(auth="sigv4"), or start(auth="sigv4")'
            )
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
