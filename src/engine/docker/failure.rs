//! What went wrong at an engine, in our words.
//!
//! Takes errors of the API library. Gives an [`EngineError`] that says the cause and whether waiting may help.
//!
//! Never reads an answer that was not understood as "there is none".

use bollard::errors::Error;

use crate::causes::chain;
use crate::engine::EngineError;

/// The meaning of an error that has no special meaning for the call.
pub fn of(call: &'static str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => status(call, status_code, message),
        Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => {
            EngineError::Failed { call, why: error }
        }
        Error::IOError { err } => EngineError::Unreachable { why: chain(&err) },
        Error::HyperResponseError { err } => broken(call, &err),
        Error::HyperLegacyError { err } => broken(call, &err),
        Error::SocketNotFoundError(why) => EngineError::Unreachable { why },
        Error::RequestTimeoutError => EngineError::Unreachable { why: "the connection timed out".to_owned() },
        Error::HttpClientError { err } => refused(call, chain(&err)),
        Error::URLEncodedError { err } => refused(call, chain(&err)),
        Error::URLParseError { err } => refused(call, chain(&err)),
        Error::InvalidURIError { err } => refused(call, chain(&err)),
        Error::InvalidURIPartsError { err } => refused(call, chain(&err)),
        Error::UnsupportedURISchemeError { uri } => refused(call, format!("{uri} cannot be asked for")),
        other @ (Error::JsonDataError { .. }
        | Error::APIVersionParseError {}
        | Error::MissingSessionBuildkitError {}
        | Error::MissingVersionBuildkitError {}
        | Error::JsonSerdeError { .. }
        | Error::StrParseError { .. }
        | Error::StrFmtError { .. }
        | Error::HttpHeaderNotFoundError(_)
        | Error::HttpHeaderToStrError { .. }
        | Error::Base64DecodeError { .. }) => EngineError::NotUnderstood { call, why: chain(&other) },
    }
}

/// The meaning of a status that is not success.
pub fn status(call: &'static str, status: u16, message: String) -> EngineError {
    match status {
        404 => EngineError::NotFound { call, thing: message },
        // The engine was replaced by one that no longer (or not yet) speaks the agreed version: agree anew.
        400 if message.contains("client version") => EngineError::Unreachable { why: message },
        400..500 => EngineError::Refused { call, status, why: message },
        _ => EngineError::Failed { call, why: message },
    }
}

/// Why a start failed: a taken port keeps the container `created`.
pub fn of_start(error: Error) -> EngineError {
    if let Error::DockerResponseServerError { status_code, message } = &error
        && *status_code >= 500
        && names_a_port(message)
    {
        let mut why = message.clone();
        if why.contains("cannot assign requested address") {
            why.push_str("; the machine does not have that address: correct `ipAddress` in the host's file, or say `publishAddress`");
        }
        return EngineError::PortTaken { why };
    }
    of("start", error)
}

// Lower case matters: `Address already in use` is what an engine says of a container's own address on its network.
fn names_a_port(message: &str) -> bool {
    ["port is already allocated", "address already in use", "cannot assign requested address"]
        .iter()
        .any(|text| message.contains(text))
}

/// Why an image cannot be had, or could not be asked for.
pub fn of_image(call: &'static str, image: &str, error: Error) -> EngineError {
    let (Error::DockerResponseServerError { message: why, .. } | Error::DockerStreamError { error: why }) = &error
    else {
        return of(call, error);
    };
    let settled = [
        "manifest unknown",
        "not found",
        "denied",
        "unauthorized",
        "does not exist",
        "No such image",
        "no matching manifest",
        "authentication required",
        "no basic auth credentials",
    ];
    if settled.iter().any(|text| why.contains(text)) {
        EngineError::ImageMissing { image: image.to_owned(), why: why.clone() }
    } else {
        // A registry that cannot be reached is told with a 500, and with a 404 by some engines.
        EngineError::Failed { call, why: why.clone() }
    }
}

fn refused(call: &'static str, why: String) -> EngineError {
    EngineError::Refused { call, status: 0, why }
}

fn broken(call: &'static str, error: &(dyn std::error::Error + 'static)) -> EngineError {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return EngineError::NotUnderstood { call, why: chain(error) };
        }
        next = cause.source();
    }
    EngineError::Unreachable { why: chain(error) }
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error;

    use super::{of_image, of_start};
    use crate::engine::EngineError;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn a_taken_port_is_told_from_a_taken_container_address() {
        for message in [
            "driver failed programming external connectivity on endpoint x: Bind for 0.0.0.0:80 failed: port is already allocated",
            "Error starting userland proxy: listen tcp4 127.0.0.1:80: bind: address already in use",
            "listen tcp4 10.9.9.9:80: bind: cannot assign requested address",
        ] {
            let error = of_start(answer(500, message));
            assert!(matches!(error, EngineError::PortTaken { .. }), "{error}");
        }
        let error = of_start(answer(500, "Address already in use"));
        assert!(matches!(error, EngineError::Failed { .. }), "{error}");
    }

    #[test]
    fn a_registry_that_is_down_may_come_back_and_an_unknown_tag_will_not() {
        let down = of_image("pull", "x:1", answer(500, "dial tcp 10.0.0.1:443: connect: connection refused"));
        assert!(down.is_transient(), "{down}");
        let unknown = of_image("pull", "x:1", answer(404, "manifest for x:1 not found: manifest unknown"));
        assert!(matches!(unknown, EngineError::ImageMissing { .. }), "{unknown}");
        assert!(!unknown.is_transient());
    }
}
