//! The user whom the server runs as, and what that user can reach.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{AccessFlags, Uid, User, access, geteuid};

use super::error::{At, Error, Result};

/// The server's user: ourselves, or, as PostgreSQL refuses to run as root, somebody else.
#[derive(Debug)]
pub(super) struct Owner {
    name: String,
    /// User and group id to become; none when we stay who we are.
    become_ids: Option<(u32, u32)>,
}

impl Owner {
    /// Ourselves; as root the owner of an existing data directory, else `postgres`, else `nobody`.
    pub(super) fn choose(data: &Path) -> Result<Self> {
        let me = geteuid();
        if !me.is_root() {
            return Ok(Self { name: name_of(me), become_ids: None });
        }
        if let Ok(meta) = fs::metadata(data)
            && meta.uid() != 0
        {
            let name = name_of(Uid::from_raw(meta.uid()));
            return Ok(Self { name, become_ids: Some((meta.uid(), meta.gid())) });
        }
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .ok_or(Error::NoUser)?;
        Ok(Self { name: user.name, become_ids: Some((user.uid.as_raw(), user.gid.as_raw())) })
    }

    /// Makes the folder, if it is not there, with mode 0700 and for this user. Parents that have to be
    /// made for it can be entered by everybody, whatever the umask, for else the server's user could not.
    pub(super) fn mkdir(&self, dir: &Path) -> Result<()> {
        let missing: Vec<&Path> =
            dir.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
        for parent in missing.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            match fs::create_dir(parent) {
                Ok(()) if self.become_ids.is_some() => {
                    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).at(parent)?;
                }
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).at(parent),
            }
        }
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => self.own(dir),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e).at(dir),
        }
    }

    /// Gives the file or folder to this user.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        match self.become_ids {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).at(path),
            None => Ok(()),
        }
    }

    /// A program which will run as this user, in an own process group (Ctrl-C in the terminal must not
    /// reach it), with nothing of our environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_clear().process_group(0).stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        if let Some((uid, gid)) = self.become_ids {
            command.uid(uid).gid(gid); // std also drops the supplementary groups
        }
        command
    }

    /// Fails, naming the folder in the way, when this user cannot enter the folder `wanted`, or, while
    /// that does not exist, the last one on the way to it that does. `flag` is the setting with which
    /// another place is chosen.
    ///
    /// The question is put to the system first, by trying, for access lists and security modules count
    /// too; the modes are only read to say which folder it is.
    pub(super) fn must_reach(&self, wanted: &Path, flag: &'static str) -> Result<()> {
        let wanted = std::path::absolute(wanted).at(wanted)?;
        let there = wanted.ancestors().find(|folder| folder.exists()).unwrap_or(&wanted);
        let there = fs::canonicalize(there).unwrap_or_else(|_| there.to_owned());
        let mut probe = self.command(Path::new("/bin/sh"));
        probe.args(["-c", "cd -- \"$0\""]).arg(&there).stdout(Stdio::null()).stderr(Stdio::null());
        match probe.status() {
            Ok(status) if !status.success() => {}
            _ => return Ok(()), // it can, or there is no shell to ask: the server itself will tell
        }
        let mut way: Vec<&Path> = there.ancestors().collect();
        way.reverse();
        let folder = way.into_iter().find(|folder| !self.may_enter(folder)).unwrap_or(&there);
        let (user, folder) = (self.name.clone(), folder.to_owned());
        Err(Error::Unreachable { user, wanted, folder, flag })
    }

    fn may_enter(&self, folder: &Path) -> bool {
        let Some((uid, gid)) = self.become_ids else {
            return access(folder, AccessFlags::X_OK).is_ok();
        };
        let Ok(meta) = fs::metadata(folder) else { return false };
        let bit = match () {
            () if meta.uid() == uid => 0o100,
            () if meta.gid() == gid => 0o010,
            () => 0o001,
        };
        meta.mode() & bit != 0
    }
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// The absolute path of a folder, without symbolic links.
pub(super) fn resolve(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).at(folder)
}
