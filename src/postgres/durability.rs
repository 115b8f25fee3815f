//! What the server does before it says "committed".

use std::fmt;

use sqlx::PgConnection;

/// What a commit that was acknowledged survives. Each holds the settings it was read from, as
/// `name=value`, joined with `, `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// Not even a crash of the machine: one of the settings is off.
    Unsafe {
        /// The settings found.
        settings: String,
    },
    /// A crash and a power cut, if the disk does.
    Disk {
        /// The settings found.
        settings: String,
    },
    /// The loss of the server too: a synchronous standby has flushed it.
    Standby {
        /// The settings found.
        settings: String,
    },
}

impl Durability {
    /// The settings found.
    pub fn settings(&self) -> &str {
        match self {
            Self::Unsafe { settings } | Self::Disk { settings } | Self::Standby { settings } => {
                settings
            }
        }
    }

    /// Reads it from the server, as it holds for this session.
    pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let found: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, setting FROM pg_settings \
             WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', \
                            'synchronous_standby_names') \
             ORDER BY name",
        )
        .fetch_all(connection)
        .await?;
        Ok(Self::judge(&found))
    }

    fn judge(found: &[(String, String)]) -> Self {
        let value = |name: &str| found.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v);
        let shown = found.iter().filter(|(_, value)| !value.is_empty());
        let settings = shown.map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(", ");
        let off = ["fsync", "full_page_writes", "synchronous_commit"].map(value).contains(&"off");
        let flushed_there = matches!(value("synchronous_commit"), "on" | "remote_apply");
        match () {
            () if off => Self::Unsafe { settings },
            () if flushed_there && !value("synchronous_standby_names").is_empty() => {
                Self::Standby { settings }
            }
            () => Self::Disk { settings },
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self {
            Self::Unsafe { .. } => "unsafe",
            Self::Disk { .. } => "disk",
            Self::Standby { .. } => "standby",
        };
        write!(f, "{level} ({})", self.settings())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fsync: &str, commit: &str, standbys: &str) -> Durability {
        let found = [
            ("fsync", fsync),
            ("full_page_writes", "on"),
            ("synchronous_commit", commit),
            ("synchronous_standby_names", standbys),
        ];
        Durability::judge(&found.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn a_setting_that_is_off_makes_it_unsafe() {
        assert!(matches!(judged("off", "on", ""), Durability::Unsafe { .. }));
        assert!(matches!(judged("on", "off", "any 1 (a, b)"), Durability::Unsafe { .. }));
    }

    #[test]
    fn a_standby_counts_only_when_commit_waits_for_its_disk() {
        assert!(matches!(judged("on", "on", ""), Durability::Disk { .. }));
        assert!(matches!(judged("on", "remote_write", "a"), Durability::Disk { .. }));
        assert!(matches!(judged("on", "local", "a"), Durability::Disk { .. }));
        assert!(matches!(judged("on", "remote_apply", "a"), Durability::Standby { .. }));
    }

    #[test]
    fn the_settings_found_are_named() {
        let text = judged("off", "on", "").to_string();
        assert_eq!(text, "unsafe (fsync=off, full_page_writes=on, synchronous_commit=on)");
    }
}
