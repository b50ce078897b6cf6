//! Random requests signed by botocore, the signer of the AWS CLI and of boto3.

use super::support::{Shard, Signer};
use codec::sigv4::{Form, Service, Stamp};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn what_botocore_signs_verifies() {
    let output = Command::new(clients().join("python/bin/python"))
        .args(["-c", SCRIPT])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{error}; is the client installed by deploy/ci/check.sh?"));
    let fine = output.status.success();
    assert!(fine, "{}", String::from_utf8_lossy(&output.stderr));
    let (mut shard, mut counts) = (Shard::new(), [0; 3]);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let signed: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| signed[name].as_str().unwrap();
        let head = text("head").replace('\n', "\r\n");
        let time = Stamp::parse(text("date").as_bytes()).unwrap().epoch();
        let signer = Signer {
            token: signed["token"].as_str().map(str::to_owned),
            service: Service::KinesisVideo,
            time: u64::try_from(time).unwrap(),
            announces_hash: false,
        };
        let mut verify = |head: &str, body: &str| {
            shard.verify(head, body.as_bytes(), &signer.rules(), Some(&signer.key()))
        };
        let form =
            verify(&head, text("body")).unwrap_or_else(|refusal| panic!("{refusal}: {line}"));
        counts[form as usize] += 1;
        assert_eq!(form == Form::Header, text("form") == "header", "{line}");
        let respelled = respelled(&head);
        assert_eq!(verify(&respelled, text("body")), Ok(form), "{respelled}");
        let target = head.split(' ').nth(1).unwrap();
        let fine = verify(
            &head.replacen(target, &format!("{target}0"), 1),
            text("body"),
        )
        .is_err();
        assert!(fine, "{line}");
        let fine = verify(&head, &format!("{} ", text("body"))).is_err();
        assert!(fine, "{line}");
        let fine = verify(&head.replace("host.example", "other.example"), text("body")).is_err();
        assert!(fine, "{line}");
    }
    let [header, strict, _] = counts;
    assert!(header >= 200 && strict >= 200, "{counts:?}");
}

/// The same request: pairs of the query and lines in another order, digits of escapes and letters of names in the other
/// case, more blanks.
fn respelled(head: &str) -> String {
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    let (first, version) = lines.remove(0).rsplit_once(' ').unwrap();
    let (path, query) = first.split_once('?').unwrap_or((first, ""));
    let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
    for pair in &mut pairs {
        let mut parts = pair.split('%').map(str::to_owned).collect::<Vec<_>>();
        for escape in &mut parts[1..] {
            escape[..2].make_ascii_lowercase();
        }
        *pair = parts.join("%");
    }
    pairs.reverse();
    lines.reverse();
    let lines = lines.iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Authorization" => format!("{line}\r\n"),
            _ => format!("{}: \t {value}  \r\n", name.to_uppercase()),
        }
    });
    let mark = if query.is_empty() { "" } else { "?" };
    let lines: String = lines.collect();
    format!("{path}{mark}{} {version}\r\n{lines}\r\n", pairs.join("&"))
}

fn clients() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned();
    std::env::var_os("HELIOGRAPH_CLIENTS")
        .map_or_else(|| workspace.join("target/clients"), PathBuf::from)
}

/// Prints a line of JSON per signed request; the same requests in each run, except the time.
const SCRIPT: &str = r#"
import json, random
from urllib.parse import quote, urlsplit
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

random.seed(4)
ALPHABET = "abzAZ019-_.~ !*'();:@&=+$,/?%#[]\u00e9\u20ac\U0001f600"

def word(most, alphabet=ALPHABET):
    return "".join(random.choice(alphabet) for _ in range(random.randint(1, most)))

for number in range(600):
    token = random.choice([None, word(300, "AZaz09+/=")])
    path = "/" + "/".join(word(8).replace("/", "-").replace(".", "x") for _ in range(random.randint(0, 3)))
    query = "&".join(quote(word(6), safe="-_.~") + "=" + quote(word(12), safe="-_.~") for _ in range(random.randint(0, 5)))
    presigned = number % 2 == 1
    body = "" if presigned else random.choice(["", "{}", word(80)])   # a presigned request's body goes into its query
    headers = {"X-" + word(5, "abcXYZ"): word(6, "az09:;,=") + random.choice(["", "  b", " \tc d"]) for _ in range(random.randint(0, 4))}
    if number % 10 == 0:
        headers["Date"] = "x"
    request = AWSRequest(method=random.choice(["GET", "POST"]), data=body.encode(), headers=headers,
                         url="http://host.example" + random.choice(["", ":8080"]) + quote(path, safe="/-_.~") + ("?" + query if query else ""))
    keys = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    signer = SigV4QueryAuth(keys, "kinesisvideo", "us-west-2", expires=random.randint(1, 604800)) if presigned else SigV4Auth(keys, "kinesisvideo", "us-west-2")
    signer.add_auth(request)
    url = urlsplit(request.url)
    target = (url.path or "/") + ("?" + url.query if url.query else "")
    lines = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
    print(json.dumps({"form": "query" if presigned else "header", "token": token, "body": body, "date": request.context["timestamp"],
                      "head": f"{request.method} {target} HTTP/1.1\nHost: {url.netloc}\n{lines}\n"}))
"#;
