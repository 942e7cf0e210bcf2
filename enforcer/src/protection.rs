//! Who is never to be killed, and where anybody may be: by what the kernel says the process runs at that
//! moment, and in which cgroup. A path is that of the file which runs, also if a package has replaced it
//! since, and the new file has the same: so upgrades change nothing.

use sentinel_ipc::frame::{Description, Refusal};

use crate::settings::Settings;

/// What cgroups of systemd's units end with; slices only group them.
const UNITS: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];

/// The operator's lists.
#[derive(Debug)]
pub struct Protection {
    executables: Vec<String>,
    units: Vec<String>,
    cgroups: Vec<String>,
}

impl Protection {
    /// The lists in `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            executables: settings.never_kill_executables.clone(),
            units: settings.never_kill_units.clone(),
            cgroups: settings.scope_cgroups.clone(),
        }
    }

    /// Whether the process may be killed, as far as the lists say.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, process: &Description) -> Result<(), Refusal> {
        let cgroup = &process.cgroup;
        if !self.cgroups.is_empty() && !self.cgroups.iter().any(|scope| is_within(cgroup, scope)) {
            return Err(Refusal::OutsideScope);
        }
        let has = |list: &[String], name: &[u8]| list.iter().any(|one| one.as_bytes() == name);
        // Anybody may start a listed program and have it do something else; only root's are what they seem.
        let is_roots = process.is_sound && process.uid == 0;
        let is_protected = is_roots && has(&self.executables, &process.path)
            || match outermost(process) {
                Some(name) => has(&self.units, name),
                // One that is not known, or not whole, may be that of any unit.
                None => !is_whole(cgroup),
            };
        if is_protected { Err(Refusal::Protected) } else { Ok(()) }
    }
}

/// The outermost unit of a process's cgroup, or the container that it is in: what lies below may be its own making,
/// slices are root's.
fn outermost(process: &Description) -> Option<&[u8]> {
    let mut names = process.cgroup.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let is_container = |name: &[u8]| process.has_own_pids && !name.ends_with(b".slice");
    names.find(|name| is_unit(name) || is_container(name))
}

/// Whether all of the cgroup's path is known.
fn is_whole(cgroup: &[u8]) -> bool {
    cgroup == b"/" || !matches!(cgroup.last(), None | Some(b'/'))
}

/// Whether this is the name of a unit that processes may be in.
pub fn is_unit(name: &[u8]) -> bool {
    !name.contains(&b'/') && UNITS.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether the cgroup is `scope` or lies below it.
fn is_within(cgroup: &[u8], scope: &str) -> bool {
    let scope = scope.trim_end_matches('/').as_bytes();
    cgroup.strip_prefix(scope).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        && !cgroup.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(path: &str, uid: u32, cgroup: &str) -> Description {
        let (path, cgroup) = (path.into(), cgroup.into());
        Description { start_time: 1, uid, path, is_sound: true, has_own_pids: false, cgroup }
    }

    fn check(process: &Description) -> Result<(), Refusal> {
        let settings = Settings {
            never_kill_executables: vec!["/usr/sbin/sshd".into()],
            never_kill_units: vec!["db.service".into()],
            ..Settings::default()
        };
        Protection::new(&settings).check(process)
    }

    #[test]
    fn a_listed_program_of_roots_is_protected_and_no_look_alike() {
        let sshd = process("/usr/sbin/sshd", 0, "/system.slice/ssh.service");
        assert_eq!(check(&sshd), Err(Refusal::Protected));
        assert_eq!(check(&Description { uid: 1000, ..sshd.clone() }), Ok(()), "anybody's");
        assert_eq!(
            check(&Description { is_sound: false, ..sshd.clone() }),
            Ok(()),
            "a path of his"
        );
        for path in ["/tmp/sshd", "/usr/sbin/sshd2", "/usr/sbin/ssh", ""] {
            assert_eq!(check(&Description { path: path.into(), ..sshd.clone() }), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_listed_unit_is_protected_and_no_cgroup_of_its_name_elsewhere() {
        for (cgroup, is_protected) in [
            ("/system.slice/db.service", true),
            ("/system.slice/system-db.slice/db.service/worker", true),
            ("/machine/system.slice/db.service", true),
            ("/system.slice/web.service/db.service", false),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/db.service", false),
            ("/system.slice/db.service.d", false),
            ("/db.slice/x", false),
            ("/", false),
            ("", true),
            ("/a/deep/one/", true),
            ("/system.slice/web.service/deep/", false),
            ("/system.slice/db.service/deep/", true),
        ] {
            let found = check(&process("/usr/bin/db", 70, cgroup));
            assert_eq!(found.is_err(), is_protected, "{cgroup}");
        }
    }

    #[test]
    fn a_containers_own_units_are_not_the_hosts() {
        for (cgroup, is_protected) in [
            ("/docker/0123/system.slice/db.service", false),
            ("/lxc.payload.web/db.service", false),
            ("/docker/deep/", false),
            ("/machine.slice/libpod-1.scope/db.service", false),
            // A unit of the host with process numbers of its own.
            ("/system.slice/db.service", true),
            ("/system.slice/system-db.slice/db.service/payload", true),
            ("/system.slice/deep/", false),
            ("/system.slice/", true),
            ("", true),
        ] {
            let inside = process("/usr/bin/db", 70, cgroup);
            let found = check(&Description { has_own_pids: true, ..inside });
            assert_eq!(found.is_err(), is_protected, "{cgroup}");
        }
    }

    #[test]
    fn a_scope_is_a_subtree() {
        let settings = Settings {
            scope_cgroups: vec!["/user.slice/".into(), "/a/b".into()],
            ..Settings::default()
        };
        let protection = Protection::new(&settings);
        for (cgroup, is_inside) in [
            ("/user.slice", true),
            ("/user.slice/user-1.slice", true),
            ("/a/b/c", true),
            ("/user.slice/a.service/deep/", true),
            ("/a/deep/", false),
            ("/a", false),
            ("/a/bc", false),
            ("/x/user.slice", false),
            ("/", false),
            ("", false),
        ] {
            let found = protection.check(&process("/bin/x", 0, cgroup));
            let expected = if is_inside { Ok(()) } else { Err(Refusal::OutsideScope) };
            assert_eq!(found, expected, "{cgroup}");
        }
        let all = Settings { scope_cgroups: vec!["/".into()], ..Settings::default() };
        assert_eq!(Protection::new(&all).check(&process("/bin/x", 0, "/a")), Ok(()));
        assert!(Protection::new(&all).check(&process("/bin/x", 0, "")).is_err(), "not known");
    }
}
