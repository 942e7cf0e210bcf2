//! What `--help` says below the options: examples first, exit status last; the pages make sections of it.

pub(super) const OVERVIEW: &str = "\
Examples:
  sudo sentinel run --duration=60            a trial: sees everything, kills nothing
  sentinel status                            of the services
  sentinel rules explain reverse_shell
  sentinel shadow-report /var/log/sentinel/alerts.json

Manual pages: sentinel-run(1) and so on for each command, sentinel.rules(5), sentinel-analyzer.toml(5), \
sentinel.alerts(5).";

pub(super) const STATUS_HELP: &str = "\
Examples:
  sentinel status
  sentinel status --json | jq .is_watching

Exit status: 0 when it was told, 1 when nobody answers, 2 when an option is wrong.";

pub(super) const CHECK_HELP: &str = "\
Examples:
  sentinel config check
  sentinel config check --directory=/root/new-configuration

Exit status: 0 when all files are sound, 1 when one is not, 2 when an option is wrong.";

pub(super) const LIST_HELP: &str = "\
Examples:
  sentinel rules list
  sentinel rules list --disable-rules=packet_socket

Exit status: 0 when they were named, 1 when a rule is not sound, 2 when an option is wrong.";

pub(super) const CHECK_RULES_HELP: &str = "\
Examples:
  sentinel rules check
  sentinel rules check mine.toml && sudo cp mine.toml /etc/sentinel/rules.d/

Exit status: 0 when all are sound, 1 when one is not, 2 when an option is wrong.";

pub(super) const EXPLAIN_HELP: &str = "\
Examples:
  sentinel rules explain reverse_shell
  sentinel rules explain my_rule --file=mine.toml

Exit status: 0 when it was told, 1 when there is no such rule, 2 when an option is wrong.";

pub(super) const TEST_HELP: &str = "\
Examples:
  sentinel rules test
  sentinel rules test mine.toml

Exit status: 0 when all tests pass, 1 when one does not, 2 when an option is wrong.";

pub(super) const RELOAD_HELP: &str = "\
Examples:
  sentinel rules check && sudo sentinel rules reload

Exit status: 0 when the new rules are looked for, 1 when the old ones stay, 2 when an option is wrong.";

pub(super) const RULES_HELP: &str = "\
Examples:
  sentinel rules list
  sentinel rules check /etc/sentinel/rules.d/mine.toml
  sentinel rules test mine.toml
  sudo sentinel rules reload

`reload` refuses a set with one mistake whole, says which, and leaves the old rules in force.

Exit status: 0 when all is as it should be, 1 when not, 2 when an option is wrong.";

pub(super) const SHADOW_REPORT_HELP: &str = "\
Examples:
  sentinel shadow-report /var/log/sentinel/alerts.json
  zcat -f $(ls -tr /var/log/sentinel/alerts.json*) | sentinel shadow-report -
  sentinel shadow-report --toml alerts.json >proposed.toml

Rates come from the counters in the log of --enable-json-log. An alert counts as explained when the rules \
as they are now would not raise it. Give each alert once: not the logs of single engines beside that of all.

Exit status: 0 when all lines were read, 1 when some were none or a file cannot be read (the rest is \
reported), 2 when an option is wrong.";

pub(super) const RECORD_EXAMPLES: &str = "\
Examples:
  sudo sentinel record -o attack.cap --duration=60
  sudo sentinel record -o build.cap --attach-pid=$$

A capture holds command lines, paths and addresses: keep it as you keep logs.";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  sentinel replay attack.cap
  sentinel replay attack.cap --alerts=alerts.json

Exit status: 0 when all was replayed, 1 when a file is damaged or none (what came before that was \
used), 2 when an option is wrong.";

pub(super) const ENFORCE_HELP: &str = "\
Examples:
  sudo sentinel enforce off
  sudo sentinel enforce status
  sudo sentinel enforce on

`off` takes effect at once, also on kills that were asked for and wait, and survives restarts of the \
service. `on` does not go beyond what the enforcer's configuration allows.

Exit status: 0 when it was done, 1 when it cannot be done, 2 when an argument is wrong.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo sentinel run --duration=60
  sudo sentinel run --scope-cgroup=/sys/fs/cgroup/system.slice --grimoire-log=alerts.json
  sudo sentinel run --attach-pid=$$ --grimoire-debug
  sudo sentinel run --scope-cgroup=/sys/fs/cgroup/user.slice --grimoire-enforce
  sudo sentinel run --enable-syslog --enable-json-log

Exit status: 0 when it ended as asked, 1 when it cannot run or the sensor was lost, 2 when an option \
is wrong.";
