//! One file per command: it asks the lower floors, shows the answer, and says how the program ends.

pub mod apply;
pub mod hosts;
pub mod init;
pub mod logs;
pub mod plan;
pub mod run;
pub mod schema;
pub mod status;
pub mod validate;
