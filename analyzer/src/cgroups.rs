//! Where processes run: cgroup, systemd unit, container, by the path of the cgroup.

use std::collections::BTreeMap;

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

use crate::{
    escape::escape,
    event::{Action, Event, Path},
};

/// What is followed here.
pub const NEEDS: KindSet = KindSet::of(&[kind::CGROUP_MADE, kind::CGROUP_REMOVED]);

/// Cgroups that are known at the most; later ones stay nameless.
const MAX_CGROUPS: usize = 65_536;
/// Hexadecimal digits of a container's id.
const CONTAINER_ID: usize = 64;

/// Where a process runs; strings are escaped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the cgroup within the hierarchy.
    pub cgroup: Option<String>,
    /// The innermost systemd service or scope.
    pub unit: Option<String>,
    /// The innermost container.
    pub container_id: Option<String>,
}

impl Place {
    fn of(path: &[u8]) -> Self {
        let path = escape(path);
        let innermost =
            |find: fn(&str) -> Option<&str>| path.rsplit('/').find_map(find).map(ToOwned::to_owned);
        let (unit, container_id) = (innermost(unit), innermost(container));
        Self { unit, container_id, cgroup: Some(path) }
    }
}

fn unit(component: &str) -> Option<&str> {
    let is_unit = [".service", ".scope"].iter().any(|suffix| component.ends_with(suffix));
    is_unit.then_some(component)
}

/// Container engines name a cgroup by the id, between a prefix and `.scope` with systemd
/// (`docker-…`, `libpod-…`, `cri-containerd-…`, `crio-…`).
fn container(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() == CONTAINER_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

/// The cgroups whose paths are known.
#[derive(Debug, Default)]
pub struct Cgroups {
    by_id: BTreeMap<u64, Place>,
}

impl Cgroups {
    /// Follows an event.
    pub fn apply(&mut self, event: &Event) {
        match &event.action {
            Action::CgroupMade { id, path: Some(path) }
            | Action::CgroupFound { id, path: Some(path) } => self.learn(*id, path),
            Action::CgroupRemoved { id, .. } => {
                self.by_id.remove(id);
            }
            _ => {}
        }
    }

    fn learn(&mut self, id: u64, path: &Path) {
        if self.by_id.len() < MAX_CGROUPS || self.by_id.contains_key(&id) {
            self.by_id.insert(id, Place::of(&path.bytes));
        }
    }

    /// Where processes in this cgroup run.
    pub fn place(&self, id: u64) -> Option<&Place> {
        self.by_id.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> (Option<String>, Option<String>) {
        let Place { unit, container_id, .. } = Place::of(path.as_bytes());
        (unit, container_id)
    }

    #[test]
    fn units_and_containers_are_found_in_paths() {
        let id = "0123456789abcdef".repeat(4);
        let (unit, container) = place("/system.slice/nginx.service");
        assert_eq!((unit.as_deref(), container), (Some("nginx.service"), None));
        let (unit, _) = place("/user.slice/user-1000.slice/session-3.scope");
        assert_eq!(unit.as_deref(), Some("session-3.scope"));
        let (unit, container) = place(&format!("/system.slice/docker-{id}.scope/init"));
        assert_eq!(unit, Some(format!("docker-{id}.scope")));
        assert_eq!(container.as_deref(), Some(id.as_str()));
        let (_, container) = place(&format!("/docker/{id}"));
        assert_eq!(container.as_deref(), Some(id.as_str()));
        let (_, container) = place(&format!("/docker/{}", id.replace('f', "g")));
        assert_eq!((container, place("/")), (None, (None, None)));
    }
}
