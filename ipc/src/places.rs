//! Where the services listen. The directory belongs to root, so that whoever finds a socket there finds
//! the right one behind it.

/// The loader, for the analyzer.
pub const LOADER: &str = "/run/sentinel/loader.sock";
/// The loader, for the enforcer.
pub const IDENTITY: &str = "/run/sentinel/identity.sock";
/// The analyzer, for the other two.
pub const ANALYZER: &str = "/run/sentinel/analyzer.sock";
/// The analyzer, for administrators.
pub const CONTROL: &str = "/run/sentinel/control.sock";
/// The enforcer, for the other two.
pub const ENFORCER: &str = "/run/sentinel/enforcer.sock";
/// The enforcer, for administrators.
pub const ENFORCE: &str = "/run/sentinel/enforce.sock";
