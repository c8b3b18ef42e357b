//! What containers and commands print, and the engine's stream of events.
//!
//! Gives whole lines; what is not UTF-8 is shown as replacement characters.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{Docker, answer, failure, named, wire};
use crate::engine::{EngineError, EngineEvent, ExecOutcome, ExecRequest, deadline};

/// Enough for the end of a stack trace; the status file quotes less.
const OUTPUT_KEPT: usize = 4096;

/// The engine learns of the end of a command a moment after its output has ended.
const EXIT_CODE_POLL: Duration = Duration::from_millis(20);
const EXIT_CODE_WITHIN: Duration = deadline::READ;

/// Runs a command in a container. One that did not end in time goes on without us.
pub async fn exec(door: &Docker, id: &str, command: &ExecRequest) -> Result<ExecOutcome, EngineError> {
    const CALL: &str = "exec";
    named::container(CALL, id)?;
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.command.clone()),
        working_dir: command.working_dir.clone(),
        ..Default::default()
    };
    let exec = door.ask(CALL, deadline::READ, door.api().create_exec(id, options)).await?.id;
    let started = door.ask(CALL, deadline::READ, door.api().start_exec(&exec, None)).await?;
    let mut kept = Vec::new();
    let mut in_time = true;
    if let StartExecResults::Attached { mut output, input: _input } = started {
        let drain = async {
            while let Some(part) = output.next().await {
                let part = part.map_err(|error| failure::of(CALL, error))?;
                kept.extend_from_slice(&part.into_bytes());
                if kept.len() > 2 * OUTPUT_KEPT {
                    kept.drain(..kept.len() - OUTPUT_KEPT);
                }
            }
            Ok(())
        };
        match timeout(command.timeout, drain).await {
            Ok(drained) => drained?,
            Err(_) => in_time = false,
        }
    }
    let code = exit_code(door, &exec, if in_time { EXIT_CODE_WITHIN } else { Duration::ZERO }).await?;
    kept.drain(..kept.len().saturating_sub(OUTPUT_KEPT));
    Ok(ExecOutcome { code, output: String::from_utf8_lossy(&kept).into_owned() })
}

async fn exit_code(door: &Docker, exec: &str, within: Duration) -> Result<Option<i64>, EngineError> {
    let begun = Instant::now();
    loop {
        let look = door.ask("exec", deadline::READ, door.api().inspect_exec(exec)).await?;
        if look.running != Some(true) {
            return Ok(look.exit_code);
        }
        if begun.elapsed() >= within {
            return Ok(None);
        }
        sleep(EXIT_CODE_POLL).await;
    }
}

/// Commands that were started by exec and still run.
pub async fn commands_running(door: &Docker, id: &str) -> Result<Vec<Vec<String>>, EngineError> {
    const CALL: &str = "look at commands";
    named::container(CALL, id)?;
    let look = door.ask(CALL, deadline::READ, door.api().inspect_container(id, None)).await?;
    let mut running = Vec::new();
    for exec in look.exec_ids.unwrap_or_default() {
        let look = match door.ask(CALL, deadline::READ, door.api().inspect_exec(&exec)).await {
            Ok(look) => look,
            // It ended, and the engine has forgotten it.
            Err(EngineError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let (Some(true), Some(process)) = (look.running, look.process_config) {
            let mut command: Vec<String> = process.entrypoint.into_iter().collect();
            command.extend(process.arguments.unwrap_or_default());
            running.push(command);
        }
    }
    Ok(running)
}

/// The last lines.
pub async fn logs(door: &Docker, id: &str, lines: u32) -> Result<Vec<String>, EngineError> {
    const CALL: &str = "logs";
    named::container(CALL, id)?;
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build();
    let mut output = door.api().logs(id, Some(options));
    let collect = async {
        let mut splitter = Splitter::default();
        while let Some(part) = output.next().await {
            splitter.take(part?);
        }
        splitter.finish();
        Ok(splitter.lines.into())
    };
    door.ask(CALL, deadline::READ, collect).await
}

/// The last lines and every new one.
pub async fn follow_logs(
    door: &Docker,
    id: &str,
    lines: u32,
) -> Result<BoxStream<'static, Result<String, EngineError>>, EngineError> {
    const CALL: &str = "logs";
    named::container(CALL, id)?;
    // The stream tells of a missing container only when it is read.
    door.ask(CALL, deadline::READ, door.api().inspect_container(id, None)).await?;
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).tail(&lines.to_string()).build();
    Ok(whole_lines(Box::pin(door.api().logs(id, Some(options)))).boxed())
}

fn whole_lines<S>(parts: S) -> impl Stream<Item = Result<String, EngineError>>
where
    S: Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
{
    stream::unfold((Some(parts), Splitter::default()), |(mut parts, mut splitter)| async move {
        loop {
            if let Some(line) = splitter.lines.pop_front() {
                return Some((Ok(line), (parts, splitter)));
            }
            match parts.as_mut()?.next().await {
                Some(Ok(part)) => splitter.take(part),
                Some(Err(error)) => return Some((Err(failure::of("logs", error)), (None, splitter))),
                None => {
                    splitter.finish();
                    parts = None;
                    if splitter.lines.is_empty() {
                        return None;
                    }
                }
            }
        }
    })
}

/// Makes lines of parts, which may hold many or only a piece of one. The two outputs are split apart so that their
/// pieces do not mix.
#[derive(Default)]
struct Splitter {
    out: Vec<u8>,
    err: Vec<u8>,
    lines: VecDeque<String>,
}

impl Splitter {
    fn take(&mut self, part: LogOutput) {
        let rest = match &part {
            LogOutput::StdErr { .. } => &mut self.err,
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => &mut self.out,
        };
        rest.extend_from_slice(&part.into_bytes());
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            self.lines.push_back(text_of(&line));
        }
    }

    fn finish(&mut self) {
        for rest in [&mut self.out, &mut self.err] {
            if !rest.is_empty() {
                self.lines.push_back(text_of(rest));
                rest.clear();
            }
        }
    }
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}

/// `{"type":["container"]}`, as a query wants it.
const CONTAINERS_ONLY: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";

/// Container events. The engine has begun to send when this returns, so nothing that happens afterwards is missed; the
/// API library would ask only when the stream is first read.
pub async fn events(door: &Docker) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
    const CALL: &str = "events";
    let answer = door
        .ask(CALL, deadline::READ, async {
            let uri: hyper::Uri = format!("{}{CONTAINERS_ONLY}", wire::BASE).parse()?;
            let empty: wire::Body = Either::Left(Full::new(Bytes::new()));
            let request = hyper::Request::get(wire::versioned(&uri, door.version())).body(empty)?;
            door.pool().request(request).await.map_err(bollard::errors::Error::from)
        })
        .await?;
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        return Err(failure::status(CALL, status, "no events are given".to_owned()));
    }
    let parts = answer.into_body().into_data_stream();
    let events = stream::unfold((Some(parts), Vec::new()), |(mut parts, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let event = serde_json::from_slice(&line)
                    .map(answer::event)
                    .map_err(|error| EngineError::NotUnderstood { call: CALL, why: error.to_string() });
                return Some((event, (parts, rest)));
            }
            match parts.as_mut()?.next().await? {
                Ok(part) => rest.extend_from_slice(&part),
                Err(error) => {
                    let why = error.to_string();
                    return Some((Err(EngineError::Unreachable { why }), (None, rest)));
                }
            }
        }
    });
    Ok(events.boxed())
}

#[cfg(test)]
mod tests {
    use bollard::container::LogOutput;
    use futures_util::{StreamExt, stream};

    use super::whole_lines;

    #[tokio::test]
    async fn pieces_become_whole_lines_and_the_two_outputs_do_not_mix() {
        let out = |text: &'static str| Ok(LogOutput::StdOut { message: text.into() });
        let err = |text: &'static str| Ok(LogOutput::StdErr { message: text.into() });
        let parts = stream::iter([out("a\nb"), err("oh "), out("c\r\n"), err("no\n"), out("end")]);
        let lines: Vec<String> = whole_lines(parts).map(|line| line.expect("a line")).collect().await;
        assert_eq!(lines, ["a", "bc", "oh no", "end"]);
    }
}
