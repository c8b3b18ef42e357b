//! The closed catalogue of what can be wrong with a repository.
//!
//! Gives each code a stable name in kebab-case and one paragraph that explains it. Names never change their meaning:
//! people filter by them.

use std::fmt;

use super::Severity;

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $explanation:literal)*) => {
        /// One kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $explanation] $variant,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, in kebab-case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// One paragraph: what it means, and what to do.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    Symlink "symlink" Error
        "A symbolic link lies under `stacks/` or `hosts/`. Links are not followed, because they could lead out of the repository and would make two paths of one file. Put the file itself there."
    Submodule "submodule" Error
        "A submodule lies under `stacks/` or `hosts/`. What it holds is another repository's and is not part of the commit that is reviewed. Put the files themselves there."
    NotText "not-text" Error
        "The file is not UTF-8 text. Save it as UTF-8."
    FileTooLarge "file-too-large" Error
        "The file is larger than 256 KiB. That is many times the size of a large stack; the limit keeps one file from stopping everything. Split the stack."
    TooManyFiles "too-many-files" Error
        "There are more than 20,000 files under `stacks/` and `hosts/`. Nothing was read. Split the repository, or move what is not a stack or a host elsewhere."
    TooDeep "too-deep" Error
        "Lists and mappings, or folders, are nested more than 64 deep. No stack needs that; the limit keeps a hostile file from exhausting memory."
    SyntaxError "syntax-error" Error
        "The file is not well-formed YAML or JSON, so nothing could be read from it. While a file under `stacks/` cannot be read, nothing that seems absent is removed."
    EmptyFile "empty-file" Error
        "The file holds nothing but comments and blank lines. Delete it, or write the stack or host into it."
    Anchor "anchor" Error
        "The file uses a YAML anchor (`&name`). Anchors and aliases are refused: what is deployed should be readable where it stands, and they let a small file become a huge one. Write the value out."
    Alias "alias" Error
        "The file uses a YAML alias (`*name`). Anchors and aliases are refused: what is deployed should be readable where it stands, and they let a small file become a huge one. Write the value out. A text that begins with `*` needs quotes."
    MergeKey "merge-key" Error
        "The file uses a YAML merge key (`<<`). Merge keys are not part of YAML 1.2 and readers disagree about them. Write the fields out, or use the stack's defaults (`update`, `onHostLoss`)."
    Tag "tag" Error
        "The file uses a YAML tag (`!name`). Types are given by the schema, so a tag could only contradict it. Remove it; a text that begins with `!` needs quotes."
    DuplicateKey "duplicate-key" Error
        "A mapping has one key twice. Readers disagree about which one counts, so neither does. Remove one."
    SeveralDocuments "several-documents" Error
        "The file holds several YAML documents (`---`). One file declares one stack, or one host (or an ItemList of hosts). Split the file."
    UnknownField "unknown-field" Error
        "The field is not one that is known here. It is an error and not a warning, because a misspelt field that is silently ignored is how a setting gets lost. The schema (`bayplan schema stack`) lists all fields."
    WrongType "wrong-type" Error
        "The value is of another type than the field takes: a text where a number belongs, a single value where a list belongs."
    MissingField "missing-field" Error
        "A field that is always needed is absent. Every stack needs a `name` and services, every service a `position`, a `name` and an `image`, every host a `name` and an `ipAddress`."
    UnknownValue "unknown-value" Error
        "The field takes one of a few values, and this is none of them."
    OutOfRange "out-of-range" Error
        "The number is smaller or larger than the field takes, or a list or text is shorter or longer."
    BadName "bad-name" Error
        "The text cannot be used as a name. Engines take letters, digits, `_`, `.` and `-`, beginning with a letter or a digit, at most 63 characters (128 for networks and volumes). A stack's name may hold other characters too, but some letter or digit must be left."
    BadImage "bad-image" Error
        "The text is not an image reference: `[registry[:port]/]repository[:tag][@sha256:…]`, the repository in lower case."
    BadAddress "bad-address" Error
        "The text is not an IP address that can be used here. `ipAddress` is what other hosts connect to, so it cannot be a loopback, unspecified or multicast address, nor a name."
    BadEndpoint "bad-endpoint" Error
        "The text does not say where an engine listens. It is `unix:///path/to/docker.sock` or `tcp://host:port`."
    BadQuantity "bad-quantity" Error
        "The text is not an amount. Memory is a number of bytes or has a unit (`512Mi`, `16Gi`, `1G`); processor shares are cores (`0.5`) or thousandths (`500m`)."
    BadValue "bad-value" Error
        "The value has the right type but cannot be used: a path that is not absolute, a command with an open quote, a health check without what it needs. The message says which."
    ReservedLabel "reserved-label" Error
        "The label begins with `bayplan.`. By these labels Bayplan tells its own containers from others, so a stack cannot set them."
    DuplicateName "duplicate-name" Error
        "Two services of the stack have one name. Services are known by name on the stack's network, so each needs its own."
    DuplicatePosition "duplicate-position" Error
        "Two services of the stack have one position. Positions order the services, so each needs its own."
    DuplicateStack "duplicate-stack" Error
        "Two stacks become the same name on engines (lower case, with `-` for other characters). Neither is touched until one is renamed."
    DuplicateHost "duplicate-host" Error
        "Two hosts have one name. Hosts are known by name, so each needs its own."
    UnknownHost "unknown-host" Error
        "No file under `hosts/` declares a host of this name, nor a unique `@id` that equals it."
    UnknownService "unknown-service" Error
        "The stack has no service of this name. Requirements, actions, `notWith` and `hostMapping` speak of services of the same stack."
    UnknownDatacenter "unknown-datacenter" Error
        "No host is in a datacenter of this name, so nothing could ever be placed there."
    SelfRequirement "self-requirement" Error
        "The service requires itself (or must not share a host with itself), which can never be met. Use `replicas` and placement to keep instances apart."
    RequirementCycle "requirement-cycle" Error
        "Services require each other in a circle, so none of them could start first. The message shows the way round. Remove one of the requirements."
    MissingTargetHost "missing-target-host" Error
        "The stack's placement is `manual`, and this service names no host. Give it a `targetHost`, or an entry in `hostMapping`, or let the stack be placed with `placement: auto`."
    SeveralTargetHosts "several-target-hosts" Error
        "The stack's placement is `single`, which puts all services on one host, but two different hosts are named. Name one, or use another placement."
    TargetHostMismatch "target-host-mismatch" Error
        "Two places of the stack name different hosts for one service (`targetHost`, `hostMapping`), or `targetHost` of the stack is written under a placement that has no single host. Keep one."
    RemoteHostMismatch "remote-host-mismatch" Error
        "`remoteHost` says where a required service is, but that service is pinned to another host. `remoteHost` is an assertion and moves nothing; correct it or leave it out."
    PortClash "port-clash" Error
        "Two containers would need one port of one engine at the same address. Hosts with one endpoint share an engine, and with it its ports. Change a `hostPort` (or use `0`), the `hostIp`, or the host."
    DuplicateContainerName "duplicate-container-name" Error
        "Two containers would have one name: names are `{stack}-{service}-{number}`, and two different pairs of stack and service make the same. Rename one of the services or stacks."
    ServiceNameClash "service-name-clash" Error
        "Two stacks share a network and each has a service of this name there, so the name would lead to either. Rename one, or give one of the stacks its own network."
    InstanceNameClash "instance-name-clash" Error
        "The service has the name that an instance of a replicated service gets in the status (`service-n`). Rename it."
    VolumeCannotMove "volume-cannot-move" Error
        "`onHostLoss: move` is set for a service with a local volume. The data would stay on the lost host and the service would start empty elsewhere. Use `wait`, or keep the data elsewhere."
    NotSupportedYet "not-supported-yet" Error
        "The field is part of the format, but this version of Bayplan cannot do it yet. It is refused, because ignoring it would promise something that does not happen."
    NotAllowed "not-allowed" Error
        "The setting gives a container power over its host. It needs the operator's word in the configuration, outside this repository; the hint shows the line."
    SharedAddress "shared-address" Warning
        "Two hosts with different engines have one `ipAddress`. Services that connect to one of them may reach the other."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Code {
    /// Reads what [`Code::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}
