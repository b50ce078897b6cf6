//! A broker whose console takes accounts, and a browser that keeps its cookies.

use crate::http::{Answer, exchange};
use crate::peer::tcp;
use crate::process::fresh_directory;
use crate::signed::provider::{Provider, TokenKey};
use crate::signed::service::{Service, credentials};
use crate::signed::signer::now_s;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use testkit::until;

pub(crate) const TOKEN: &str = "a-token-of-32-characters-or-more";
const SECRET: &str = "the-secret-of-the-console-client";

/// A broker, the provider of its accounts, and the configuration file.
pub(crate) struct Console {
    pub(crate) service: Service,
    pub(crate) provider: Provider,
    key: TokenKey,
    config: PathBuf,
}

impl Console {
    /// `changes` are those of the provider's discovery document.
    pub(crate) fn start(changes: &Value) -> Self {
        let (provider, key) = (Provider::start(), TokenKey::new("one"));
        provider.publish_places(changes);
        provider.publish_keys(&[&key]);
        let directory = fresh_directory();
        let config = directory.join("console.toml");
        for (name, text) in [("admin.token", TOKEN), ("client.secret", SECRET)] {
            fs::write(directory.join(name), text).expect("a file under target/");
        }
        write(&config, &rule(&provider, &config, "operators"));
        let file = credentials() + &entry(&provider);
        let path = config.to_str().expect("a path in UTF-8");
        let console = Self {
            service: Service::with(&file, &["--config", path], 2),
            provider,
            key,
            config,
        };
        for secret in [TOKEN, SECRET] {
            console.service.keep(secret);
        }
        until("the provider's document", || {
            let answer = Browser::of(&console).get("/account/sign-in");
            (answer.status != 503).then_some(())
        });
        console
    }

    /// Writes the configuration file with this table of accounts.
    pub(crate) fn configure(&self, table: &str) {
        write(&self.config, table);
    }

    /// A table of accounts whose groups have this one.
    pub(crate) fn rule(&self, group: &str) -> String {
        rule(&self.provider, &self.config, group)
    }

    /// Takes the provider out of the credentials file.
    pub(crate) fn forget_provider(&self) {
        let path = self.service.directory.join("credentials.toml");
        fs::write(path, credentials()).expect("a file under target/");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.service.broker.admin
    }

    /// Has the provider answer the next code with an id token of these claims.
    pub(crate) fn vouches(&self, nonce: &str, changes: &Value) {
        let token = self
            .key
            .token(&claims(&self.provider.url(), nonce, changes));
        let signature = token.rsplit('.').next().expect("three parts");
        self.service.keep(signature);
        self.provider.publish_token(200, &answer(&token));
    }

    /// A browser that has signed in.
    pub(crate) fn signed_in(&self) -> Browser<'_> {
        let browser = Browser::of(self);
        let begun = browser.begin();
        self.vouches(&begun["nonce"], &json!({}));
        let back = browser.back(&begun["state"], "&code=a-code");
        assert_eq!(back.status, 303, "{}", back.text());
        browser
    }

    /// Has the provider sign in everybody who comes to its page, with these changes to the claims.
    pub(crate) fn welcomes(&self, changes: &Value) {
        let (key, url, changes) = (self.key.clone(), self.provider.url(), changes.clone());
        self.provider.publish_page(Box::new(move |query| {
            let fields = fields(query);
            let token = key.token(&claims(&url, &fields["nonce"], &changes));
            let (to, state) = (&fields["redirect_uri"], &fields["state"]);
            (format!("{to}?code=c&state={state}"), answer(&token))
        }));
    }

    /// Asserts that nothing secret was revealed.
    pub(crate) fn end(self) {
        let directory = self.config.parent().expect("a directory").to_owned();
        self.service.end();
        let _ = fs::remove_dir_all(directory);
    }
}

/// The claims of an id token for the console.
fn claims(issuer: &str, nonce: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "sub": "ada@example.com", "aud": "console", "iat": now_s(), "exp": now_s() + 300,
        "nonce": nonce, "groups": ["staff", "operators"],
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// The answer to a code.
fn answer(token: &str) -> Value {
    json!({"access_token": "opaque", "token_type": "Bearer", "id_token": token})
}

/// The fields of a query.
fn fields(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').expect("a value");
        let value = codec::http::decode(value).expect("percent-encoded");
        (name.to_owned(), value.into_owned())
    });
    pairs.collect()
}

fn write(config: &Path, table: &str) {
    let token = config.with_file_name("admin.token");
    let text = format!(
        "[admin]\ntry = true\ntoken_file = {token:?}\norigins = [\"https://ops.example.com\"]\n{table}"
    );
    fs::write(config, text).expect("a file under target/");
}

fn rule(provider: &Provider, config: &Path, group: &str) -> String {
    let issuer = &provider.issuer;
    let secret = config.with_file_name("client.secret");
    format!(
        "[admin.oidc]\nprovider = {issuer:?}\nclaim = \"groups\"\nvalue = {group:?}\nclient_id = \"console\"\n\
         client_secret_file = {secret:?}\n"
    )
}

/// The provider's entry of the credentials file.
fn entry(provider: &Provider) -> String {
    let (issuer, ca) = (&provider.issuer, provider.identity.ca.display());
    format!(
        "[oidc_provider.\"{issuer}\"]\nclient_ids = [\"home-app\"]\nca = \"{ca}\"\nprivate = true\n"
    )
}

/// A browser at one address, without a user.
pub(crate) struct Browser<'c> {
    console: &'c Console,
    pub(crate) host: String,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl<'c> Browser<'c> {
    /// One that calls the listener by its address.
    pub(crate) fn of(console: &'c Console) -> Self {
        Self::at(console, &console.address().to_string())
    }

    pub(crate) fn at(console: &'c Console, host: &str) -> Self {
        Self {
            console,
            host: host.to_owned(),
            cookies: RefCell::default(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// A request with these further lines.
    pub(crate) fn ask(&self, method: &str, path: &str, lines: &str) -> Answer {
        let head = self.head(method, path, lines);
        let answer = exchange(self.console.address(), head.as_bytes());
        self.keep(&answer);
        answer
    }

    fn head(&self, method: &str, path: &str, lines: &str) -> String {
        let cookies = self.cookies.borrow();
        let pairs = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let pairs = pairs.collect::<Vec<_>>().join("; ");
        let cookie = match pairs.is_empty() {
            true => String::new(),
            false => format!("Cookie: {pairs}\r\n"),
        };
        let host = &self.host;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{cookie}{lines}\r\n"
        )
    }

    /// Takes the cookies of an answer. None may be seen by pages.
    fn keep(&self, answer: &Answer) {
        let lines = answer.headers.iter();
        for (_, line) in lines.filter(|(name, _)| name == "set-cookie") {
            assert!(line.contains("; HttpOnly; SameSite="), "{line}");
            let (pair, _) = line.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            if line.contains("Max-Age=0;") {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.console.service.keep(value);
                let pair = (name.to_owned(), value.to_owned());
                self.cookies.borrow_mut().extend([pair]);
            }
        }
    }

    /// The name and value of the only cookie whose name has this part.
    pub(crate) fn cookie(&self, part: &str) -> Option<(String, String)> {
        let cookies = self.cookies.borrow();
        let mut found = cookies.iter().filter(|(name, _)| name.contains(part));
        let (name, value) = found.next()?;
        assert!(found.next().is_none(), "one cookie");
        Some((name.clone(), value.clone()))
    }

    /// Writes a cookie itself.
    pub(crate) fn plant(&self, name: &str, value: &str) {
        let pair = (name.to_owned(), value.to_owned());
        self.cookies.borrow_mut().extend([pair]);
    }

    /// Begins to sign in; what the provider's page is asked with.
    pub(crate) fn begin(&self) -> BTreeMap<String, String> {
        let answer = self.get("/account/sign-in");
        assert_eq!(answer.status, 303, "{}", answer.text());
        let to = answer.header("location").expect("the provider's page");
        let (page, query) = to.split_once('?').expect("a query");
        assert_eq!(page, format!("{}/authorize", self.console.provider.url()));
        fields(query)
    }

    /// Comes back from the provider's page, as a browser does from another site.
    pub(crate) fn back(&self, state: &str, more: &str) -> Answer {
        let path = format!("/account/callback?state={state}{more}");
        let visit = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        self.ask("GET", &path, visit)
    }

    /// The status of a page for those who are let in.
    pub(crate) fn overview(&self) -> u16 {
        self.get("/overview").status
    }

    /// The page that says who is signed in.
    pub(crate) fn account(&self) -> Value {
        self.get("/account").json()
    }

    /// An event stream that has begun.
    pub(crate) fn stream(&self) -> TcpStream {
        let mut stream = tcp(self.console.address());
        let head = self.head("GET", "/events?topics=overview", "");
        stream.write_all(head.as_bytes()).expect("a request");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).expect("a status line");
        assert_eq!(&begin, b"HTTP/1.1 200");
        stream
    }
}

/// Reads what is left of a stream, to its end: it fails when that does not come.
pub(crate) fn read_to_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}
