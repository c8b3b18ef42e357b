//! One file per command: it asks the lower floors, shows the answer, and says how the program ends.

pub mod apply;
pub mod blame;
pub mod explain;
pub mod history;
pub mod hosts;
pub mod init;
pub mod logs;
pub mod plan;
pub mod rollback;
pub mod run;
pub mod schema;
pub mod status;
pub mod suppose;
pub mod survives;
pub mod validate;
pub mod verify;
