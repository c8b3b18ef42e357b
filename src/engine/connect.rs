//! Makes the engine for an endpoint from what the operator configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::docker::Docker;
use crate::engine::docker::wire;
use crate::model::config::TlsFiles;
use crate::model::host::{Endpoint, Host};

/// The engine of a host; it connects when first asked something. `tls` is by endpoint or by host name; `patience` is how long
/// its first answer may take, if that is more than usual.
///
/// # Errors
/// A sentence that says what is missing, for people.
pub fn connect(
    host: &Host,
    endpoint: &Endpoint,
    tls: &BTreeMap<String, TlsFiles>,
    patience: Duration,
) -> Result<Arc<dyn Engine>, String> {
    match endpoint {
        Endpoint::Unix(path) => Ok(Arc::new(Docker::unix(path.clone()).with_patience(patience))),
        Endpoint::Tcp(address, port) => {
            let files = tls.get(&endpoint.to_string()).or_else(|| tls.get(host.name.as_str())).ok_or_else(|| {
                format!(
                    "the configuration has no TLS files for it: add `engines: {{ {endpoint}: {{ ca, cert, key }} }}`"
                )
            })?;
            let files = wire::TlsFiles { ca: files.ca.clone(), cert: files.cert.clone(), key: files.key.clone() };
            Ok(Arc::new(Docker::tls(address, *port, files).with_patience(patience)))
        }
        Endpoint::Memory(_) => Err("an engine in memory exists only in tests and in the demo".to_owned()),
    }
}
