#!/usr/bin/env python3
"""Makes the fixtures of a version, which later versions read in their tests (deploy/UPGRADE.md): what a broker of it keeps,
gives out and prints, in broker/tests/data/VERSION.

    fixtures.py BINARY    the binary of a release; its version has no fixtures yet. Wants openssl, etcd and etcdctl

    data.tar.gz       the data directory of a broker that was stopped: channels, tags, session.key, presence.epoch
    backup.tar.gz     of the same channels, by `heliograph backup`
    channels.json     the same channels, by `heliograph channels export`
    sessions.json     temporary keys of each kind, with their secrets: they open nothing but these fixtures
    credentials.toml  the credentials that those depend on, with the files that are named in it
    sample.toml       deploy/broker.toml of the version: every key
    metrics.txt       a scrape
    log.jsonl         the log
    etcd.json.gz      keys and values of three nodes with the same channels in etcd, as etcdctl prints them; made alone where
                      all the others are there
    cluster.secret    the secret of those nodes
"""

import base64
import contextlib
import datetime
import gzip
import hashlib
import hmac
import http.client
import io
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "deploy/conformance"
ACCOUNT, REGION = "123456789012", "us-west-2"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
SIGN_IN = "credentials.example.com"  # the server name at which devices sign in
KEY = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)

# Beside the principals, roles and the provider of deploy/conformance/credentials.toml.
DEVICES = """
[role.camera]
policies = ["tagged"]
max_session = "12h"
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
  "Principal": {"Service": "credentials.iot.amazonaws.com"}}]}'''

[role_alias.cameras]
role = "camera"

[policy.alias]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate",
  "Resource": "*"}]}'''

[things]
hosts = ["credentials.example.com"]
policies = ["alias"]
ca = "device-ca.pem"
name = "subject.CN"
"""

CONFIG = f"""\
listen = ["http://127.0.0.1:0", "https://127.0.0.1:0"]
data_dir = "data"
credentials = "credentials.toml"
log_format = "json"
region = "{REGION}"
account_id = "{ACCOUNT}"

[admin]
listen = "127.0.0.1:0"

[tls]
cert = "server.pem"
key = "server.key"
"""


# What a node adds.
NODE = """
[cluster]
name = "fixtures"
node = "{node}"
secret_file = "cluster.secret"
listen = "127.0.0.1:0"
peers = "127.0.0.1:0"
advertise = "localhost"
etcd = ["{etcd}"]
"""


def main(binary):
    version = json.loads(run(binary, "version", "--json").stdout)["version"]
    fixtures = ROOT / "broker/tests/data" / version
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        prepare(place)
        if not fixtures.exists():
            one(binary, place, fixtures)
        elif (fixtures / "etcd.json.gz").exists():
            raise SystemExit(f"error: {fixtures} is there: fixtures of a version are made once, of its release")
        three(binary, place, fixtures)
    print(f"{fixtures.relative_to(ROOT)}: {sum(file.stat().st_size for file in fixtures.iterdir())} bytes")


def one(binary, place, fixtures):
    with broker(binary, place) as ready:
        channels(ready["http"])
        sessions = sign_ins(ready, place)
        (place / "metrics.txt").write_bytes(get(ready["admin"], "/metrics"))
    (place / "sessions.json").write_text(json.dumps(sessions, indent=1) + "\n")
    (place / "channels.json").write_text(run(binary, "channels", "export", "--data-dir", place / "data").stdout)
    run(binary, "backup", place / "backup", "--data-dir", place / "data")
    fixtures.mkdir()
    for folder in ("data", "backup"):
        archive(place / folder, fixtures / f"{folder}.tar.gz")
    shutil.copy(ROOT / "deploy/broker.toml", fixtures / "sample.toml")
    for file in ("sessions.json", "channels.json", "metrics.txt", "log.jsonl", "credentials.toml", "home.jwks", "device-ca.pem"):
        shutil.copy(place / file, fixtures / file)


def three(binary, place, fixtures):
    (place / "cluster.secret").write_text(hashlib.sha256(b"fixtures").hexdigest() + "\n")
    (place / "cluster.secret").chmod(0o600)
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(etcd_server(place))
        nodes = []
        for node in ("n1", "n2", "n3"):
            config = CONFIG.replace('"data"', f'"data-{node}"') + NODE.format(node=node, etcd=etcd)
            (place / f"{node}.toml").write_text(config)
            nodes.append(stack.enter_context(broker(binary, place, node)))
        ask = lambda word: run(binary, "cluster", "--config", "n1.toml", word, cwd=place).stdout
        awaited("nodes with all slots", lambda: "4096 have an owner" in ask("status"))
        channels(nodes[0]["http"])
        ask("check")  # each node has an order, and its report
        keys = run("etcdctl", f"--endpoints={etcd}", "get", "--prefix", "/heliograph/", "--write-out=json").stdout
    (fixtures / "etcd.json.gz").write_bytes(gzip.compress(keys.encode(), 9, mtime=0))
    shutil.copy(place / "cluster.secret", fixtures)


@contextlib.contextmanager
def etcd_server(place):
    """The URL of an etcd of one member, stopped at the end."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        client, peer = (f"http://127.0.0.1:{free.getsockname()[1]}" for free in (one, other))
    with open(place / "etcd.log", "wb") as log:
        process = subprocess.Popen(
            ["etcd", "--data-dir", place / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
            stdout=log, stderr=log)
        try:
            awaited("etcd", lambda: subprocess.run(["etcdctl", f"--endpoints={client}", "endpoint", "health"], capture_output=True).returncode == 0)
            yield client
        finally:
            process.terminate()
            process.wait(60)


def awaited(what, is_there):
    until = time.monotonic() + 60
    while not is_there():
        if time.monotonic() > until:
            raise SystemExit(f"error: {what} are not there after 60 s")
        time.sleep(0.2)


def prepare(place):
    shutil.copy(CONFORMANCE / "home.jwks", place)
    (place / "credentials.toml").write_text((CONFORMANCE / "credentials.toml").read_text() + DEVICES)
    (place / "broker.toml").write_text(CONFIG)
    new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "36500")
    for name, subject in (("server", SIGN_IN), ("device-ca", "fixtures")):
        run(*new, "-x509", "-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}", "-keyout",
            place / f"{name}.key", "-out", place / f"{name}.pem")
    run(*new, "-subj", "/CN=cam-1", "-addext", "extendedKeyUsage=clientAuth", "-keyout", place / "device.key", "-out", place / "device.csr")
    run("openssl", "x509", "-req", "-in", place / "device.csr", "-copy_extensions", "copy", "-CA", place / "device-ca.pem", "-CAkey",
        place / "device-ca.key", "-days", "36500", "-out", place / "device.pem")


@contextlib.contextmanager
def broker(binary, place, name=None):
    """The ports of a broker that serves, stopped at the end; of this name, for one of several."""
    file = place / (f"{name}.jsonl" if name else "log.jsonl")
    with open(file, "wb") as log:
        process = subprocess.Popen([binary, "serve", "--config", f"{name or 'broker'}.toml", "--shards", "2"], cwd=place, text=True,
                                   stdout=subprocess.PIPE, stderr=log)
        try:
            line = process.stdout.readline()
            if not line.startswith("ready "):
                raise SystemExit(f"error: {binary} is not ready: {file.read_text()}")
            addresses = dict(re.findall(r"(https?)://(127\.0\.0\.1:\d+)", " ".join(line.split()[:3])))
            admin = re.search(r"admin=(?:http://)?(127\.0\.0\.1:\d+)", line)
            yield {**addresses, "admin": admin.group(1)}
        finally:
            process.terminate()
            process.wait(60)


def channels(address):
    arns = []
    for number in range(8):
        body = {"ChannelName": f"cam-{number}", "SingleMasterConfiguration": {"MessageTtlSeconds": 30 + number},
                "Tags": [{"Key": "site", "Value": f"hall {number % 3}"}, {"Key": "owner", "Value": "Zoë"}]}
        arns.append(json.loads(call(address, KEY, "/createSignalingChannel", body))["ChannelARN"])
    info = json.loads(call(address, KEY, "/describeSignalingChannel", {"ChannelARN": arns[1]}))["ChannelInfo"]
    call(address, KEY, "/updateSignalingChannel", {"ChannelARN": arns[1], "CurrentVersion": info["Version"],
                                                   "SingleMasterConfiguration": {"MessageTtlSeconds": 90}})
    call(address, KEY, "/UntagResource", {"ResourceARN": arns[2], "TagKeyList": ["site"]})
    call(address, KEY, "/deleteSignalingChannel", {"ChannelARN": arns[3]})
    # For the log and the scrape: a connection, a refused signature, a refused policy.
    connect(address, arns[0])
    for status, *key in ((403, "AKIDEXAMPLE", "wrong", None), (401, "AKIDPOWERLESS", "powerless-example-secret", None)):
        call(address, key, "/deleteSignalingChannel", {"ChannelARN": arns[0]}, status=status)


def sign_ins(ready, place):
    """A temporary key of each kind: its id, secret and token."""
    at = ready["http"]
    house = sts(at, KEY, Action="AssumeRole", RoleArn=f"{ROLE}house", RoleSessionName="fixture", DurationSeconds="3600",
                **{"Tags.member.1.Key": "channel", "Tags.member.1.Value": "cam-0"})
    found = {
        "federated": sts(at, KEY, Action="GetFederationToken", Name="fixture", Policy=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})),
        "role": house,
        "chain": sts(at, house, Action="AssumeRole", RoleArn=f"{ROLE}next", RoleSessionName="fixture"),
        "web-identity": sts(at, None, Action="AssumeRoleWithWebIdentity", RoleArn=f"{ROLE}watcher", RoleSessionName="fixture",
                            WebIdentityToken=id_token()),
        "device": device(ready["https"], place),
    }
    return {kind: dict(zip(("id", "secret", "token"), key)) for kind, key in found.items()}


def id_token():
    (key,) = json.loads((CONFORMANCE / "home.jwks").read_text())["keys"]
    now = int(time.time())
    parts = {"alg": key["alg"], "kid": key["kid"]}, {"iss": "https://id.example.com/home", "aud": "home-app", "sub": "cam-0", "iat": now,
                                                     "exp": now + 600}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    der = run("openssl", "dgst", "-sha256", "-sign", CONFORMANCE / "home.pem", input=signed.encode(), text=False).stdout
    # ES256 has both numbers in 32 bytes each, openssl a sequence of two integers.
    length = der[3]
    numbers = der[4:4 + length], der[6 + length:]
    return f"{signed}.{encoded(b''.join(int.from_bytes(number, 'big').to_bytes(32, 'big') for number in numbers))}"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def device(address, place):
    context = ssl.create_default_context(cafile=place / "server.pem")
    context.load_cert_chain(place / "device.pem", place / "device.key")
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain, server_hostname=SIGN_IN) as stream:
        stream.sendall(f"GET /role-aliases/cameras/credentials HTTP/1.1\r\nHost: {SIGN_IN}\r\nx-amzn-iot-thingname: cam-1\r\n"
                       "Connection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    if not text.startswith("HTTP/1.1 200 "):
        raise SystemExit(f"error: a device cannot sign in: {text}")
    given = json.loads(text.partition("\r\n\r\n")[2])["credentials"]
    return given["accessKeyId"], given["secretAccessKey"], given["sessionToken"]


def sts(address, key, **form):
    body = urllib.parse.urlencode({"Version": "2011-06-15", **form})
    text = call(address, key, "/", body, service="sts")
    return tuple(re.search(f"<{name}>(.*?)</{name}>", text).group(1) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))


def call(address, key, path, body, service="kinesisvideo", status=200):
    """A request signed by Signature Version 4, unless there is no key."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/json"
    headers = {"content-type": kind, "host": address}
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("POST", path, text, signed(key, "POST", path, "", headers, text, service) if key else headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    if answer.status != status:
        raise SystemExit(f"error: {path} {body}: {answer.status}, expected {status}: {said}")
    return said


def connect(address, arn):
    """A master that is there for a moment."""
    query = "X-Amz-ChannelARN=" + urllib.parse.quote(arn, safe="")
    headers = signed(KEY, "GET", "/", query, {"host": address}, "", "kinesisvideo") | {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", f"/?{query}", headers=headers)
    if (status := connection.getresponse().status) != 101:
        raise SystemExit(f"error: a master cannot connect: {status}")


def signed(key, method, path, query, headers, body, service):
    """The headers with those of a signature."""
    identifier, secret, token = key
    moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = headers | {"x-amz-date": moment} | ({"x-amz-security-token": token} if token else {})
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, sha256(body)])
    scope = f"{moment[:8]}/{REGION}/{service}/aws4_request"
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, sha256(canonical)])
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return headers | {"authorization": f"AWS4-HMAC-SHA256 Credential={identifier}/{scope}, SignedHeaders={names}, Signature={signature}"}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def get(address, path):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().read()


def run(*command, input=None, text=True, cwd=None):
    done = subprocess.run([str(part) for part in command], input=input, capture_output=True, text=text, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"error: {command[0]} {command[1]}: {done.stderr}")
    return done


def archive(folder, file):
    with open(file, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in sorted(folder.iterdir()):
                data = path.read_bytes()
                info = tarfile.TarInfo(path.name)
                info.size, info.mode = len(data), 0o600
                archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("error: expected the binary of a release")
    main(pathlib.Path(sys.argv[1]).resolve())
