//! The events of a case, from the keys of its tables.

use std::net::{IpAddr, SocketAddr};

use crate::{
    event::{
        Action, Addressee, Credentials, CredentialsChange, Descriptor, DescriptorCall, Event, Exec,
        File, FileCall, Ids, Object, ObjectId, Origin, Path, PathCall, Paths, ProcessId,
        SocketEnds, Target, Traffic, TrafficReport, Trust,
    },
    rules::{
        fields::FILE_CLASSES,
        kinds::KINDS,
        language::{
            Wrong,
            table::{Table, integer, text, unlike},
            unknown,
        },
    },
};

/// Where all processes run.
const CGROUP: u64 = 1;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;
const AF_INET: u32 = 2;

pub(super) const EVENT: &[&str] = &[
    "event",
    "pid",
    "at",
    "uid",
    "euid",
    "result",
    "tainted",
    "child",
    "path",
    "source",
    "given",
    "argv",
    "env",
    "untrusted",
    "unlinked",
    "resolved",
    "class",
    "source_class",
    "open_flags",
    "mode",
    "flags",
    "length",
    "fd",
    "from_fd",
    "inode",
    "family",
    "socket_type",
    "address",
    "port",
    "bytes",
    "target",
    "target_is_sentinel",
    "request",
    "signal",
    "write",
    "command",
    "old_euid",
    "new_euid",
    "gained_capabilities",
    "user_namespace_level",
    "owner",
    "fs_type",
    "protection",
];

fn id(pid: u32) -> ProcessId {
    ProcessId { tgid: pid, start_time: u64::from(pid) }
}

/// The keys of one event.
pub(super) struct Words<'t> {
    pub(super) table: Table<'t>,
}

impl Words<'_> {
    pub(super) fn event(&self, timestamp: u64) -> Result<Event, Wrong> {
        let process = id(self.number("pid")?.unwrap_or(100));
        let uid = self.number("uid")?.unwrap_or(0);
        let result = match self.table.get("result") {
            None => 0,
            Some(item) => integer(item)
                .and_then(|number| i64::try_from(number).ok())
                .ok_or_else(|| unlike(item, "a number"))?,
        };
        Ok(Event {
            timestamp,
            process,
            tid: process.tgid,
            uid,
            euid: self.number("euid")?.unwrap_or(uid),
            cgroup_id: CGROUP,
            call: None,
            result,
            io_uring: false,
            tainted: self.flag("tainted")?,
            racy: false,
            private_descriptors: false,
            shares_memory: false,
            access: None,
            action: self.action(process)?,
        })
    }

    fn action(&self, process: ProcessId) -> Result<Action, Wrong> {
        let item = self.table.required("event")?;
        let flags = || self.number("flags").map(Option::unwrap_or_default);
        let mode = || self.number("mode").map(Option::unwrap_or_default);
        let length = || self.number("length").map(|length| u64::from(length.unwrap_or_default()));
        Ok(match text(item)? {
            "fork" => Action::Fork {
                child: id(self.number("child")?.unwrap_or(process.tgid.saturating_add(1))),
                child_cgroup_id: CGROUP,
                parent: process,
                shares_descriptors: false,
            },
            "exec" => Action::Exec(Box::new(self.exec()?)),
            "exit" => Action::Exit,
            "socket" => self.descriptor(DescriptorCall::Socket)?,
            "connect" => self.descriptor(DescriptorCall::Connect)?,
            "accept" => self.descriptor(DescriptorCall::Accept)?,
            "bind" => self.descriptor(DescriptorCall::Bind)?,
            "listen" => self.descriptor(DescriptorCall::Listen)?,
            "dup" => self.descriptor(DescriptorCall::Dup)?,
            "pipe" => self.descriptor(DescriptorCall::Pipe)?,
            "socketpair" => self.descriptor(DescriptorCall::Socketpair)?,
            "received" => self.descriptor(DescriptorCall::Received)?,
            "setns" => {
                Action::Setns { number: self.number("fd")?, descriptor: None, namespaces: flags()? }
            }
            "open" => self.file(FileCall::Open)?,
            "memfd" => self.file(FileCall::Memfd { flags: flags()? })?,
            "mmap" => self.file(FileCall::Map {
                protection: u64::from(self.number("protection")?.unwrap_or_default()),
                flags: u64::from(flags()?),
            })?,
            "fchmod" => self.file(FileCall::Fchmod { mode: mode()? })?,
            "ftruncate" => self.file(FileCall::Ftruncate { length: length()? })?,
            "load_module_file" => self.file(FileCall::LoadModule { flags: flags()? })?,
            "load_module" => Action::LoadModule { length: length()? },
            "sent" | "traffic" => self.traffic(text(item)? == "sent")?,
            "rename" => self.paths(PathCall::Rename { flags: flags()? }, true)?,
            "link" => self.paths(PathCall::Link { flags: flags()? }, true)?,
            "symlink" => self.paths(PathCall::Symlink, true)?,
            "unlink" => self.paths(PathCall::Unlink { flags: flags()? }, false)?,
            "chmod" => self.paths(PathCall::Chmod { mode: mode()? }, false)?,
            "truncate" => self.paths(PathCall::Truncate { length: length()? }, false)?,
            "mount" => self.paths(PathCall::Mount { flags: u64::from(flags()?) }, true)?,
            "move_mount" => self.paths(PathCall::MoveMount { flags: flags()? }, true)?,
            "unmount" => self.paths(PathCall::Unmount { flags: flags()? }, false)?,
            "mkdir" => self.paths(PathCall::Mkdir { mode: mode()? }, false)?,
            "mknod" => self.paths(PathCall::Mknod { mode: mode()?, device: 0 }, false)?,
            "chroot" => self.paths(PathCall::Chroot, false)?,
            "credentials" => {
                let (before, after) = self.credentials()?;
                Action::Credentials(Box::new(CredentialsChange {
                    argument: [0; 3],
                    before: Some(before),
                    after: Some(after),
                }))
            }
            "ptrace" => Action::Ptrace {
                request: u64::from(self.number("request")?.unwrap_or(16)),
                target: self.target()?,
                address: 0,
            },
            "process_memory" => {
                Action::ProcessMemory { write: self.flag("write")?, target: self.target()? }
            }
            "kill" => Action::Kill {
                signal: i32::try_from(self.number("signal")?.unwrap_or(9)).unwrap_or(9),
                target: self.target()?,
            },
            "unshare" => Action::Unshare { flags: u64::from(flags()?) },
            "bpf" => {
                Action::Bpf { command: self.number("command")?.unwrap_or_default(), attributes: 0 }
            }
            "script" => {
                let bits = if self.flag("untrusted")? { 0 } else { u16::MAX };
                self.file(FileCall::Script { trust: Trust::of(bits) })?
            }
            "cgroup" => Action::CgroupFound { id: CGROUP, path: self.path("path")? },
            "userfaultfd" => Action::Userfaultfd { flags: flags()? },
            other => {
                let known = KINDS.iter().map(|entry| entry.name);
                return Err(Wrong::new(item.span(), unknown("event", other, known)));
            }
        })
    }

    fn exec(&self) -> Result<Exec, Wrong> {
        let arguments = self.texts("argv")?;
        if let Some(item) = self.table.get("argv")
            && arguments.iter().any(|argument| argument.contains(&0))
        {
            return Err(unlike(item, "texts without NUL"));
        }
        let (before, after) = self.credentials()?;
        Ok(Exec {
            object: Some(self.object(S_IFREG | 0o755)?),
            path: self.path("path")?,
            given: self.path("given")?,
            script: self.table.get("given").is_some(),
            argument_count: u32::try_from(arguments.len()).unwrap_or(u32::MAX),
            arguments: arguments.iter().collect(),
            environment: self.texts("env")?.into_iter().map(|name| (name, Vec::new())).collect(),
            before: Some(before),
            after: Some(after),
            trust: Trust::of(if self.flag("untrusted")? { 0 } else { u16::MAX }),
            ..Exec::default()
        })
    }

    fn object(&self, mode: u32) -> Result<Object, Wrong> {
        let inode = u64::from(self.number("inode")?.unwrap_or(1));
        let id = ObjectId { device: 1, inode, generation: 0 };
        let owner = self.number("owner")?.unwrap_or_default();
        Ok(Object {
            id,
            mode,
            owner,
            links: u32::from(!self.flag("unlinked")?),
            ..Object::default()
        })
    }

    fn file(&self, call: FileCall) -> Result<Action, Wrong> {
        Ok(Action::File(Box::new(File {
            call,
            number: self.number("fd")?,
            object: Some(self.object(S_IFREG | 0o600)?),
            path: self.path("path")?,
            class: self.class("class")?,
            open_flags: self.number("open_flags")?.unwrap_or_default(),
            close_on_exec: true,
        })))
    }

    fn paths(&self, call: PathCall, has_source: bool) -> Result<Action, Wrong> {
        let path = self.path("path")?;
        let paths = if has_source { [self.path("source")?, path] } else { [path, None] };
        Ok(Action::Paths(Box::new(Paths {
            call,
            object: Some(self.object(S_IFREG | 0o600)?),
            paths,
            class: self.class("class")?,
            source_class: self.class("source_class")?,
            label: self.table.text("fs_type")?.map(|name| name.as_bytes().to_vec()),
        })))
    }

    fn descriptor(&self, call: DescriptorCall) -> Result<Action, Wrong> {
        Ok(Action::Descriptor {
            call,
            number: Some(self.number("fd")?.unwrap_or(3)),
            from: self.number("from_fd")?,
            descriptor: Some(self.socket()?),
            close_on_exec: true,
        })
    }

    fn socket(&self) -> Result<Descriptor, Wrong> {
        let short = |key, default| {
            self.number(key)
                .map(|number| u16::try_from(number.unwrap_or(default)).unwrap_or(u16::MAX))
        };
        let port = short("port", 443)?;
        let remote = match self.table.get("address") {
            None => None,
            Some(item) => {
                let address: Option<IpAddr> = text(item)?.parse().ok();
                Some(address.ok_or_else(|| unlike(item, "an IP address"))?)
            }
        };
        let ends = SocketEnds {
            family: short("family", AF_INET)?,
            kind: short("socket_type", 1)?,
            remote: remote.map(|address| SocketAddr::new(address, port)),
            has_peer: remote.is_some(),
            ..SocketEnds::default()
        };
        Ok(Descriptor { object: self.object(S_IFSOCK)?, socket: Some(ends) })
    }

    fn traffic(&self, is_send: bool) -> Result<Action, Wrong> {
        let bytes = u64::from(self.number("bytes")?.unwrap_or_default());
        let report =
            if is_send { TrafficReport::Sent { bytes, calls: 1 } } else { TrafficReport::Totals };
        Ok(Action::Traffic(Box::new(Traffic {
            report,
            number: self.number("fd")?,
            descriptor: Some(self.socket()?),
            received: 0,
            sent: bytes,
            reads: 0,
            writes: 1,
            class: self.class("class")?,
            skipped: false,
            closes: false,
        })))
    }

    fn target(&self) -> Result<Target, Wrong> {
        let process = self.number("target")?.map(id);
        let pid = process.map_or(0, |process| i32::try_from(process.tgid).unwrap_or(0));
        let is_sentinel = self.flag("target_is_sentinel")?;
        Ok(Target { addressee: Addressee::Pid(pid), process, foreign_pids: false, is_sentinel })
    }

    fn credentials(&self) -> Result<(Credentials, Credentials), Wrong> {
        let of = |uid: u32, effective: u64, level: u32| {
            let ids = Ids { real: uid, effective: uid, saved: uid, file_system: uid };
            Credentials {
                user: ids,
                group: ids,
                inheritable: 0,
                permitted: effective,
                effective,
                bounding: 0,
                ambient: 0,
                user_namespace: 1,
                user_namespace_level: level,
                securebits: 0,
            }
        };
        let old = self.number("old_euid")?.unwrap_or_default();
        let new = self.number("new_euid")?.unwrap_or(old);
        let gained = u64::from(self.number("gained_capabilities")?.unwrap_or_default());
        let level = self.number("user_namespace_level")?.unwrap_or_default();
        Ok((of(old, 0, level), of(new, gained, level)))
    }

    fn class(&self, key: &str) -> Result<u32, Wrong> {
        let Some(item) = self.table.get(key) else { return Ok(0) };
        let name = text(item)?;
        let found = FILE_CLASSES.iter().find(|(known, _)| *known == name);
        found.map(|(_, class)| *class).ok_or_else(|| {
            let known = FILE_CLASSES.iter().map(|(name, _)| *name);
            Wrong::new(item.span(), unknown("class of files", name, known))
        })
    }

    fn path(&self, key: &str) -> Result<Option<Path>, Wrong> {
        let is_given = self.table.get("resolved").is_some() && !self.flag("resolved")?;
        let origin = if is_given { Origin::Given } else { Origin::Kernel };
        let path = self.table.text(key)?;
        Ok(path.map(|path| Path { bytes: path.as_bytes().to_vec(), origin, truncated: false }))
    }

    fn texts(&self, key: &str) -> Result<Vec<Vec<u8>>, Wrong> {
        self.table.list(key)?.iter().map(|item| Ok(text(item)?.as_bytes().to_vec())).collect()
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Wrong> {
        let Some(item) = self.table.get(key) else { return Ok(None) };
        let number = integer(item).and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| unlike(item, "a number from 0 to 2^32"))
    }

    fn flag(&self, key: &str) -> Result<bool, Wrong> {
        match self.table.get(key) {
            None => Ok(false),
            Some(item) => item.get_ref().as_bool().ok_or_else(|| unlike(item, "true or false")),
        }
    }
}
