//! Logging in.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::connection::{Connection, Fields, tag};
use super::stream::Stream;
use super::{server_error, tls};
use crate::error::Error;
use crate::options::ConnectOptions;

/// Kinds of the Authentication message. Source: PostgreSQL manual, "Message Formats".
mod kind {
    pub(super) const OK: i32 = 0;
    pub(super) const CLEAR_TEXT: i32 = 3;
    pub(super) const MD5: i32 = 5;
    pub(super) const SASL: i32 = 10;
    pub(super) const SASL_CONTINUE: i32 = 11;
    pub(super) const SASL_FINAL: i32 = 12;
}

/// Answers the server's demands until it says the login is good.
///
/// `database` is the name password files know this connection by.
pub(super) fn log_in(
    connection: &mut Connection,
    options: &ConnectOptions,
    database: &str,
) -> Result<(), Error> {
    let mut asked_for_password = false;
    loop {
        let frame = connection.read(options.connect_timeout)?;
        match frame.tag {
            tag::AUTHENTICATION => {}
            // No minor version above 3.0 was asked for, so nothing was taken back that matters.
            tag::NEGOTIATE_PROTOCOL | tag::NOTICE => continue,
            tag::ERROR => return Err(refusal(options, &frame.body, asked_for_password)),
            other => return Err(unexpected(other)),
        }
        let mut fields = Fields(&frame.body);
        let demand = fields.i32()?;
        if demand == kind::OK {
            return Ok(());
        }
        let password = options.password_for(database);
        let password = password.ok_or_else(|| Error::PasswordMissing {
            user: options.user.clone(),
        })?;
        asked_for_password = true;
        match demand {
            kind::CLEAR_TEXT => clear_text(connection, password.as_bytes())?,
            kind::MD5 => md5(connection, options, password.as_bytes(), fields.take(4)?)?,
            kind::SASL => scram(connection, options, password.as_bytes(), &mut fields)?,
            other => {
                return Err(Error::AuthenticationMethod {
                    method: method_name(other),
                });
            }
        }
    }
}

fn clear_text(connection: &mut Connection, password: &[u8]) -> Result<(), Error> {
    let stream = connection.stream();
    let safe = matches!(stream, Stream::Tls(_)) || stream.is_loopback();
    if !safe {
        return Err(Error::ClearTextRefused);
    }
    send(connection, |buffer| {
        frontend::password_message(password, buffer)
    })
}

fn md5(
    connection: &mut Connection,
    options: &ConnectOptions,
    password: &[u8],
    salt: &[u8],
) -> Result<(), Error> {
    let salt = salt
        .try_into()
        .map_err(|_| Error::protocol("a salt of wrong length"))?;
    let hash = md5_hash(options.user.as_bytes(), password, salt);
    send(connection, |buffer| {
        frontend::password_message(hash.as_bytes(), buffer)
    })
}

/// SCRAM (RFC 5802, 7677), bound to the TLS channel where both sides can.
fn scram(
    connection: &mut Connection,
    options: &ConnectOptions,
    password: &[u8],
    offered: &mut Fields<'_>,
) -> Result<(), Error> {
    let (mechanism, binding) = choose(connection.stream(), &mechanisms(offered)?)?;
    let mut scram = ScramSha256::new(password, binding);
    send(connection, |buffer| {
        frontend::sasl_initial_response(mechanism, scram.message(), buffer)
    })?;
    let challenge = sasl_message(connection, options, kind::SASL_CONTINUE)?;
    scram.update(&challenge).map_err(not_scram)?;
    send(connection, |buffer| {
        frontend::sasl_response(scram.message(), buffer)
    })?;
    let verdict = sasl_message(connection, options, kind::SASL_FINAL)?;
    // Proves that the server knows the password too, and is not a stranger who took ours.
    scram.finish(&verdict).map_err(not_scram)
}

fn mechanisms(offered: &mut Fields<'_>) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    loop {
        match offered.text()? {
            name if name.is_empty() => return Ok(names),
            name => names.push(name),
        }
    }
}

fn choose(stream: &Stream, offered: &[String]) -> Result<(&'static str, ChannelBinding), Error> {
    let offers = |name| offered.iter().any(|offer| offer == name);
    let hash = match stream {
        Stream::Tls(tls) => tls::end_point_binding(&tls.conn),
        _ => None,
    };
    match hash {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => Ok((
            SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(hash),
        )),
        // "I could, you do not offer it": detects someone in the middle who removed the offer.
        Some(_) if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        None if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
        _ => Err(Error::AuthenticationMethod {
            method: format!("SASL ({})", offered.join(", ")),
        }),
    }
}

fn sasl_message(
    connection: &mut Connection,
    options: &ConnectOptions,
    wanted: i32,
) -> Result<Vec<u8>, Error> {
    let frame = connection.read(options.connect_timeout)?;
    match frame.tag {
        tag::AUTHENTICATION => {}
        tag::ERROR => return Err(refusal(options, &frame.body, true)),
        other => return Err(unexpected(other)),
    }
    let mut fields = Fields(&frame.body);
    match fields.i32()? {
        found if found == wanted => Ok(fields.0.to_vec()),
        other => Err(Error::protocol(format!(
            "login step {other} where {wanted} was due"
        ))),
    }
}

fn send(
    connection: &mut Connection,
    write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
) -> Result<(), Error> {
    let mut buffer = BytesMut::new();
    write(&mut buffer).map_err(|error| Error::protocol(error.to_string()))?;
    connection.send(&buffer)
}

/// Sorts the refusal of a login; `28P01` without a question for a password is `pg_hba.conf`'s.
fn refusal(options: &ConnectOptions, body: &[u8], asked_for_password: bool) -> Error {
    let source = match server_error(body) {
        Ok(source) => source,
        Err(error) => return error,
    };
    let user = options.user.clone();
    match source.sqlstate.as_str() {
        "28P01" if asked_for_password => Error::WrongPassword {
            user,
            source: Box::new(source),
        },
        "28P01" | "28000" => Error::LoginRefused {
            user,
            source: Box::new(source),
        },
        _ => source.into(),
    }
}

fn not_scram(error: std::io::Error) -> Error {
    Error::protocol(format!("SCRAM: {error}"))
}

fn unexpected(tag: u8) -> Error {
    Error::protocol(format!(
        "message `{}` during login",
        char::from(tag).escape_default()
    ))
}

fn method_name(kind: i32) -> String {
    match kind {
        2 => "Kerberos".to_owned(),
        7 | 8 => "GSSAPI".to_owned(),
        9 => "SSPI".to_owned(),
        other => format!("unknown (code {other})"),
    }
}
