//! What is done while somebody watches, and what it took.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use sentinel_tests::{bed::Bed, peer::free_port, programs::compiled};

/// How a work is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// What is added, as so many times what an empty program adds: without baselines, and with them.
    Added(f64, f64),
    /// What is added beyond the empty program, ns.
    Beyond(f64),
    /// Of the time that it takes with nobody.
    Whole(f64),
    /// No goal: what is added beyond the empty program, ns.
    None,
}

/// A work.
pub struct Work {
    /// Its name.
    pub name: &'static str,
    /// What is to be reached.
    pub goal: Goal,
    kind: Kind,
}

enum Kind {
    /// So many times; the program tells the ns of one.
    Costs(u32),
    /// A script, whose whole time counts unless it tells the ns of one thing, and the programs that it needs.
    Script(&'static str, &'static [&'static str]),
}

const fn costs(name: &'static str, times: u32, goal: Goal) -> Work {
    Work { name, goal, kind: Kind::Costs(times) }
}

const fn script(name: &'static str, needs: &'static [&'static str], code: &'static str) -> Work {
    Work { name, goal: Goal::Whole(1.01), kind: Kind::Script(code, needs) }
}

/// All of them. `@PORT` is a free port.
pub const WORKS: [Work; 12] = [
    costs("getppid", 4_000_000, Goal::Added(1.1, 1.6)),
    costs("read-write", 1_000_000, Goal::Added(1.25, 1.25)),
    costs("open-read-close", 200_000, Goal::Beyond(250.0)),
    costs("connect-send-close", 8_000, Goal::Whole(1.03)),
    costs("fork-exec", 1_000, Goal::Whole(1.03)),
    script(
        "compile, two jobs",
        &["/usr/bin/make"],
        "make --silent --jobs=2 --directory=sources --always-make",
    ),
    script(
        "tar of a tree",
        &[],
        "tar --create --file=- /usr/include /usr/share/doc | cat >/dev/null",
    ),
    script(
        "nginx",
        &["/usr/sbin/nginx", "/usr/bin/wrk"],
        "nginx -c $PWD/nginx.conf & until curl -s -o page http://127.0.0.1:@PORT/; do sleep 0.01; done\n\
         wrk --threads=1 --connections=8 --duration=2 http://127.0.0.1:@PORT/ >wrk; kill $!; wait\n\
         awk '/requests in/ { printf \"%.0f\\n\", 1e9 * 2 / $1 }' wrk",
    ),
    script(
        "redis",
        &["/usr/bin/redis-server", "/usr/bin/redis-benchmark"],
        "redis-server --port @PORT --save '' >log & until redis-cli -p @PORT ping >pong; do sleep 0.01; done\n\
         redis-benchmark -p @PORT -q -t set,get -n 60000 >benchmark; kill $!; wait",
    ),
    // Last, because for a minute from then on Sentinel looks at more.
    costs("open a secret", 50_000, Goal::Beyond(700.0)),
    costs("secret", 50_000, Goal::None),
    costs("read-write later", 1_000_000, Goal::Added(1.25, 1.25)),
];

/// Makes what the works need in the bed's directory.
pub fn prepare(bed: &Bed) {
    fs::create_dir(bed.path(".ssh")).expect("a directory");
    for name in ["ordinary", ".ssh/id_ed25519"] {
        fs::write(bed.path(name), "a line of some text\n").expect("written");
        // A key that everybody may read is no secret.
        fs::set_permissions(bed.path(name), Permissions::from_mode(0o600)).expect("its mode");
    }
    let sources = bed.path("sources");
    fs::create_dir(&sources).expect("a directory");
    for number in 0..12 {
        let code = "#include <stdio.h>\n#include <stdlib.h>\n#include <sys/socket.h>\n#include <netinet/in.h>\n";
        let functions: String = (0..60)
            .map(|at| {
                format!(
                    "int f{number}_{at}(int x) {{ return printf(\"%d\", x * {at}) + rand(); }}\n"
                )
            })
            .collect();
        fs::write(sources.join(format!("{number}.c")), format!("{code}{functions}"))
            .expect("written");
    }
    let makefile = "objects = $(patsubst %.c,%.o,$(wildcard *.c))\nall: $(objects)\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n";
    fs::write(sources.join("Makefile"), makefile).expect("written");
}

impl Work {
    /// Does it in the bed's cgroup; ns of one, or of all of it. `share` of what it does by default.
    pub fn take(&self, bed: &Bed, share: f64) -> f64 {
        self.take_by(&|program| bed.command(program), bed, share)
    }

    /// The same by commands that are made so.
    pub fn take_by(&self, command: &dyn Fn(&Path) -> Command, bed: &Bed, share: f64) -> f64 {
        match self.kind {
            Kind::Costs(times) => {
                let times = (f64::from(times) * share).max(20.0);
                let mut command = command(&compiled("costs"));
                told(command.args([self.name, &format!("{times:.0}")]), bed)
            }
            Kind::Script(code, _) => {
                let port = free_port().to_string();
                let configuration = format!(
                    "daemon off; pid pid; error_log error.log; events {{}}\n\
                     http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
                    bed.path("").display()
                );
                fs::write(bed.path("nginx.conf"), configuration).expect("written");
                let begun = Instant::now();
                let code = code.replace("@PORT", &port);
                let mut command = command(Path::new("bash"));
                let answer = told(command.args(["-euo", "pipefail", "-c", &code]), bed);
                if answer > 0.0 { answer } else { begun.elapsed().as_secs_f64() * 1e9 }
            }
        }
    }

    /// Whether all that it needs is installed.
    pub fn is_possible(&self) -> bool {
        match self.kind {
            Kind::Costs(_) => true,
            Kind::Script(_, needs) => needs.iter().all(|need| Path::new(need).exists()),
        }
    }
}

/// The number that a command prints; 0 if it prints nothing.
fn told(command: &mut Command, bed: &Bed) -> f64 {
    let output = command.current_dir(bed.path("")).stdin(Stdio::null()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().next().map_or(0.0, |word| word.parse().expect("a number"))
}
