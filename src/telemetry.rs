//! Says what the service does, as lines of text or of JSON, on standard error.
//!
//! Never lets a library log bodies of requests: they hold variables.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::model::config::LogFormat;

/// The engine library logs requests and answers at lower levels.
const NEVER_BELOW: [&str; 3] = ["bollard=warn", "hyper=warn", "hyper_util=warn"];

/// Starts logging for the whole process. `filter` is as in `RUST_LOG`; absent, our own lines from `info` on are shown.
/// Asking twice keeps the first answer.
pub fn start(format: LogFormat, filter: Option<&str>) {
    let mut directives = EnvFilter::try_new(filter.unwrap_or("warn,bayplan=info"))
        .unwrap_or_else(|_| EnvFilter::new("warn,bayplan=info"));
    for quiet in NEVER_BELOW {
        directives = directives.add_directive(quiet.parse().expect("a constant directive"));
    }
    let builder = fmt().with_env_filter(directives).with_writer(std::io::stderr).with_target(false);
    // A second start, as tests make it, must not end the process.
    let _ = match format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
