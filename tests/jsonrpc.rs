//! JSON-RPC over plain HTTP/1.1: what drives Anvil, and what the hostile proxy is made of.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any call here takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// One request or response, as far as a node and its clients need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub first_line: String,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads the next message of a connection; `None` at its end.
    pub fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
        let mut first_line = String::new();
        if stream.read_line(&mut first_line)? == 0 {
            return Ok(None);
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Message { first_line: first_line.trim_end().to_owned(), body }))
    }

    pub fn write(stream: &mut TcpStream, first_line: &str, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "{first_line}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Asks one question on a connection of its own.
pub fn exchange(address: &str, first_line: &str, body: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CALL_TIMEOUT))?;
    Message::write(&mut stream, first_line, body)?;
    Message::read(&mut BufReader::new(stream))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A client of a node.
#[derive(Clone, Debug)]
pub struct Rpc {
    address: String,
}

impl Rpc {
    pub fn new(url: &str) -> Rpc {
        Rpc { address: url.strip_prefix("http://").unwrap().to_owned() }
    }

    /// Passes a whole JSON-RPC request on, and the whole answer back.
    pub fn pass(&self, request: &Value) -> io::Result<Value> {
        let answer = exchange(&self.address, "POST / HTTP/1.1", &serde_json::to_vec(request)?)?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Calls a method; the node's error, in its words.
    pub fn try_call(&self, method: &str, params: Value) -> Result<Value, String> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.pass(&request).unwrap_or_else(|error| panic!("{method}: {error}"));
        match answer["error"]["message"].as_str() {
            Some(message) => Err(message.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method that must succeed.
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method that answers with a number.
    pub fn number(&self, method: &str, params: Value) -> u64 {
        let answer = self.call(method, params);
        quantity(&answer).unwrap_or_else(|| panic!("{method}: {answer} is no number"))
    }

    pub fn mine(&self) {
        self.call("evm_mine", json!([]));
    }

    /// Whether transactions are mined as they come.
    pub fn automine(&self, on: bool) {
        self.call("evm_setAutomine", json!([on]));
    }
}

/// The number that a `0x…` text says.
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
