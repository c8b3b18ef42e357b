//! Points at which a test lets the program die: before and after every call to an engine and to Git.
//!
//! Takes two variables of the environment. `BAYPLAN_FAILPOINT=POINT:N` kills the process at the N-th passing of a point,
//! with SIGKILL: nothing is finished, no destructor runs. `BAYPLAN_FAILPOINT_TRACE=FILE` appends the name of every point
//! that is passed to a file, so that a test learns which there are.
//!
//! Never in a release build: there the functions are empty, and the variables are not looked at.
//!
//! Because a door has one place that all its calls pass, a call that is added later has its points, too.

use std::future::Future;

/// On which side of a call a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// What lies between two points.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// A request to an engine.
    Engine(&'a str),
    /// A run of the `git` executable, by its subcommand.
    Git(&'a str),
    /// Work in a repository, by the path of the function that it is for: see [`Call::of`].
    Repository(&'static str),
}

impl Call<'_> {
    /// The call that a closure is for is where it is written, so that none needs to be named by hand.
    pub fn of<F>(work: &F) -> Self {
        Self::Repository(std::any::type_name_of_val(work))
    }
}

/// Does the work between its two points.
pub async fn around<T>(call: Call<'_>, work: impl Future<Output = T>) -> T {
    reach(Side::Before, call);
    let done = work.await;
    reach(Side::After, call);
    done
}

/// Passes a point, or dies there.
#[inline]
pub fn reach(side: Side, call: Call<'_>) {
    #[cfg(debug_assertions)]
    armed::reach(side, call);
    #[cfg(not(debug_assertions))]
    let _ = (side, call);
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Call, Side};

    /// The end that was asked for: at which passing of which point.
    struct Deadly {
        point: String,
        passing: u32,
    }

    struct Armed {
        deadly: Option<Deadly>,
        trace: Option<Mutex<File>>,
        passed: Mutex<BTreeMap<String, u32>>,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED.get_or_init(arm).as_ref()
    }

    fn arm() -> Option<Armed> {
        let deadly = std::env::var("BAYPLAN_FAILPOINT").ok().map(|text| {
            let (point, passing) = text.rsplit_once(':').expect("BAYPLAN_FAILPOINT is POINT:N");
            Deadly { point: point.to_owned(), passing: passing.parse().expect("BAYPLAN_FAILPOINT ends with a number") }
        });
        let trace = std::env::var_os("BAYPLAN_FAILPOINT_TRACE").map(|path| {
            let file = File::options().append(true).create(true).open(path);
            Mutex::new(file.expect("BAYPLAN_FAILPOINT_TRACE can be written"))
        });
        (deadly.is_some() || trace.is_some()).then(|| Armed { deadly, trace, passed: Mutex::default() })
    }

    /// `bayplan::source::Source::head::{{closure}}` → `source head`: types and closures say nothing more.
    pub fn name(call: Call<'_>) -> String {
        match call {
            Call::Engine(call) => format!("engine {call}"),
            Call::Git(subcommand) => format!("git {subcommand}"),
            Call::Repository(path) => {
                let parts = path.split('<').next().unwrap_or_default().split("::");
                let functions = parts.filter(|part| part.starts_with(char::is_lowercase) && *part != "bayplan");
                functions.collect::<Vec<_>>().join(" ")
            }
        }
    }

    pub fn reach(side: Side, call: Call<'_>) {
        let Some(armed) = armed() else { return };
        let call = name(call);
        let point = match side {
            Side::Before => format!("before {call}"),
            Side::After => format!("after {call}"),
        };
        // Held until the end: nobody passes a point while the process dies at one.
        let mut passed = armed.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(point.clone()).or_default();
        *count += 1;
        if let Some(trace) = &armed.trace {
            let mut file = trace.lock().unwrap_or_else(PoisonError::into_inner);
            // One write: what was passed stays readable whenever the process dies.
            file.write_all(format!("{point}:{count}\n").as_bytes()).expect("the trace can be written");
        }
        if armed.deadly.as_ref().is_some_and(|deadly| deadly.point == point && deadly.passing == *count) {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            loop {
                std::thread::park();
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{Call, armed};

    #[test]
    fn a_call_is_named_after_the_function_that_makes_it() {
        let work = || 1;
        let name = armed::name(Call::of(&work));
        assert_eq!(name, "failpoint tests a_call_is_named_after_the_function_that_makes_it");
        assert_eq!(armed::name(Call::Git("push")), "git push");
    }
}
