//! Creating a cluster, so that a half-made one is never taken for a whole one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use uuid::Uuid;

use super::{
    error::{At, Error, Result},
    owner::Owner,
};

/// The only role of a private cluster.
pub(super) const SUPERUSER: &str = "postgres";

/// Makes `base/data` and `base/password` with the programs in `bin`.
///
/// It is made beside, in `base/data.new`, and renamed when it is whole: after a kill or a power cut in
/// between, the next start begins afresh. `start_lock` is handed to initdb as its standard input, which
/// initdb never reads: an initdb that outlives us keeps the lock, so nobody removes its folder under it.
pub(super) fn create(bin: &Path, base: &Path, owner: &Owner, start_lock: &File) -> Result<()> {
    let (data, fresh, password) = (base.join("data"), base.join("data.new"), base.join("password"));
    write_password(&password)?;
    owner.own(&password)?;
    match fs::remove_dir_all(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at(&fresh),
        _ => {}
    }
    owner.mkdir(&fresh)?;
    let program = bin.join("initdb");
    let output = owner
        .command(&program)
        .args(["-U", SUPERUSER, "-E", "UTF8", "--no-locale", "--data-checksums"])
        .args(["--auth=scram-sha-256", "--pwfile"])
        .arg(&password)
        .arg("-D")
        .arg(&fresh)
        .stdin(start_lock.try_clone().at(base)?)
        .output()
        .at(&program)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::InitDb(format!("{} ({})", said.trim(), output.status)));
    }
    fs::rename(&fresh, &data).at(&data)?;
    sync(base)
}

/// 244 random bits, readable by the owner only.
fn write_password(path: &Path) -> Result<()> {
    let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at(path),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let mut file = file.at(path)?;
    file.write_all(password.as_bytes()).and_then(|()| file.sync_all()).at(path)
}

/// Makes new names in a folder outlive a power cut.
fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).at(folder)
}
