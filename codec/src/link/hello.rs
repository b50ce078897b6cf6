//! The hello: the first bytes that each side of a link sends.
//!
//! ```text
//!   0           8          12       14
//!  ┌───────────┬──────────┬────────┬─────────┬──────────────────┬────────────────────┐
//!  │ HELIOLNK  │ version  │ length │ cluster │ sender: a node   │ receiver: a node   │ shard 2, shards 2
//!  └───────────┴──────────┴────────┴─────────┴──────────────────┴────────────────────┘
//!   cluster: length 1, text          node: length 1, name, directory 4, start 8
//! ```
//! Bytes that follow the shards but are within the declared length are skipped, so that later versions can add fields.

use crate::link::take;

/// The hello of one side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Inter-node protocol version.
    pub version: u32,
    /// Id of the cluster.
    pub cluster: &'a str,
    /// The node that sends the hello.
    pub from: NodeName<'a>,
    /// The node to which the hello is addressed.
    pub to: NodeName<'a>,
    /// Index of the shard that serves the link, on the node that serves the channels (the owner). In a hello from the
    /// node with the clients (the front), this is the requested shard or [`ANY_SHARD`].
    pub shard: u16,
    /// Number of shards on the sending node.
    pub shards: u16,
}

/// Requests any shard. Used while the other node's number of shards is unknown.
pub const ANY_SHARD: u16 = u16::MAX;

/// A node, and one of the processes that have run on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName<'a> {
    /// Name of the node, from 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: &'a str,
    /// Number of the process's data directory. If the process is not known, this field and `start` are both 0.
    pub directory: u32,
    /// Start number of the process. Starts are counted separately for each data directory.
    pub start: u64,
}

/// The received bytes are not a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHello;

/// Maximum length of a node or cluster name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Maximum length of a hello in bytes: three names, two processes, and room for the fields of later versions.
pub const HELLO_BYTES_MAX: usize = 512;

const _: () = assert!(FIXED_BYTES + 3 * (1 + NAME_BYTES_MAX) + 2 * 12 + 4 <= HELLO_BYTES_MAX);

const MAGIC: [u8; 8] = *b"HELIOLNK";

/// Number of bytes that precede the cluster id.
const FIXED_BYTES: usize = 14;

impl<'a> Hello<'a> {
    /// Appends the hello. Writes a name that is too long as an empty one, which makes the receiver reject the hello.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut rest = Vec::with_capacity(HELLO_BYTES_MAX);
        write_name(&mut rest, self.cluster);
        for node in [&self.from, &self.to] {
            write_name(&mut rest, node.name);
            rest.extend_from_slice(&node.directory.to_be_bytes());
            rest.extend_from_slice(&node.start.to_be_bytes());
        }
        rest.extend_from_slice(&self.shard.to_be_bytes());
        rest.extend_from_slice(&self.shards.to_be_bytes());
        let length = u16::try_from(rest.len()).unwrap_or(0);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&rest);
    }

    /// Parses the hello at the start of `bytes`. Returns the hello and its length, or `None` if it is incomplete.
    ///
    /// # Errors
    /// Returns an error as soon as an invalid byte, length or name has arrived.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, NotHello> {
        let begun = bytes.len().min(MAGIC.len());
        if bytes.get(..begun) != MAGIC.get(..begun) {
            return Err(NotHello);
        }
        let mut rest = bytes.get(begun..).unwrap_or_default();
        let (Some(version), Some(length)) = (take(&mut rest), take(&mut rest)) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(length));
        if FIXED_BYTES + length > HELLO_BYTES_MAX {
            return Err(NotHello);
        }
        let Some(mut rest) = rest.get(..length) else {
            return Ok(None);
        };
        let cluster = read_name(&mut rest).ok_or(NotHello)?;
        let hello = Self {
            version: u32::from_be_bytes(version),
            cluster,
            from: read_node(&mut rest).ok_or(NotHello)?,
            to: read_node(&mut rest).ok_or(NotHello)?,
            shard: u16::from_be_bytes(take(&mut rest).ok_or(NotHello)?),
            shards: u16::from_be_bytes(take(&mut rest).ok_or(NotHello)?),
        };
        Ok(Some((hello, FIXED_BYTES + length)))
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    let name = Some(name).filter(|name| name.len() <= NAME_BYTES_MAX);
    let name = name.unwrap_or_default();
    out.push(u8::try_from(name.len()).unwrap_or(0));
    out.extend_from_slice(name.as_bytes());
}

fn read_name<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(rest)?;
    let (name, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    let name = std::str::from_utf8(name).ok()?;
    Some(name).filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()))
}

fn read_node<'a>(rest: &mut &'a [u8]) -> Option<NodeName<'a>> {
    Some(NodeName {
        name: read_name(rest)?,
        directory: u32::from_be_bytes(take(rest)?),
        start: u64::from_be_bytes(take(rest)?),
    })
}
