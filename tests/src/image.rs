//! The image that every engine has: busybox and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

/// What it is called.
pub const IMAGE: &str = "localhost/busybox:test";

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: &[&str] = &["sh", "sleep", "ping", "nc", "ip", "cat", "timeout"];

/// The root file system as a tar archive, made below `dir`.
///
/// # Errors
/// When busybox-static or tar is not installed, or `dir` is not writable.
pub(crate) fn rootfs(dir: &Path) -> io::Result<Vec<u8>> {
    let rootfs = dir.join("rootfs");
    fs::create_dir_all(rootfs.join("bin"))?;
    let busybox = rootfs.join("bin/busybox");
    fs::copy(BUSYBOX, &busybox)?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755))?;
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    tar(&rootfs, ".")
}

/// The image as `docker save` writes it (Docker Image Specification v1.2), made below `dir`. Its
/// command sleeps, so it also serves as a pod's first process.
///
/// # Errors
/// As [`rootfs`].
pub(crate) fn archive(dir: &Path) -> io::Result<Vec<u8>> {
    let layer = rootfs(dir)?;
    let digest = Sha256::digest(&layer);
    let digest = digest
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    let image = dir.join("image");
    fs::create_dir_all(&image)?;
    fs::write(image.join("layer.tar"), layer)?;
    fs::write(image.join("config.json"), config.to_string())?;
    fs::write(image.join("manifest.json"), manifest.to_string())?;
    tar(&image, ".")
}

fn tar(dir: &Path, what: &str) -> io::Result<Vec<u8>> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(dir)
        .args(["-c", what])
        .output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}
